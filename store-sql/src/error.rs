//! The errors of the store, and how the driver's errors map to them.

use session_core::{BoxError, JsonError, Rejection, StoreError};
use sqlx::error::DatabaseError;

/// The name of the store in errors.
pub(crate) const STORE: &str = "sql";

/// A setting is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The URL's scheme does not belong to a database of this build. The error does not show the
    /// rest of the URL, because it can contain a password.
    #[error("unknown scheme {scheme:?} in the URL of an SQL store; use one of {usable}")]
    Scheme {
        /// The scheme; empty if there is none.
        scheme: String,
        /// The schemes of this build.
        usable: String,
    },
    /// A part of the URL is not valid. The error does not show the part, because it can contain a
    /// password.
    #[error("the {part} of the database URL is not valid: {usable}")]
    Url {
        /// The part.
        part: &'static str,
        /// What to use instead.
        usable: &'static str,
    },
    /// There is no such setting. The error shows the name only if it has the form of one, because
    /// it can be a part of a password.
    #[error("unknown setting {key:?} of an SQL store; use {usable}")]
    UnknownKey {
        /// The name.
        key: String,
        /// The settings of this build.
        usable: String,
    },
    /// The value of a setting is not valid.
    #[error("{key}: {value:?} is not valid; use {usable}")]
    Value {
        /// The setting.
        key: &'static str,
        /// The value.
        value: String,
        /// What to use instead.
        usable: String,
    },
    /// The driver rejects the URL.
    #[error("the driver rejects the database URL: {why}")]
    Driver {
        /// The driver's message about the URL without its login.
        why: String,
    },
    /// The pool connects to another kind of database than the URL.
    #[error("the pool connects to another kind of database than the URL of the settings")]
    OtherPool,
}

/// A store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A setting is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database answers, but the store cannot use it: for example, it refuses the login, or the
    /// table has other columns.
    #[error("the database at {server} cannot be used")]
    Server {
        /// The address of the database.
        server: String,
        /// The reason.
        source: BoxError,
    },
}

/// Why a row is not a valid record. The text contains none of the stored values.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("the row's {0} cannot be read")]
    Part(&'static str),
    #[error("a value of the row is not JSON")]
    Json(#[source] JsonError),
}

/// Why a call has no answer. Holds codes, and texts of this crate. The database's own message is
/// left out, because it quotes keys and values.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("the database cannot be reached: {0}")]
    Unreachable(String),
    #[error("the connection to the database was lost: {0}")]
    Lost(String),
    #[error("the database is busy: {0}")]
    Busy(String),
    /// The statement changed nothing, because it conflicted with another transaction.
    #[error("gave up after repeated conflicts with other transactions: {0}")]
    Conflict(String),
    #[error(
        "the database accepts no writes, so it may no longer be the primary; the connection was \
         closed: {0}"
    )]
    ReadOnly(String),
    #[error("the database has no space left: {0}")]
    Full(String),
    #[error("the database refuses the login; look at user, password and database in the URL: {0}")]
    Login(String),
    #[error(
        "the database that the URL names does not exist; create it with CREATE DATABASE as an \
         administrator, or correct the URL: {0}"
    )]
    NoDatabase(String),
    #[error(
        "the database user lacks a right that the store needs; the README of store-sql lists \
         them: {0}"
    )]
    MissingRight(String),
    #[cfg(feature = "sqlite")]
    #[error(
        "the database file or its lock file cannot be opened; check that the folder exists and \
         that this user may write to it: {0}"
    )]
    File(String),
    #[error("the database or the driver refuses the operation: {0}")]
    Refused(String),
    #[error(
        "the table {0:?} does not exist; let the store create it (migrate=true), or run the SQL of \
         Dialect::schema"
    )]
    NoTable(String),
    #[error(
        "the table {0:?} does not have the columns that this version needs: the first version \
         created it, and this version does not read its sessions, or it does not belong to this \
         crate; choose another name with the setting table, or drop the table"
    )]
    OtherTable(String),
    #[error("unexpected answer of the database: {0}")]
    Answer(&'static str),
    #[error("the cursor does not come from this store; start again without a cursor")]
    Cursor,
    #[error("a stored value is not JSON")]
    NotJson,
}

impl From<sqlx::Error> for ClientError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => Self::of_database(&*error),
            sqlx::Error::Io(error) => Self::Lost(error.to_string()),
            sqlx::Error::WorkerCrashed => Self::Lost("the connection does not answer".to_owned()),
            sqlx::Error::PoolClosed => Self::Lost("the pool was closed".to_owned()),
            sqlx::Error::PoolTimedOut => {
                Self::Busy("all connections of the pool were in use; nothing was sent".to_owned())
            }
            // This concerns certificates and host names. Nothing has been sent yet.
            sqlx::Error::Tls(error) => Self::Refused(error.to_string()),
            // The driver cannot continue after a malformed message, for example after one that the
            // server did not complete.
            sqlx::Error::Protocol(_) => {
                Self::Lost("the server sent a malformed message".to_owned())
            }
            sqlx::Error::Configuration(_) => {
                Self::Refused("the driver rejects the settings".to_owned())
            }
            // The texts of the other errors can quote what was sent.
            _ => Self::Answer("the driver cannot read it"),
        }
    }
}

impl ClientError {
    /// Converts an error of an attempt to connect.
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

