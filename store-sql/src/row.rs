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

impl Row {
    /// A column of integers. The statements of this crate say what each column is, so the driver need not look.
    pub(crate) fn integer(&self, column: usize) -> Result<i64, ClientError> {
        let got = match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(row) => row.try_get_unchecked(column),
            #[cfg(feature = "mysql")]
            Self::MySql(row) => row.try_get_unchecked(column),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(row) => row.try_get_unchecked(column),
        };
        got.map_err(|_| ClientError::Answer("a column holds an integer"))
    }

    /// A column of texts or bytes; `None` for a null.
    pub(crate) fn bytes(&self, column: usize) -> Result<Option<&[u8]>, ClientError> {
        let got = match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(row) => row.try_get_unchecked(column),
            #[cfg(feature = "mysql")]
            Self::MySql(row) => row.try_get_unchecked(column),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(row) => row.try_get_unchecked(column),
        };
        got.map_err(|_| ClientError::Answer("a column holds text"))
    }
}
