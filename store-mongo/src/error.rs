//! Errors: invalid settings, failed connects, failed calls, and how a failed call becomes a
//! [`StoreError`].

use std::io;

use mongodb::error::{Error, ErrorKind, WriteFailure};
use session_core::{BoxError, Rejection, StoreError};
use store_support::settings::InvalidValue;

use crate::{
    certificate,
    codes::{self, Class},
};

/// The name of this store in errors and metrics.
pub(crate) const STORE: &str = "mongo";

/// The oldest supported server, and the version of its wire protocol.
pub(crate) const OLDEST_SERVER: (&str, i32) = ("5.0", 13);

/// Invalid settings.
///
/// `Debug` shows the same text as `Display`, followed by the sources.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The scheme of the URL is not a scheme of MongoDB. The error omits the rest of the URL,
    /// because it can contain a password.
    #[error("URL scheme {scheme:?} is not a MongoDB scheme; use mongodb:// or mongodb+srv://")]
    Scheme {
        /// The scheme of the URL. Empty if the URL has none.
        scheme: String,
    },
    /// A part of the URL is not valid. The error omits its text, because it can contain a password.
    #[error("the {part} of the MongoDB URL is not valid: {usable}")]
    Url {
        /// Name of the part.
        part: &'static str,
        /// What a valid part looks like.
        usable: &'static str,
    },
    /// The setting is unknown. The error shows `…` instead of a name that may be a part of a
    /// password.
    #[error("unknown setting {key:?} of a MongoDB store; {usable}")]
    UnknownKey {
        /// Name of the setting.
        key: String,
        /// What to do instead, or the known settings.
        usable: String,
    },
    /// The value of a setting is not valid.
    #[error("{key}: {value:?} is not valid; use {usable}")]
    Value {
        /// Name of the setting.
        key: &'static str,
        /// The value that is not valid.
        value: String,
        /// Which values are valid.
        usable: String,
    },
    /// The driver rejected the URL.
    #[error("the MongoDB driver rejected the URL: {why}")]
    Driver {
        /// The driver's message. It does not quote a URL that has a login.
        why: String,
    },
}

impl ConfigError {
    /// The error for a setting that no table contains.
    pub(crate) fn unknown(key: String) -> Self {
        let usable = "use collection, data_bytes, deadline_ms, password_file, in a file also \
                      database, or in the URL a setting of the MongoDB driver";
        Self::UnknownKey { key, usable: usable.to_owned() }
    }
}

#[doc(hidden)]
impl From<InvalidValue> for ConfigError {
    fn from(InvalidValue { key, value, expected }: InvalidValue) -> Self {
        Self::Value { key, value, usable: expected }
    }
}

/// The store cannot be opened.
///
/// `Debug` shows the same text as `Display`, followed by the sources.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The settings are not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server responds but the store cannot use it: the server is too old, it rejected the
    /// login, or the collection has a conflicting index.
    #[error("the store cannot use MongoDB at {server}")]
    Server {
        /// Address of the server.
        server: String,
        /// Why the store cannot use the server.
        source: BoxError,
    },
}

session_core::debug_as_display!(ConfigError, ConnectError);