    /// Maps an SQLSTATE of PostgreSQL; see "PostgreSQL Error Codes", appendix A of its manual.
    fn by_state(code: &str) -> Self {
        let named = format!("SQLSTATE {code}");
        match code {
            // serialization_failure, deadlock_detected, lock_not_available.
            "40001" | "40P01" | "55P03" => Self::Conflict(named),
            // admin_shutdown, crash_shutdown, cannot_connect_now, idle_session_timeout.
            "57P01" | "57P02" | "57P03" | "57P05" => Self::Lost(named),
            // query_canceled, too_many_connections, out_of_memory, configuration_limit_exceeded.
            "57014" | "53300" | "53200" | "53400" => Self::Busy(named),
            // read_only_sql_transaction.
            "25006" => Self::ReadOnly(named),
            // disk_full.
            "53100" => Self::Full(named),
            // invalid_authorization_specification, invalid_password.
            "28000" | "28P01" => Self::Login(named),
            // invalid_catalog_name.
            "3D000" => Self::NoDatabase(named),
            // insufficient_privilege.
            "42501" => Self::MissingRight(named),
            // undefined_table, invalid_schema_name; undefined_column.
            "42P01" | "3F000" => Self::NoTable(String::new()),
            "42703" => Self::OtherTable(String::new()),
            // invalid_json_text.
            "22032" => Self::NotJson,
            _ if code.starts_with("08") => Self::Lost(named),
            _ => Self::Refused(named),
        }
    }

    /// Maps an error number of MySQL or MariaDB; see MySQL's "Server Error Message Reference".
    #[cfg(feature = "mysql")]
    fn by_number(number: u16) -> Self {
        let named = format!("error {number}");
        match number {
            // ER_LOCK_DEADLOCK, ER_LOCK_WAIT_TIMEOUT, ER_CHECKREAD,
            // ER_TRANSACTION_ROLLBACK_DURING_COMMIT (of a group).
            1213 | 1205 | 1020 | 3101 => Self::Conflict(named),
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
            // ER_NO_DB_ERROR.
            1045 | 1698 | 1044 | 1046 => Self::Login(named),
            // ER_BAD_DB_ERROR.
            1049 => Self::NoDatabase(named),
            // ER_TABLEACCESS_DENIED_ERROR, ER_COLUMNACCESS_DENIED_ERROR,
            // ER_SPECIFIC_ACCESS_DENIED_ERROR.
            1142 | 1143 | 1227 => Self::MissingRight(named),
            // ER_NO_SUCH_TABLE, ER_BAD_FIELD_ERROR.
            1146 => Self::NoTable(String::new()),
            1054 => Self::OtherTable(String::new()),
            // ER_INVALID_JSON_TEXT and related numbers; ER_BAD_NULL_ERROR, which MariaDB reports
            // for the same cause.
            3140..=3158 | 4038 | 1048 => Self::NotJson,
            _ => Self::Refused(named),
        }
    }

    /// Maps a result code of SQLite; see its page "Result and Error Codes".
    #[cfg(feature = "sqlite")]
    fn by_result(code: i32, message: &str) -> Self {
        let named = format!("result {code}");
        match code & 0xff {
            // SQLITE_BUSY, SQLITE_LOCKED.
            5 | 6 => Self::Conflict(named),
            // SQLITE_IOERR, SQLITE_PROTOCOL.
            10 | 15 => Self::Lost(named),
            // SQLITE_NOMEM.
            7 => Self::Busy(named),
            // SQLITE_FULL.
            13 => Self::Full(named),
            // SQLITE_CANTOPEN.
            14 => Self::Unreachable(
                "the file cannot be opened; check that the folder exists and that this user may \
                 write to it"
                    .to_owned(),
            ),
            // SQLITE_PERM, SQLITE_READONLY, SQLITE_AUTH.
            3 | 8 | 23 => Self::MissingRight(named),
            // SQLITE_CORRUPT, SQLITE_NOTADB.
            11 | 26 => {
                Self::Refused("the file is not an SQLite database, or it is damaged".to_owned())
            }
            1 if message.starts_with("no such table") => Self::NoTable(String::new()),
            1 if message.starts_with("no such column") => Self::OtherTable(String::new()),
            1 if message.contains("malformed JSON") => Self::NotJson,
            _ => Self::Refused(named),
        }
    }

    /// Whether the connection that reported this error must be closed.
    pub(crate) fn ends_connection(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::ReadOnly(_))
    }

    /// Adds the table's name to an error about the table.
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
            | ClientError::Conflict(_) => Self::Unavailable { store: STORE, source: error.into() },
            ClientError::Login(_)
            | ClientError::NoDatabase(_)
            | ClientError::MissingRight(_)
            | ClientError::Refused(_)
            | ClientError::NoTable(_)
            | ClientError::OtherTable(_)
            | ClientError::Answer(_)
            | ClientError::Cursor
            | ClientError::NotJson => Self::Other { store: STORE, source: error.into() },
            #[cfg(feature = "sqlite")]
            ClientError::File(_) => Self::Other { store: STORE, source: error.into() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_map_to_store_error_variants() {
        for code in ["40001", "40P01", "57P01", "53300", "08006", "25006"] {
            assert!(StoreError::from(ClientError::by_state(code)).is_transient(), "{code}");
        }
        for code in ["28P01", "3D000", "42501", "42P01", "22P02"] {
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
    #[test]
    fn missing_database_error_says_how_to_create_it() {
        let text = ClientError::by_state("3D000").to_string();
        assert!(text.contains("does not exist") && text.contains("CREATE DATABASE"), "{text}");
    }
}
