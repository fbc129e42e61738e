//! One row of an answer, whichever database gave it.

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

/// Reads a column without a check of its type: the statements of this crate determine the types.
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
    /// A column of integers without nulls.
    pub(crate) fn integer(&self, column: usize) -> Result<i64, ClientError> {
        self.optional(column)?.ok_or(ClientError::Answer("a column holds an integer"))
    }

    /// A column of integers; `None` for a null.
    pub(crate) fn optional(&self, column: usize) -> Result<Option<i64>, ClientError> {
        column!(self, column, "a column holds an integer or a null")
    }

    /// A column of texts or bytes; `None` for a null.
    pub(crate) fn bytes(&self, column: usize) -> Result<Option<&[u8]>, ClientError> {
        column!(self, column, "a column holds text")
    }
}
