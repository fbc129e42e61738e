//! What can go wrong, and what the caller learns of it.

use session_core::{BoxError, Rejection, StoreError};
use sqlx::error::DatabaseError;

use crate::STORE;

/// Settings that do not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The URL has a scheme that is not one of a database of this build. The rest of it is not
    /// shown, because it can hold a password.
    #[error(
        "a URL of the scheme {scheme:?} is no address of a database; use one of {}",
        crate::url::schemes()
    )]
    Scheme {
        /// What came; empty if there is none.
        scheme: String,
    },
    /// A part of the URL cannot be used. What it is is not shown, because it can hold a password.
    #[error("the {part} of the database's URL cannot be used; {usable}")]
    Url {
        /// Which part.
        part: &'static str,
        /// What would do.
        usable: &'static str,
    },
    /// There is no such setting. Its name is shown if it looks like one; else it may be a part of a
    /// password.
    #[error(
        "there is no setting {key:?} of an SQL store; use connections, data_bytes, deadline_ms, migrate, table, for SQLite synchronous, \
         or in the URL one of the driver's: {}",
        crate::url::driver_settings()
    )]
    UnknownKey {
        /// What came.
        key: String,
    },
    /// A setting's value cannot be used.
    #[error("{key} cannot be {value:?}; use {usable}")]
    Value {
        /// Which setting.
        key: &'static str,
        /// What came.
        value: String,
        /// What would do.
        usable: String,
    },
    /// The driver refuses the URL.
    #[error("the database's URL cannot be used: {why}")]
    Driver {
        /// What it said of the URL without its login.
        why: String,
    },
    /// The pool leads to another kind of database than the URL.
    #[error("the pool leads to another kind of database than the URL of the settings")]
    OtherPool,
}

/// A store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The settings do not fit.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database is reached and cannot be used: it refuses the login, or its schema is another.
    #[error("the database at {server} cannot be used")]
    Server {
        /// Where it is.
        server: String,
        /// What is wrong.
        source: BoxError,
    },
}

/// Why a call did not end with an answer. Holds codes and texts of this crate, and not what a
/// database says: that quotes keys and values.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("the database cannot be reached: {0}")]
    Unreachable(String),
    #[error("the connection to the database was lost: {0}")]
    Lost(String),
    #[error("the database cannot serve now: {0}")]
    Busy(String),
    /// Nothing was done, because somebody else was in the way just then.
    #[error("others were in the way, again and again: {0}")]
    Again(String),
    #[error(
        "the database takes no writes; it may be the primary no more, so its connection is closed: {0}"
    )]
    ReadOnly(String),
    #[error("the database has no room left: {0}")]
    Full(String),
    #[error("the database refuses the login; look at user, password and database in the URL: {0}")]
    Login(String),
    #[error(
        "the database's user lacks a right that sessions need; the crate's page lists them: {0}"
    )]
    NoRight(String),
    #[cfg(feature = "sqlite")]
    #[error(
        "the file or its lock beside it cannot be opened; look at its folder and at who may write there: {0}"
    )]
    File(String),
    #[error("the database refuses to be used like this: {0}")]
    Refused(String),
    #[error(
        "there is no table {0:?}; let the store create it (migrate=true), or run the SQL of Dialect::schema"
    )]
    NoTable(String),
    #[error(
        "the table {0:?} has other columns than this version needs: it is one of the first version, whose sessions are not read, or it does not \
         belong to this crate; choose another name with the setting table, or drop the table"
    )]
    OtherTable(String),
    #[error("the database's answer has another shape than expected: {0}")]
    Answer(&'static str),
    #[error("the cursor is none of this store; begin the scan again")]
    Cursor,
    /// What is stored is no JSON.
    #[error("what is stored is no JSON")]
    Unreadable,
}

impl From<sqlx::Error> for ClientError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => Self::of_database(&*error),
            sqlx::Error::Io(error) => Self::Lost(error.to_string()),
            sqlx::Error::WorkerCrashed => Self::Lost("it does not answer".to_owned()),
            sqlx::Error::PoolClosed => Self::Lost("the pool was closed".to_owned()),
            sqlx::Error::PoolTimedOut => {
                Self::Busy("all connections of the pool were in use; nothing was done".to_owned())
            }
            // It is about certificates and names; nothing has been sent yet.
            sqlx::Error::Tls(error) => Self::Refused(error.to_string()),
            // The driver gives up on a stream that it cannot follow, as after an end in the middle
            // of a word.
            sqlx::Error::Protocol(_) => Self::Lost("what came is not of the protocol".to_owned()),
            sqlx::Error::Configuration(_) => {
                Self::Refused("the driver refuses the settings".to_owned())
            }
            // The rest might quote what was sent.
            _ => Self::Answer("it is none that the driver can read"),
        }
    }
}

