//! The statements whose text does not depend on the call.

use std::sync::Arc;

use crate::{
    codec::{COLUMNS, FORMAT},
    dialect::Sql,
};

/// The statements whose text does not depend on the call.
pub(crate) struct FixedStatements {
    /// The table's name in quotation marks.
    pub(crate) table: String,
    pub(crate) create: Arc<str>,
    pub(crate) load: Arc<str>,
    pub(crate) delete: Arc<str>,
    pub(crate) list: Arc<str>,
    pub(crate) delete_all: Arc<str>,
    pub(crate) page_end: Arc<str>,
    pub(crate) delete_range: Arc<str>,
    pub(crate) scan: Arc<str>,
    pub(crate) purge: Arc<str>,
    pub(crate) ping: Arc<str>,
}

impl FixedStatements {
    pub(crate) fn new(sql: &Sql, name: &str) -> Self {
        let (table, now, start) = (sql.quoted(name), sql.now, sql.statement_now);
        let parameter = |number: usize| {
            if sql.numbers_parameters { format!("${number}") } else { "?".to_owned() }
        };
        let [one, two, three, four, five, six, seven, eight, nine, ten, eleven] =
            std::array::from_fn(|at| parameter(at + 1));
        let all = COLUMNS.join(", ");
        let read = all.replacen("data", sql.data_as_text, 1);
        // If another transaction is changing a row, PostgreSQL first checks the condition on the
        // old row. A deletion of live sessions would skip an expired one that is being extended. So
        // the statement has no condition on the deadline, and returns whether the row was live.
        let (if_live, was_live, any) = if sql.returns_rows {
            (
                String::new(),
                format!(" RETURNING CASE WHEN expires > {now} THEN 1 ELSE 0 END"),
                " RETURNING 1",
            )
        } else {
            (format!(" AND expires > {now}"), String::new(), "")
        };
        let [on_conflict, replace, replace_last] = sql.upsert;
        let replaced: String = COLUMNS[..COLUMNS.len() - 1]
            .iter()
            .map(|column| replace.replace("{column}", column))
            .collect();
        let upsert = format!("{on_conflict}{replaced}{replace_last}")
            .replace("{table}", &table)
            .replace("{now}", start);
        let delete_page = |condition: &str, order: &str, limit: &str, skip: &str| {
            let text = sql
                .delete_page
                .replace("{condition}", condition)
                .replace("{order}", order)
                .replace("{limit}", limit);
            text.replace("{skip}", skip).replace("{table}", &table) + &was_live
        };
        Self {
            create: format!(
                "INSERT INTO {table} (id, {all}) VALUES ({one}, {two}{cast}, {three}, {four}, \
                 {five}, {six}, {start} - {seven}, NULL, {start} - {eight}, {nine}, {ten}, NULL, \
                 NULL, {FORMAT}, {start} + {eleven}){upsert}{any}",
                cast = sql.text_as_data,
            )
            .into(),
            load: format!("SELECT {read}, {now} FROM {table} WHERE id = {one}").into(),
            delete: format!(
                "DELETE FROM {table} WHERE id = {one} AND (since <= {two} OR format <> {FORMAT})\
                 {if_live}{was_live}"
            )
            .into(),
            list: format!(
                "SELECT id, created, authenticated, expires, attributes, {now} FROM {table} \
                 WHERE principal = {one} AND id > {two} AND expires > {now} ORDER BY id \
                 LIMIT {three}"
            )
            .into(),
            delete_all: delete_page(
                &format!("principal = {one} AND id <> {two}{if_live}"),
                "id",
                &three,
                "",
            )
            .into(),
            page_end: format!(
                "SELECT id FROM {table} WHERE id > {one} ORDER BY id LIMIT 1 OFFSET {two}"
            )
            .into(),
            delete_range: format!(
                "DELETE FROM {table} WHERE id > {one} AND id <= {two}{if_live}{was_live}"
            )
            .into(),
            scan: format!(
                "SELECT {read}, {now}, id FROM {table} WHERE id > {one} ORDER BY id LIMIT {two}"
            )
            .into(),
            purge: delete_page(&format!("expires <= {start}"), "expires", &one, " SKIP LOCKED")
                .into(),
            ping: "SELECT 1".into(),
            table,
        }
    }
}