/// A failed call. The texts come from the driver or name the server's error codes. They never
/// contain the server's message, because it quotes commands and documents with keys and values.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("no server is reachable: {0}")]
    Unreachable(String),
    #[error("no server is reachable: no primary exists, or it does not respond")]
    NoServer,
    #[error("the connection to the server was lost: {0}")]
    Lost(String),
    #[error("the server closed the connection: {0}")]
    Closed(String),
    #[error("the connection to the server was lost: the driver closed its connections")]
    PoolCleared,
    #[error("the server cannot serve the call now: {0}")]
    Busy(String),
    #[error(
        "fewer members acknowledged the write than the write concern asks for, and the primary may \
         have applied it: {0}"
    )]
    Unacknowledged(String),
    #[error("the server has no disk space left: {0}")]
    Full(String),
    #[error(
        "the driver does not trust the certificate of the server; name the authority that signed \
         it with tlsCAFile, and use the name in the certificate as the host: {0}"
    )]
    Certificate(String),
    #[error(
        "the server asks for a certificate of the client; name a PEM file with certificate and key \
         with tlsCertificateKeyFile"
    )]
    ClientCertificate,
    #[error(
        "the server at {0} does not use TLS; enable TLS at the server (net.tls.mode), or write \
         tls=false into the URL if nothing else can listen to the network"
    )]
    NoTls(String),
    #[error("the server at {0} demands TLS; write tls=true into the URL")]
    TlsDemanded(String),
    #[error(
        "the server at {0} is not a load balancer of MongoDB; remove loadBalanced=true from the URL"
    )]
    NoLoadBalancer(String),
    #[error(
        "the server rejected the login; check user, password and authSource in the URL, or \
         password_file"
    )]
    Login,
    #[error(
        "the server rejects the login that it accepted before; write the new password into the \
         file of the setting password_file, or restart with another URL"
    )]
    LoginChanged,
    #[error("the server rejects the login, and the file with the new password is unusable: {0}")]
    PasswordFile(ConfigError),
    #[error(
        "the user lacks a privilege that sessions need; the README of store-mongo lists all of \
         them: {0}"
    )]
    MissingPrivilege(String),
    #[error(
        "the server does not support retryable writes; write retryWrites=false into the URL: {0}"
    )]
    RetryableWrites(String),
    #[error(
        "the server lacks a command or an operator that sessions need; use MongoDB {oldest} or \
         later, or a service that the README of store-mongo names: {0}",
        oldest = OLDEST_SERVER.0
    )]
    Unsupported(String),
    #[error("the server or the driver rejected the call: {0}")]
    Rejected(String),
    #[error(transparent)]
    Settings(#[from] ConfigError),
    #[error(
        "directConnection=true connects to one member of a replica set, which can become a \
         secondary; remove it and name the replica set with replicaSet"
    )]
    DirectConnection,
    #[error(
        "an index of the collection conflicts with an index that sessions need: it has the same \
         name or the same fields; remove it: {0}"
    )]
    ConflictingIndex(String),
    #[error(
        "the collection has the unique index {0:?}, as the first version of this crate created \
         it; this version cannot read those sessions: drop the collection, or set \
         `collection` to another name"
    )]
    UniqueIndex(String),
    #[error(
        "the collection has a collation, which can make different users equal; drop it, or set \
         `collection` to another name"
    )]
    Collation,
    #[error(
        "the shard key of the collection is not {{_id: \"hashed\"}}; drop the collection, or set \
         `collection` to another name"
    )]
    ShardKey,
    #[error(
        "the server speaks version {found} of the wire protocol; use MongoDB {} or later",
        OLDEST_SERVER.0
    )]
    UnsupportedServer { found: i32 },
    #[error("unexpected response of the server: {0}")]
    UnexpectedResponse(&'static str),
    #[error("the cursor is not a cursor of this store; start again without a cursor")]
    InvalidCursor,
    /// The server reported a duplicate key.
    #[error(
        "a unique index rejected the session; remove all unique indexes except that of _id from \
         the collection"
    )]
    DuplicateKey,
    /// An index that a hint names does not exist.
    #[error("the collection has lost its indexes")]
    MissingIndex,
}

impl From<Error> for ClientError {
    fn from(error: Error) -> Self {
        match &*error.kind {
            ErrorKind::Command(command) => {
                Self::by_code(command.code, &command.code_name, &command.message)
            }
            ErrorKind::Write(WriteFailure::WriteError(refused)) => Self::by_code(
                refused.code,
                refused.code_name.as_deref().unwrap_or_default(),
                &refused.message,
            ),
            ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => Self::of_class(
                codes::of_write_concern(concern.code),
                named(concern.code, &concern.code_name),
            ),
            // The driver's message quotes the last errors of the servers, which can contain
            // documents.
            ErrorKind::ServerSelection { .. } => Self::NoServer,
            ErrorKind::DnsResolve { .. } => {
                Self::Unreachable("the DNS lookup of the host in the URL failed".to_owned())
            }
            ErrorKind::Io(error) => Self::of_io(error),
            ErrorKind::ConnectionPoolCleared { .. } => Self::PoolCleared,
            ErrorKind::Shutdown => Self::Lost("the client was shut down".to_owned()),
            ErrorKind::Authentication { .. } => Self::of_login(&error),
            ErrorKind::IncompatibleServer { message, .. } if message.contains("load balancing") => {
                Self::NoLoadBalancer("this address".to_owned())
            }
            ErrorKind::IncompatibleServer { .. } => {
                Self::Rejected("the driver does not support this version of the server".to_owned())
            }
            ErrorKind::InvalidArgument { .. } => {
                Self::Rejected("the driver rejected the settings".to_owned())
            }
            // The message names files. The driver has not sent anything yet.
            ErrorKind::InvalidTlsConfig { message, .. } => Self::Rejected(message.clone()),
            ErrorKind::InvalidResponse { .. } => {
                Self::UnexpectedResponse("the driver cannot decode it")
            }
            // The other kinds belong to calls that this store does not make. Their messages might
            // quote what was sent.
            _ => Self::Rejected("the driver failed".to_owned()),
        }
    }
}