impl ClientError {
    /// The same for an error of a connection that was not there yet.
    pub(crate) fn of_connecting(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(error) => Self::Unreachable(error.to_string()),
            other => other.into(),
        }
    }

    fn of_database(error: &dyn DatabaseError) -> Self {
        #[cfg(feature = "mysql")]
        if let Some(error) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
            return Self::by_number(error.number());
        }
        let code = error.code().unwrap_or_default();
        #[cfg(feature = "sqlite")]
        if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
            return Self::by_result(code.parse().unwrap_or_default(), error.message());
        }
        Self::by_state(&code)
    }

    /// What a code of PostgreSQL means: its appendix A, "Error Codes".
    fn by_state(code: &str) -> Self {
        let named = format!("SQLSTATE {code}");
        match code {
            // serialization_failure, deadlock_detected, lock_not_available.
            "40001" | "40P01" | "55P03" => Self::Again(named),
            // admin_shutdown, crash_shutdown, cannot_connect_now, idle_session_timeout.
            "57P01" | "57P02" | "57P03" | "57P05" => Self::Lost(named),
            // query_canceled, too_many_connections, out_of_memory, configuration_limit_exceeded.
            "57014" | "53300" | "53200" | "53400" => Self::Busy(named),
            // read_only_sql_transaction.
            "25006" => Self::ReadOnly(named),
            "53100" => Self::Full(named),
            // Of the login, and a database that is not there.
            "28000" | "28P01" | "3D000" => Self::Login(named),
            "42501" => Self::NoRight(named),
            // undefined_table, invalid_schema_name; undefined_column.
            "42P01" | "3F000" => Self::NoTable(String::new()),
            "42703" => Self::OtherTable(String::new()),
            // invalid_json_text.
            "22032" => Self::Unreadable,
            _ if code.starts_with("08") => Self::Lost(named),
            _ => Self::Refused(named),
        }
    }

    /// What a number of MySQL or MariaDB means: the "Server Error Message Reference".
    #[cfg(feature = "mysql")]
    fn by_number(number: u16) -> Self {
        let named = format!("error {number}");
        match number {
            // ER_LOCK_DEADLOCK, ER_LOCK_WAIT_TIMEOUT, ER_CHECKREAD,
            // ER_TRANSACTION_ROLLBACK_DURING_COMMIT (of a group).
            1213 | 1205 | 1020 | 3101 => Self::Again(named),
            // ER_SERVER_SHUTDOWN, ER_CONNECTION_KILLED, ER_NEW_ABORTING_CONNECTION,
            // ER_CLIENT_INTERACTION_TIMEOUT.
            1053 | 1927 | 1184 | 4031 => Self::Lost(named),
            // ER_CON_COUNT_ERROR, ER_TOO_MANY_USER_CONNECTIONS, ER_USER_LIMIT_REACHED,
            // ER_OUT_OF_RESOURCES, ER_QUERY_INTERRUPTED, ER_STATEMENT_TIMEOUT, ER_QUERY_TIMEOUT,
            // ER_UNKNOWN_COM_ERROR (Galera's "not ready yet").
            1040 | 1203 | 1226 | 1041 | 1317 | 1969 | 3024 | 1047 => Self::Busy(named),
            // ER_OPTION_PREVENTS_STATEMENT, ER_READ_ONLY_MODE.
            1290 | 1836 => Self::ReadOnly(named),
            // ER_DISK_FULL, ER_RECORD_FILE_FULL, ER_LOCK_TABLE_FULL.
            1021 | 1114 | 1206 => Self::Full(named),
            // ER_ACCESS_DENIED_ERROR, ER_ACCESS_DENIED_NO_PASSWORD_ERROR, ER_DBACCESS_DENIED_ERROR,
            // ER_BAD_DB_ERROR, ER_NO_DB_ERROR.
            1045 | 1698 | 1044 | 1049 | 1046 => Self::Login(named),
            // ER_TABLEACCESS_DENIED_ERROR, ER_COLUMNACCESS_DENIED_ERROR,
            // ER_SPECIFIC_ACCESS_DENIED_ERROR.
            1142 | 1143 | 1227 => Self::NoRight(named),
            // ER_NO_SUCH_TABLE, ER_BAD_FIELD_ERROR.
            1146 => Self::NoTable(String::new()),
            1054 => Self::OtherTable(String::new()),
            // ER_INVALID_JSON_TEXT and its like; ER_BAD_NULL_ERROR, which MariaDB's functions make
            // of it.
            3140..=3158 | 4038 | 1048 => Self::Unreadable,
            _ => Self::Refused(named),
        }
    }

    /// What a result of SQLite means: "Result and Error Codes".
    #[cfg(feature = "sqlite")]
    fn by_result(code: i32, message: &str) -> Self {
        let named = format!("result {code}");
        match code & 0xff {
            // SQLITE_BUSY, SQLITE_LOCKED.
            5 | 6 => Self::Again(named),
            // SQLITE_IOERR, SQLITE_PROTOCOL.
            10 | 15 => Self::Lost(named),
            7 => Self::Busy(named),
            13 => Self::Full(named),
            14 => Self::Unreachable(
                "the file cannot be opened; look at its folder and at who may write there"
                    .to_owned(),
            ),
            // SQLITE_PERM, SQLITE_READONLY, SQLITE_AUTH.
            3 | 8 | 23 => Self::NoRight(named),
            11 | 26 => Self::Refused("the file is no database, or is damaged".to_owned()),
            1 if message.starts_with("no such table") => Self::NoTable(String::new()),
            1 if message.starts_with("no such column") => Self::OtherTable(String::new()),
            1 if message.contains("malformed JSON") => Self::Unreadable,
            _ => Self::Refused(named),
        }
    }

    /// Whether the connection that it came by is of no use any more.
    pub(crate) fn ends_connection(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::ReadOnly(_))
    }

    /// The same about this table, where it is about one.
    pub(crate) fn of_table(self, table: &str) -> Self {
        match self {
            Self::NoTable(_) => Self::NoTable(table.to_owned()),
            Self::OtherTable(_) => Self::OtherTable(table.to_owned()),
            other => other,
        }
    }
}

