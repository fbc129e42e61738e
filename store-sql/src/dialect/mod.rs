//! The SQL text in which the databases differ.

mod mysql;
mod postgres;
mod sqlite;

use crate::statement::{Bound, Writer};

/// Which database's SQL is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL, and servers that speak its protocol.
    Postgres,
    /// MySQL and MariaDB.
    MySql,
    /// SQLite.
    Sqlite,
}

impl Dialect {
    pub(crate) fn sql(self) -> &'static Sql {
        match self {
            Self::Postgres => &postgres::SQL,
            Self::MySql => &mysql::SQL,
            Self::Sqlite => &sqlite::SQL,
        }
    }
}

/// Every difference between the databases, once. In a template, `{table}` is the table's name in
/// quotation marks and `{name}` without them.
#[derive(Debug)]
pub(crate) struct Sql {
    /// The database's time as of the moment of evaluation, in milliseconds since 1970. After a wait
    /// for a lock it is the time after the wait.
    pub(crate) now: &'static str,
    /// The time at the start of the statement. It is the same in the whole statement, so an index
    /// can be searched for it.
    pub(crate) statement_now: &'static str,
    pub(crate) quote: char,
    /// Whether a parameter has a number and can be named more than once.
    pub(crate) numbers_parameters: bool,
    /// Whether a change can return the row that it changed (`RETURNING`).
    pub(crate) returns_rows: bool,
    /// How the column `data` is read.
    pub(crate) data_as_text: &'static str,
    /// The cast of an object's text to the type of `data`.
    pub(crate) text_as_data: &'static str,
    /// The function that tells the size of the data: at least what the cap counts, names and texts
    /// and some bytes for each.
    pub(crate) size: &'static str,
    /// What comes before and after a field's name in a path. Fields contain neither quotation marks
    /// nor backslashes.
    pub(crate) path: [&'static str; 2],
    /// What comes before and after a field's path to read the field's text, or null.
    pub(crate) value: [&'static str; 2],
    pub(crate) removal: Removal,
    /// What an insert does about a row that has the key: a live row stays, an expired one becomes
    /// the new one. Before the columns, for each `{column}`, and after them, where `expires` comes
    /// last because the other columns depend on it.
    pub(crate) upsert: [&'static str; 3],
    /// Deletes the first `{limit}` rows that satisfy `{condition}`, in the order of the column
    /// `{order}`. `{skip}` is for purges.
    pub(crate) delete_page: &'static str,
    /// The table and its indexes.
    pub(crate) schema: &'static str,
    /// What makes the schema's statements one step, before and after them.
    pub(crate) schema_step: [&'static str; 2],
    /// The condition that a sum, and what it is added to, are integers of 64 bits.
    pub(crate) write_sum_is_integer: fn(&mut Writer, &mut Sum),
    /// The data after the merge.
    pub(crate) write_merged: fn(&mut Writer, &mut Merge),
}

impl Sql {
    /// A table's name in quotation marks.
    pub(crate) fn quoted(&self, table: &str) -> String {
        format!("{0}{table}{0}", self.quote)
    }

    /// How a statement names a field that it looks for.
    pub(crate) fn path(&self, field: &str) -> String {
        let [before, after] = self.path;
        format!("{before}{field}{after}")
    }
}

/// How a field is removed from the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    /// By a null in the patch (RFC 7396).
    Null,
    /// By a list of fields.
    List,
    /// By one path for each field.
    Paths,
}

/// A sum that an `Add` makes: the field's path, and what is added.
#[derive(Debug)]
pub(crate) struct Sum {
    pub(crate) field: Bound,
    pub(crate) by: Bound,
}

/// What a commit does to the data.
#[derive(Debug, Default)]
pub(crate) struct Merge {
    /// An object to merge.
    pub(crate) patch: Option<Bound>,
    /// Fields to remove, as a JSON list of texts ([`Removal::List`]).
    pub(crate) removed: Option<Bound>,
    /// Paths of fields to remove ([`Removal::Paths`]).
    pub(crate) removed_paths: Vec<Bound>,
    pub(crate) sums: Vec<Sum>,
    /// Whether the statement also stores the sums in variables of the connection.
    pub(crate) notes_sums: bool,
}

/// The condition that numbers, which may be null, are integers of 64 bits.
fn write_in_range(writer: &mut Writer, sum: &mut Sum, numbers: [fn(&mut Writer, &mut Sum); 2]) {
    for (at, write_number) in numbers.into_iter().enumerate() {
        writer.write(if at == 0 { "(" } else { " AND (" });
        write_number(writer, sum);
        writer.write(") BETWEEN -9223372036854775808 AND 9223372036854775807");
    }
}

/// The connection's variable for a sum.
pub(crate) fn sum_variable(at: usize) -> String {
    format!("@session_sum_{at}")
}
