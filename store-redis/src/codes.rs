//! The errors of servers and of the driver, each with its class.

use redis::ErrorKind;

/// What an error means for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    // Try again. The server has executed nothing.
    Busy,
    Demoted,
    NoScript,
    // An outage, which ends without a change of the settings.
    Lost,
    Quota,
    // No waiting helps.
    Full,
    TooLarge,
    LoginRequired,
    WrongLogin,
    NoPermission,
    Protected,
    TooOld,
    NoCommand,
    NoDatabase,
    IsCluster,
    IsNoCluster,
    UndeclaredKeys,
    Unreadable,
    Refused,
}

/// A code, a part of the message that the class depends on, and the class. The first match counts.
pub(crate) type Row = (&'static str, &'static str, Class);

/// Error codes of Redis, Valkey, and services that speak their protocol. A code is the first word
/// of an error.
pub(crate) const CODES: &[Row] = &[
    ("LOADING", "", Class::Busy),     // the server loads its data
    ("MOVED", "", Class::Busy),       // the slot has another node; the driver follows
    ("ASK", "", Class::Busy),         // the slot is moving; see `ClientError::Moving`
    ("TRYAGAIN", "", Class::Busy),    // the keys of a moving slot are on two nodes
    ("CLUSTERDOWN", "", Class::Busy), // slots without a node, or no majority
    ("MASTERDOWN", "", Class::Busy),  // a replica without its primary
    ("NOREPLICAS", "", Class::Busy),  // min-replicas-to-write
    ("BUSY", "", Class::Busy),        // a script of another client takes too long
    ("MISCONF", "", Class::Busy),     // snapshots fail
    ("UNBLOCKED", "", Class::Busy),   // the server ended WAIT because it was demoted
    ("READONLY", "", Class::Demoted),
    ("NOSCRIPT", "", Class::NoScript),
    ("OOM", "", Class::Full), // maxmemory
    ("NOAUTH", "", Class::LoginRequired),
    ("WRONGPASS", "", Class::WrongLogin),
    ("NOPERM", "", Class::NoPermission),
    ("DENIED", "", Class::Protected),         // protected mode
    ("NOPROTO", "", Class::TooOld),           // RESP3 is unknown
    ("CROSSSLOT", "", Class::UndeclaredKeys), // one address for several nodes
    // The store sends none of the commands that cause these four.
    ("EXECABORT", "", Class::Refused),
    ("NOTBUSY", "", Class::Refused),
    ("UNKILLABLE", "", Class::Refused),
    ("WRONGTYPE", "", Class::Refused),
    // Redis closes the connection after it. All clients of the server share the limit.
    ("ERR", "max number of clients", Class::Busy),
    ("ERR", "max concurrent connections exceeded", Class::Busy), // Upstash
    // Only a script that has written nothing can be killed.
    ("ERR", "Script killed by user", Class::Busy),
    // Upstash: the limit of a day or of a month.
    ("ERR", "max daily request limit exceeded", Class::Quota),
    ("ERR", "max requests limit exceeded", Class::Quota),
    ("ERR", "DB capacity quota exceeded", Class::Full), // Upstash
    // Upstash: the limits of a plan for one request, record or key.
    ("ERR", "max request size exceeded", Class::TooLarge),
    ("ERR", "max single record size exceeded", Class::TooLarge),
    ("ERR", "max key size exceeded", Class::TooLarge),
    // Within a script the code of these is ERR.
    ("ERR", "can't run this command", Class::NoPermission),
    ("ERR", "ACL failure in script", Class::NoPermission),
    ("ERR", "unknown command", Class::NoCommand),
    ("ERR", "Unknown Redis command", Class::NoCommand), // within a script
    ("ERR", "unknown subcommand", Class::NoCommand),
    ("ERR", "command is not allowed", Class::NoCommand),
    ("ERR", "Command is not available", Class::NoCommand), // Upstash
    ("ERR", "DB index is out of range", Class::NoDatabase),
    ("ERR", "invalid DB index", Class::NoDatabase),
    ("ERR", "SELECT is not allowed in cluster mode", Class::IsCluster),
    ("ERR", "undeclared key", Class::UndeclaredKeys), // Dragonfly
    ("ERR", "a non local key", Class::UndeclaredKeys), // one address for several nodes
    ("ERR", "do not hash to the same slot", Class::UndeclaredKeys), // the same
    ("ERR", "cluster support disabled", Class::IsNoCluster),
];

/// The kinds of errors that the driver itself makes.
pub(crate) const KINDS: &[(ErrorKind, Class)] = &[
    (ErrorKind::Io, Class::Lost),
    (ErrorKind::Parse, Class::Lost), // an answer that is cut off
    (ErrorKind::ClusterConnectionNotFound, Class::Lost),
    (ErrorKind::AuthenticationFailed, Class::WrongLogin),
    (ErrorKind::RESP3NotSupported, Class::TooOld), // `HELLO` is unknown
    (ErrorKind::UnexpectedReturnType, Class::Unreadable),
    (ErrorKind::Client, Class::Refused),
    (ErrorKind::InvalidClientConfig, Class::Refused),
];

/// The class of an error of a server. An unknown code is refused.
pub(crate) fn of_code(code: &str, message: &str) -> Class {
    let is_this = |&&(known, part, _): &&Row| known == code && message.contains(part);
    CODES.iter().find(is_this).map_or(Class::Refused, |&(_, _, class)| class)
}

/// The class of an error of the driver. `None` for an error of a server.
pub(crate) fn of_kind(kind: ErrorKind) -> Option<Class> {
    KINDS.iter().find(|(known, _)| *known == kind).map(|&(_, class)| class)
}