impl From<ClientError> for StoreError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Full(_) => {
                Rejection::Full { store: STORE.into(), what: "disk".into() }.into()
            }
            ClientError::Unreachable(_)
            | ClientError::Lost(_)
            | ClientError::Busy(_)
            | ClientError::ReadOnly(_)
            | ClientError::Again(_) => Self::Unavailable { store: STORE, source: error.into() },
            ClientError::Login(_)
            | ClientError::NoRight(_)
            | ClientError::Refused(_)
            | ClientError::NoTable(_)
            | ClientError::OtherTable(_)
            | ClientError::Answer(_)
            | ClientError::Cursor
            | ClientError::Unreadable => Self::Other { store: STORE, source: error.into() },
            #[cfg(feature = "sqlite")]
            ClientError::File(_) => Self::Other { store: STORE, source: error.into() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_is_the_decision_that_fits() {
        for code in ["40001", "40P01", "57P01", "53300", "08006", "25006"] {
            assert!(StoreError::from(ClientError::by_state(code)).is_transient(), "{code}");
        }
        for code in ["28P01", "42501", "42P01", "22P02"] {
            assert!(
                matches!(
                    StoreError::from(ClientError::by_state(code)),
                    StoreError::Other { store: "sql", .. }
                ),
                "{code}"
            );
        }
        assert!(matches!(
            StoreError::from(ClientError::by_state("53100")),
            StoreError::Rejected(Rejection::Full { .. })
        ));
        #[cfg(feature = "mysql")]
        for number in [1213, 1205, 1040, 1053] {
            assert!(StoreError::from(ClientError::by_number(number)).is_transient(), "{number}");
        }
        #[cfg(feature = "sqlite")]
        for code in [5, 6, 261, 517, 10] {
            assert!(StoreError::from(ClientError::by_result(code, "")).is_transient(), "{code}");
        }
        assert!(StoreError::from(ClientError::from(sqlx::Error::WorkerCrashed)).is_transient());
    }
}
