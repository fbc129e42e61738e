//! The table: the SQL that creates and checks it.

use std::sync::Arc;

use crate::{
    codec::COLUMNS,
    dialect::{Dialect, Sql, Statement},
};

impl Dialect {
    /// Returns the SQL that creates the table and its indexes. Run it yourself if `migrate` is
    /// false.
    ///
    /// # Panics
    /// If the name does not consist of 1 to 40 letters, digits and underscores.
    #[must_use]
    pub fn schema(self, table: &str) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        assert!(
            (1..=40).contains(&table.len()) && table.bytes().all(plain),
            "a table name must consist of 1 to 40 letters, digits and underscores"
        );
        self.sql().schema.replace("{table}", &self.sql().quoted(table)).replace("{name}", table)
    }
}

/// The statements that create the table, as one transaction where the database needs one.
pub(crate) fn create(dialect: Dialect, table: &str) -> String {
    let [begin, end] = dialect.sql().schema_transaction;
    begin.to_owned() + &dialect.schema(table) + end
}

/// A statement that reads no row and fails if the table is missing or has other columns.
pub(crate) fn check(sql: &Sql, table: &str) -> Statement {
    let text: Arc<str> =
        format!("SELECT id, {} FROM {} WHERE 1 = 0", COLUMNS.join(", "), sql.quoted(table)).into();
    Statement::new(&text, [])
}