impl ClientError {
    /// Converts an error of parsed settings. The driver has sent nothing, and its message names
    /// only settings.
    pub(crate) fn of_settings(error: Error) -> Self {
        match &*error.kind {
            ErrorKind::InvalidArgument { message, .. } => Self::Rejected(message.clone()),
            _ => error.into(),
        }
    }

    /// Converts an error of an attempt to connect.
    pub(crate) fn of_connecting(error: Error) -> Self {
        match &*error.kind {
            // A server without MongoDB's protocol, or one that sends a message of TLS.
            ErrorKind::InvalidResponse { .. } => {
                Self::Closed("it does not speak the protocol of MongoDB".to_owned())
            }
            _ => error.into(),
        }
    }

    fn of_io(error: &io::Error) -> Self {
        let text = error.to_string();
        if let Some(why) = certificate::distrust(&text) {
            return Self::Certificate(why);
        }
        if text.contains("CertificateRequired") {
            return Self::ClientCertificate;
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::InvalidData => Self::Closed(text),
            _ => Self::Lost(text),
        }
    }

    /// Converts a failed login. A server that shuts down also fails it.
    fn of_login(error: &Error) -> Self {
        let cause =
            std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<Error>());
        match cause.map(|cause| &*cause.kind) {
            Some(ErrorKind::Command(command)) => {
                match Self::by_code(command.code, &command.code_name, &command.message) {
                    busy @ Self::Busy(_) => busy,
                    _ => Self::Login,
                }
            }
            _ => Self::Login,
        }
    }

    /// The error for a code of the server.
    fn by_code(code: i32, name: &str, message: &str) -> Self {
        Self::of_class(codes::of_command(code, message), named(code, name))
    }

    fn of_class(class: Class, code: String) -> Self {
        match class {
            Class::MissingIndex => Self::MissingIndex,
            Class::Busy => Self::Busy(code),
            Class::Unacknowledged => Self::Unacknowledged(code),
            Class::Full => Self::Full(code),
            Class::Login => Self::Login,
            Class::MissingPrivilege => Self::MissingPrivilege(code),
            Class::ConflictingIndex => Self::ConflictingIndex(code),
            Class::DuplicateKey => Self::DuplicateKey,
            Class::RetryableWrites => Self::RetryableWrites(code),
            Class::Unsupported => Self::Unsupported(code),
            Class::Rejected => Self::Rejected(code),
        }
    }

    /// Whether an attempt to connect fails with this error until the settings change.
    pub(crate) fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Certificate(_)
                | Self::ClientCertificate
                | Self::NoTls(_)
                | Self::TlsDemanded(_)
                | Self::NoLoadBalancer(_)
                | Self::Login
        )
    }
}

fn named(code: i32, name: &str) -> String {
    if name.is_empty() { format!("error {code}") } else { format!("{name} ({code})") }
}

impl From<ClientError> for StoreError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Full(_) => {
                Rejection::Full { store: STORE.into(), what: "disk".into() }.into()
            }
            ClientError::Unreachable(_)
            | ClientError::NoServer
            | ClientError::Lost(_)
            | ClientError::Closed(_)
            | ClientError::PoolCleared
            | ClientError::Busy(_)
            | ClientError::Unacknowledged(_)
            | ClientError::LoginChanged
            | ClientError::PasswordFile(_) => {
                Self::Unavailable { store: STORE, source: error.into() }
            }
            // No waiting helps.
            error => Self::Other { store: STORE, source: error.into() },
        }
    }
}

#[cfg(test)]
mod tests;
