//! A row of an answer, from any of the drivers.

use sqlx::Row as _;

use crate::error::ClientError;

#[derive(Debug)]
pub(crate) enum Row {
    #[cfg(feature = "postgres")]
    Postgres(sqlx::postgres::PgRow),
    #[cfg(feature = "mysql")]
    MySql(sqlx::mysql::MySqlRow),
    #[cfg(feature = "sqlite")]
    Sqlite(sqlx::sqlite::SqliteRow),
}

/// Reads a column without a check of its type, because the statements of this crate determine the
/// types.
macro_rules! column {
    ($row:expr, $column:expr, $what:literal) => {
        match $row {
            #[cfg(feature = "postgres")]
            Row::Postgres(row) => row.try_get_unchecked($column),
            #[cfg(feature = "mysql")]
            Row::MySql(row) => row.try_get_unchecked($column),
            #[cfg(feature = "sqlite")]
            Row::Sqlite(row) => row.try_get_unchecked($column),
        }
        .map_err(|_| ClientError::Answer($what))
    };
}

impl Row {
    /// An integer in a column without nulls.
    pub(crate) fn integer(&self, column: usize) -> Result<i64, ClientError> {
        self.optional(column)?.ok_or(ClientError::Answer("a column does not hold an integer"))
    }

    /// An integer. `None` for a null.
    pub(crate) fn optional(&self, column: usize) -> Result<Option<i64>, ClientError> {
        column!(self, column, "a column holds neither an integer nor a null")
    }

    /// Text or bytes. `None` for a null.
    pub(crate) fn bytes(&self, column: usize) -> Result<Option<&[u8]>, ClientError> {
        column!(self, column, "a column holds neither text nor a null")
    }
}
