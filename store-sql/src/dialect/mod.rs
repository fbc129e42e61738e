//! The SQL dialects. Each one is a static description of everything that differs between them.

mod mysql;
mod postgres;
mod sql;
mod sqlite;
mod statement;

pub(crate) use sql::{Bound, Merge, Removal, Sql, Sum, Writer, sum_variable};
pub(crate) use statement::{Arg, Statement};

/// The SQL dialect that a store writes.
///
/// The scheme of the URL selects it. It is independent of the driver, so that two dialects can use
/// the same driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL, and servers that use its protocol.
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
