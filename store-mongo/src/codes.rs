//! The error codes of the servers, each with its class.

/// What an error code means for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    // Try again within the call.
    MissingIndex,
    // An outage, which ends without a change of the settings.
    Busy,
    Unacknowledged,
    // No waiting helps.
    Full,
    Login,
    MissingPrivilege,
    ConflictingIndex,
    DuplicateKey,
    RetryableWrites,
    Unsupported,
    Rejected,
}

/// A code, a part of the message that the class depends on, and the class. The first match counts.
type Row = (i32, &'static str, Class);

/// The errors of commands and writes. MongoDB defines the codes in its `error_codes.yml`, Azure in
/// "Troubleshoot common issues in Azure Cosmos DB for MongoDB".
pub(crate) const COMMANDS: &[Row] = &[
    // The network.
    (6, "", Class::Busy),    // HostUnreachable
    (7, "", Class::Busy),    // HostNotFound
    (89, "", Class::Busy),   // NetworkTimeout
    (202, "", Class::Busy),  // NetworkInterfaceExceededTimeLimit
    (317, "", Class::Busy),  // ConnectionPoolExpired
    (384, "", Class::Busy),  // ConnectionError
    (9001, "", Class::Busy), // SocketException
    // An election or a shutdown.
    (91, "", Class::Busy),    // ShutdownInProgress
    (133, "", Class::Busy),   // FailedToSatisfyReadPreference
    (134, "", Class::Busy),   // ReadConcernMajorityNotAvailableYet
    (189, "", Class::Busy),   // PrimarySteppedDown
    (10107, "", Class::Busy), // NotWritablePrimary
    (11600, "", Class::Busy), // InterruptedAtShutdown
    (11602, "", Class::Busy), // InterruptedDueToReplStateChange
    (13435, "", Class::Busy), // NotPrimaryNoSecondaryOk
    (13436, "", Class::Busy), // NotPrimaryOrSecondary
    // A cursor that the server no longer has, or an index under construction.
    (43, "", Class::Busy),    // CursorNotFound
    (117, "", Class::Busy),   // ConflictingOperationInProgress
    (175, "", Class::Busy),   // QueryPlanKilled
    (211, "", Class::Busy),   // KeyNotFound
    (237, "", Class::Busy),   // CursorKilled
    (276, "", Class::Busy),   // IndexBuildAlreadyInProgress
    (12586, "", Class::Busy), // BackgroundOperationInProgressForDatabase
    (12587, "", Class::Busy), // BackgroundOperationInProgressForNamespace
    // A sharded cluster that migrates a chunk.
    (63, "", Class::Busy),    // StaleShardVersion
    (150, "", Class::Busy),   // StaleEpoch
    (246, "", Class::Busy),   // SnapshotUnavailable
    (13388, "", Class::Busy), // StaleConfig
    // Overload.
    (24, "", Class::Busy),    // LockTimeout
    (50, "", Class::Busy),    // MaxTimeMSExpired
    (112, "", Class::Busy),   // WriteConflict
    (262, "", Class::Busy),   // ExceededTimeLimit
    (365, "", Class::Busy),   // TemporarilyUnavailable
    (462, "", Class::Busy),   // IngressRequestRateLimitExceeded
    (11601, "", Class::Busy), // Interrupted
    (16500, "", Class::Busy), // Azure's TooManyRequests: the request units are used up
    // AtlasError, the code of all errors of Atlas itself.
    (8000, "bad auth", Class::Login),
    (8000, "not allowed to do action", Class::MissingPrivilege),
    (8000, "space quota", Class::Full),
    (8000, "rate limit", Class::Busy),
    (8000, "not supported", Class::Unsupported),
    (8000, "", Class::Rejected),
    (64, "", Class::Unacknowledged),   // WriteConcernFailed
    (39, "", Class::Full),             // FileStreamFailed
    (14031, "", Class::Full),          // OutOfDiskSpace
    (18, "", Class::Login),            // AuthenticationFailed
    (13, "", Class::MissingPrivilege), // Unauthorized
    (85, "", Class::ConflictingIndex), // IndexOptionsConflict
    (86, "", Class::ConflictingIndex), // IndexKeySpecsConflict
    (11000, "", Class::DuplicateKey),  // DuplicateKey
    (11001, "", Class::DuplicateKey),
    (2, "hint provided does not correspond to an existing index", Class::MissingIndex), // BadValue
    (27, "", Class::MissingIndex), // IndexNotFound
    // IllegalOperation. The driver replaces the message that starts with "Transaction numbers".
    (20, "Transaction numbers", Class::RetryableWrites),
    (20, "does not support retryable writes", Class::RetryableWrites),
    (59, "", Class::Unsupported),    // CommandNotFound
    (115, "", Class::Unsupported),   // CommandNotSupported
    (168, "", Class::Unsupported),   // InvalidPipelineOperator
    (238, "", Class::Unsupported),   // NotImplemented
    (303, "", Class::Unsupported),   // FeatureNotSupported
    (304, "", Class::Unsupported),   // NotSupported, of Amazon DocumentDB
    (31325, "", Class::Unsupported), // an unknown stage in an update
    (40324, "", Class::Unsupported), // an unknown stage in a pipeline
];

/// The errors of a write that the primary has and that the write concern does not confirm.
pub(crate) const WRITE_CONCERNS: &[Row] = &[
    (79, "", Class::Rejected),  // UnknownReplWriteConcern
    (100, "", Class::Rejected), // UnsatisfiableWriteConcern
];

/// The class of an error of a command or a write. An unknown code is rejected.
pub(crate) fn of_command(code: i32, message: &str) -> Class {
    find(COMMANDS, code, message).unwrap_or(Class::Rejected)
}

/// The class of an error of a write concern. Usually a later write succeeds.
pub(crate) fn of_write_concern(code: i32) -> Class {
    find(WRITE_CONCERNS, code, "").unwrap_or(Class::Unacknowledged)
}

fn find(rows: &[Row], code: i32, message: &str) -> Option<Class> {
    rows.iter()
        .find(|(known, part, _)| *known == code && message.contains(part))
        .map(|(_, _, class)| *class)
}
