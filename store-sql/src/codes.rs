//! The error codes of the databases, each with its class.

/// What an error code means for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    // Try again. The statement changed nothing.
    Conflict,
    // An outage, which ends without a change of the settings.
    Lost,
    Busy,
    TooManyConnections,
    ReadOnly,
    #[cfg(feature = "sqlite")]
    Unreachable,
    // No waiting helps.
    Full,
    Login,
    NoDatabase,
    MissingRight,
    NoSchema,
    NoTable,
    OtherTable,
    NotJson,
    NoPrimaryKey,
    #[cfg(feature = "mysql")]
    PacketTooLarge,
    #[cfg(feature = "mysql")]
    Blocked,
    TlsDemanded,
    Pooler,
    StartupParameter,
    #[cfg(feature = "sqlite")]
    Damaged,
    Refused,
}

/// A code, a part of the message that the class depends on, and the class. The first match counts.
type Row<C> = (C, &'static str, Class);

/// SQLSTATEs of PostgreSQL and its proxies; see "PostgreSQL Error Codes", appendix A of its manual.
pub(crate) const STATES: &[Row<&str>] = &[
    ("40001", "", Class::Conflict),           // serialization_failure
    ("40P01", "", Class::Conflict),           // deadlock_detected
    ("55P03", "", Class::Conflict),           // lock_not_available
    ("25P03", "", Class::Lost),               // idle_in_transaction_session_timeout
    ("25P04", "", Class::Lost),               // transaction_timeout
    ("57P01", "", Class::Lost),               // admin_shutdown
    ("57P02", "", Class::Lost),               // crash_shutdown
    ("57P03", "", Class::Lost),               // cannot_connect_now
    ("57P05", "", Class::Lost),               // idle_session_timeout
    ("53200", "", Class::Busy),               // out_of_memory
    ("53300", "", Class::TooManyConnections), // too_many_connections
    ("53400", "", Class::Busy),               // configuration_limit_exceeded
    ("57014", "", Class::Busy),               // query_canceled
    ("25006", "", Class::ReadOnly),           // read_only_sql_transaction
    ("53100", "", Class::Full),               // disk_full
    // invalid_authorization_specification
    ("28000", "no encryption", Class::TlsDemanded),
    ("28000", "", Class::Login),
    ("28P01", "", Class::Login),        // invalid_password
    ("3D000", "", Class::NoDatabase),   // invalid_catalog_name
    ("42501", "", Class::MissingRight), // insufficient_privilege
    ("3F000", "", Class::NoSchema),     // invalid_schema_name
    ("42P01", "", Class::NoTable),      // undefined_table
    ("42703", "", Class::OtherTable),   // undefined_column
    ("22032", "", Class::NotJson),      // invalid_json_text
    ("26000", "", Class::Pooler),       // invalid_sql_statement_name
    ("42P05", "", Class::Pooler),       // duplicate_prepared_statement
    ("55000", "replica identity", Class::NoPrimaryKey), // object_not_in_prerequisite_state
    // protocol_violation, which PgBouncer uses for most of its errors.
    ("08P01", "no more connections allowed", Class::TooManyConnections),
    ("08P01", "unsupported startup parameter", Class::StartupParameter),
    ("08P01", "no such database", Class::NoDatabase),
    ("08P01", "no such user", Class::Login),
    ("08P01", "authentication failed", Class::Login),
    ("08P01", "prepared statement did not exist", Class::Pooler),
    ("08P01", "", Class::Lost),
    // internal_error, which Supavisor uses for its limits.
    ("XX000", "max clients reached", Class::TooManyConnections),
    ("XX000", "Max client connections reached", Class::TooManyConnections),
    ("08000", "", Class::Lost), // connection_exception
    ("08001", "", Class::Lost), // sqlclient_unable_to_establish_sqlconnection
    ("08003", "", Class::Lost), // connection_does_not_exist
    ("08004", "", Class::Lost), // sqlserver_rejected_establishment_of_sqlconnection
    ("08006", "", Class::Lost), // connection_failure
    ("08007", "", Class::Lost), // transaction_resolution_unknown
];

/// Error numbers of MySQL and MariaDB; see MySQL's "Server Error Message Reference" and MariaDB's
/// "MariaDB Error Code Reference".
#[cfg(feature = "mysql")]
pub(crate) const NUMBERS: &[Row<u16>] = &[
    (1020, "", Class::Conflict),           // ER_CHECKREAD
    (1205, "", Class::Conflict),           // ER_LOCK_WAIT_TIMEOUT
    (1213, "", Class::Conflict),           // ER_LOCK_DEADLOCK
    (1615, "", Class::Conflict),           // ER_NEED_REPREPARE
    (3101, "", Class::Conflict),           // ER_TRANSACTION_ROLLBACK_DURING_COMMIT, of a group
    (1053, "", Class::Lost),               // ER_SERVER_SHUTDOWN
    (1158, "", Class::Lost),               // ER_NET_READ_ERROR
    (1159, "", Class::Lost),               // ER_NET_READ_INTERRUPTED
    (1160, "", Class::Lost),               // ER_NET_ERROR_ON_WRITE
    (1161, "", Class::Lost),               // ER_NET_WRITE_INTERRUPTED
    (1184, "", Class::Lost),               // ER_NEW_ABORTING_CONNECTION
    (1927, "", Class::Lost),               // ER_CONNECTION_KILLED
    (4031, "", Class::Lost),               // ER_CLIENT_INTERACTION_TIMEOUT
    (1040, "", Class::TooManyConnections), // ER_CON_COUNT_ERROR
    (1041, "", Class::Busy),               // ER_OUT_OF_RESOURCES
    (1047, "", Class::Busy),               // ER_UNKNOWN_COM_ERROR, Galera's "not ready yet"
    (1203, "", Class::TooManyConnections), // ER_TOO_MANY_USER_CONNECTIONS
    (1226, "", Class::TooManyConnections), // ER_USER_LIMIT_REACHED
    (1317, "", Class::Busy),               // ER_QUERY_INTERRUPTED
    (1461, "", Class::Busy),               // ER_MAX_PREPARED_STMT_COUNT_REACHED
    (1969, "", Class::Busy),               // ER_STATEMENT_TIMEOUT
    (3024, "", Class::Busy),               // ER_QUERY_TIMEOUT
    (1792, "", Class::ReadOnly),           // ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
    (1290, "", Class::ReadOnly),           // ER_OPTION_PREVENTS_STATEMENT
    (1836, "", Class::ReadOnly),           // ER_READ_ONLY_MODE
    (1021, "", Class::Full),               // ER_DISK_FULL
    (1114, "", Class::Full),               // ER_RECORD_FILE_FULL
    (1206, "", Class::Full),               // ER_LOCK_TABLE_FULL
    (1044, "", Class::Login),              // ER_DBACCESS_DENIED_ERROR
    (1045, "", Class::Login),              // ER_ACCESS_DENIED_ERROR
    (1046, "", Class::Login),              // ER_NO_DB_ERROR
    (1130, "", Class::Login),              // ER_HOST_NOT_PRIVILEGED
    (1698, "", Class::Login),              // ER_ACCESS_DENIED_NO_PASSWORD_ERROR
    (1820, "", Class::Login),              // ER_MUST_CHANGE_PASSWORD
    (1862, "", Class::Login),              // ER_MUST_CHANGE_PASSWORD_LOGIN
    (3118, "", Class::Login),              // ER_ACCOUNT_HAS_BEEN_LOCKED of MySQL
    (4151, "", Class::Login),              // ER_ACCOUNT_HAS_BEEN_LOCKED of MariaDB
    (1153, "", Class::PacketTooLarge),     // ER_NET_PACKET_TOO_LARGE
    (1129, "", Class::Blocked),            // ER_HOST_IS_BLOCKED
    (3159, "", Class::TlsDemanded),        // ER_SECURE_TRANSPORT_REQUIRED
    (1049, "", Class::NoDatabase),         // ER_BAD_DB_ERROR
    (1142, "", Class::MissingRight),       // ER_TABLEACCESS_DENIED_ERROR
    (1143, "", Class::MissingRight),       // ER_COLUMNACCESS_DENIED_ERROR
    (1227, "", Class::MissingRight),       // ER_SPECIFIC_ACCESS_DENIED_ERROR
    (1146, "", Class::NoTable),            // ER_NO_SUCH_TABLE
    (1054, "", Class::OtherTable),         // ER_BAD_FIELD_ERROR
    (1173, "", Class::NoPrimaryKey),       // ER_REQUIRES_PRIMARY_KEY
    (3750, "", Class::NoPrimaryKey),       // ER_TABLE_WITHOUT_PK
    (4165, "", Class::NoPrimaryKey),       // ER_GALERA_REPLICATION_NOT_SUPPORTED
    (1243, "", Class::Pooler),             // ER_UNKNOWN_STMT_HANDLER
    // ER_BAD_NULL_ERROR, which MariaDB reports for invalid JSON.
    (1048, "", Class::NotJson),
    (4038, "", Class::NotJson), // ER_JSON_SYNTAX
    (3140, "", Class::NotJson), // ER_INVALID_JSON_TEXT, and the related numbers below
    (3141, "", Class::NotJson),
    (3142, "", Class::NotJson),
    (3143, "", Class::NotJson),
    (3144, "", Class::NotJson),
    (3145, "", Class::NotJson),
    (3146, "", Class::NotJson),
    (3147, "", Class::NotJson),
    (3148, "", Class::NotJson),
    (3149, "", Class::NotJson),
    (3150, "", Class::NotJson),
    (3151, "", Class::NotJson),
    (3152, "", Class::NotJson),
    (3153, "", Class::NotJson),
    (3154, "", Class::NotJson),
    (3155, "", Class::NotJson),
    (3156, "", Class::NotJson),
    (3157, "", Class::NotJson),
    (3158, "", Class::NotJson),
];

/// Primary result codes of SQLite; see its page "Result and Error Codes".
#[cfg(feature = "sqlite")]
pub(crate) const RESULTS: &[Row<i32>] = &[
    (5, "", Class::Conflict),      // SQLITE_BUSY
    (6, "", Class::Conflict),      // SQLITE_LOCKED
    (10, "", Class::Lost),         // SQLITE_IOERR
    (15, "", Class::Lost),         // SQLITE_PROTOCOL
    (7, "", Class::Busy),          // SQLITE_NOMEM
    (14, "", Class::Unreachable),  // SQLITE_CANTOPEN
    (13, "", Class::Full),         // SQLITE_FULL
    (3, "", Class::MissingRight),  // SQLITE_PERM
    (8, "", Class::MissingRight),  // SQLITE_READONLY
    (23, "", Class::MissingRight), // SQLITE_AUTH
    (11, "", Class::Damaged),      // SQLITE_CORRUPT
    (26, "", Class::Damaged),      // SQLITE_NOTADB
    (1, "no such table", Class::NoTable),
    (1, "no such column", Class::OtherTable),
    (1, "malformed JSON", Class::NotJson),
];

/// The class of a code. An unknown code is refused.
pub(crate) fn class<C: Copy + PartialEq>(rows: &[Row<C>], code: C, message: &str) -> Class {
    let is_this =
        |&&(known, part, _): &&Row<C>| known == code && (part.is_empty() || message.contains(part));
    rows.iter().find(is_this).map_or(Class::Refused, |&(_, _, class)| class)
}
