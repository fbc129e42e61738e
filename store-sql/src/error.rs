//! The errors of the store, and how the driver's errors map to them.

use session_core::{BoxError, JsonError, Rejection, StoreError};
use sqlx::error::DatabaseError;
use store_support::tls_failure::{TlsFailure, TlsWords};

use crate::codes::{self, Class};

/// The name of the store in errors.
pub(crate) const STORE: &str = "sql";

/// The settings that a remedy names.
const TLS_WORDS: TlsWords = TlsWords {
    authority: "sslrootcert (MySQL: ssl-ca)",
    client: "sslcert and sslkey (MySQL: ssl-cert and ssl-key)",
    with_tls: "sslmode=verify-full (MySQL: ssl-mode=VERIFY_IDENTITY)",
    without_tls: "sslmode=disable (MySQL: ssl-mode=DISABLED)",
};

/// A setting is not valid.
///
/// `Debug` shows the same text as `Display`, followed by the sources.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
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
    #[error("unknown setting {key:?} of an SQL store; {usable}")]
    UnknownKey {
        /// The name.
        key: String,
        /// What to do instead, or the settings of this build.
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
///
/// `Debug` shows the same text as `Display`, followed by the sources.
#[derive(thiserror::Error)]
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

session_core::debug_as_display!(ConfigError, ConnectError);

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
    #[error(
        "the server has no connection left for this process; lower the setting connections, or \
         allow more at the server (max_connections): {0}"
    )]
    TooManyConnections(String),
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
    #[error(transparent)]
    Tls(#[from] TlsFailure),
    #[error(
        "TLS does not work with these settings; look at sslmode, sslrootcert, sslcert and sslkey \
         (MySQL: ssl-mode, ssl-ca, ssl-cert and ssl-key) and at their files: {0}"
    )]
    TlsSettings(String),
    #[error("the database refuses the login; look at user, password and database in the URL: {0}")]
    Login(String),
    #[error(
        "the database refuses the login that it accepted before; write the new password into the \
         file of the setting password_file, or restart with another URL: {0}"
    )]
    LoginChanged(String),
    #[error("a new connection needs the password: {0}")]
    PasswordFile(String),
    #[error(
        "the database that the URL names does not exist; create it with CREATE DATABASE as an \
         administrator, or correct the URL: {0}"
    )]
    NoDatabase(String),
    #[error(
        "the database user lacks a right that the store needs, or a policy of row-level security \
         hides the rows; the README of store-sql lists the rights: {0}"
    )]
    MissingRight(String),
    #[error(
        "the server demands a primary key of each table, and the table in the database has none; \
         drop it, or create it with the SQL of Dialect::schema under another name, and write that \
         name into the setting table: {0}"
    )]
    NoPrimaryKey(String),
    #[error(
        "no schema of the search path exists, or this user may not create a table in it; write \
         options=-c%20search_path%3Dshop with the name of a schema into the URL, or execute ALTER \
         ROLE … SET search_path: {0}"
    )]
    NoSchema(String),
    #[cfg(feature = "mysql")]
    #[error(
        "the session is larger than a packet of the server may be; raise max_allowed_packet, or \
         lower the setting data_bytes: {0}"
    )]
    PacketTooLarge(String),
    #[cfg(feature = "mysql")]
    #[error(
        "the connections do not commit their changes (autocommit=0); set autocommit=1 in the pool \
         of the application"
    )]
    NoAutocommit,
    #[cfg(feature = "mysql")]
    #[error(
        "the server has blocked this machine after failed connections; execute FLUSH HOSTS as an \
         administrator: {0}"
    )]
    Blocked(String),
    #[error(
        "a proxy between the store and the database does not keep prepared statements; write \
         statement-cache-capacity=0 into the URL, or let the proxy manage prepared statements \
         (pgbouncer 1.21: max_prepared_statements=200): {0}"
    )]
    Pooler(String),
    #[error(
        "pgbouncer refuses a parameter of the connection; write the line \
         \"ignore_startup_parameters = extra_float_digits\" into pgbouncer.ini, and remove the \
         setting options from the URL: {0}"
    )]
    StartupParameter(String),
    #[cfg(feature = "sqlite")]
    #[error(
        "the database file or its lock file cannot be opened; check that the folder exists and \
         that this user may write to it: {0}"
    )]
    File(String),
    #[cfg(feature = "sqlite")]
    #[error(
        "the database file {0} was removed while the store used it; put it back, or restart all \
         servers of the site to begin with a new file"
    )]
    FileRemoved(String),
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
            // This concerns files of certificates, and servers without TLS. Nothing has been sent
            // yet.
            sqlx::Error::Tls(error) => Self::TlsSettings(error.to_string()),
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
            // The driver reports failures of TLS as failures of the connection.
            sqlx::Error::Io(error) => match TlsFailure::of_text(&error.to_string(), &TLS_WORDS) {
                Some(failure) => Self::Tls(failure),
                None => Self::Unreachable(error.to_string()),
            },
            // The URL has been parsed, so this is about a file of a certificate or a key.
            sqlx::Error::Configuration(_) => {
                Self::TlsSettings("the driver cannot use one of the files".to_owned())
            }
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
        Self::by_state(&code, error.message())
    }

    fn by_state(code: &str, message: &str) -> Self {
        Self::of_class(codes::class(codes::STATES, code, message), format!("SQLSTATE {code}"))
    }

    #[cfg(feature = "mysql")]
    fn by_number(number: u16) -> Self {
        Self::of_class(codes::class(codes::NUMBERS, number, ""), format!("error {number}"))
    }

    #[cfg(feature = "sqlite")]
    fn by_result(code: i32, message: &str) -> Self {
        let class = codes::class(codes::RESULTS, code & 0xff, message);
        Self::of_class(class, format!("result {code}"))
    }

    fn of_class(class: Class, code: String) -> Self {
        match class {
            Class::Conflict => Self::Conflict(code),
            Class::Lost => Self::Lost(code),
            Class::Busy => Self::Busy(code),
            Class::TooManyConnections => Self::TooManyConnections(code),
            Class::ReadOnly => Self::ReadOnly(code),
            #[cfg(feature = "sqlite")]
            Class::Unreachable => Self::Unreachable(
                "the file cannot be opened; check that the folder exists and that this user may \
                 write to it"
                    .to_owned(),
            ),
            Class::Full => Self::Full(code),
            Class::Login => Self::Login(code),
            Class::NoDatabase => Self::NoDatabase(code),
            Class::MissingRight => Self::MissingRight(code),
            Class::NoSchema => Self::NoSchema(code),
            Class::NoTable => Self::NoTable(String::new()),
            Class::OtherTable => Self::OtherTable(String::new()),
            Class::NotJson => Self::NotJson,
            Class::NoPrimaryKey => Self::NoPrimaryKey(code),
            #[cfg(feature = "mysql")]
            Class::PacketTooLarge => Self::PacketTooLarge(code),
            #[cfg(feature = "mysql")]
            Class::Blocked => Self::Blocked(code),
            Class::TlsDemanded => Self::Tls(TlsFailure::demanded(&TLS_WORDS)),
            Class::Pooler => Self::Pooler(code),
            Class::StartupParameter => Self::StartupParameter(code),
            #[cfg(feature = "sqlite")]
            Class::Damaged => {
                Self::Refused("the file is not an SQLite database, or it is damaged".to_owned())
            }
            Class::Refused => Self::Refused(code),
        }
    }

    /// Whether the connection that reported this error must be closed.
    pub(crate) fn ends_connection(&self) -> bool {
        // The server closes a connection after a packet that is too large.
        #[cfg(feature = "mysql")]
        if matches!(self, Self::PacketTooLarge(_)) {
            return true;
        }
        // After an error of a proxy the driver may know statements that the server does not know.
        matches!(self, Self::Lost(_) | Self::ReadOnly(_) | Self::Pooler(_))
    }

    /// The error of a store that has worked before: a login that was accepted once has changed, and
    /// can be right again.
    pub(crate) fn after_success(self) -> Self {
        match self {
            Self::Login(code) => Self::LoginChanged(code),
            other => other,
        }
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
            #[cfg(feature = "sqlite")]
            ClientError::FileRemoved(_) => Self::Unavailable { store: STORE, source: error.into() },
            ClientError::Unreachable(_)
            | ClientError::Lost(_)
            | ClientError::Busy(_)
            | ClientError::TooManyConnections(_)
            | ClientError::LoginChanged(_)
            | ClientError::PasswordFile(_)
            | ClientError::ReadOnly(_)
            | ClientError::Conflict(_) => Self::Unavailable { store: STORE, source: error.into() },
            // No waiting helps.
            error => Self::Other { store: STORE, source: error.into() },
        }
    }
}

/// Whether an error of the first call ends the start. Otherwise the store works once the database
/// does.
pub(crate) fn ends_start(error: &StoreError) -> bool {
    !error.is_transient()
}

#[cfg(test)]
mod tests;
