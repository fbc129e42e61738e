//! The names of the metrics, and the values of their labels.

use crate::StoreError;

/// Finished calls: a counter by `store`, `operation` and `outcome`.
pub const CALLS: &str = "session_store_calls_total";

/// Duration of calls: a histogram of seconds by `store` and `operation`.
pub const CALL_SECONDS: &str = "session_store_call_seconds";

/// Retries of a store within a call: a counter by `store`.
pub const RETRIES: &str = "session_store_retries_total";

/// Uses of a session whose ttl did not need an extension: a counter.
pub const TOUCHES_SKIPPED: &str = "session_touches_skipped_total";

/// Refused values of the session cookie: a counter by `cause`.
pub const COOKIE_REFUSED: &str = "session_cookie_refused_total";

/// The operation of a store call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Create,
    Load,
    Commit,
    /// A commit that at most extends the ttl.
    Touch,
    Delete,
    List,
    DeleteAll,
    DeleteEveryone,
    Scan,
    DeleteExpired,
    Ping,
}

/// The outcome of a store call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallOutcome {
    Done,
    Unavailable,
    Timeout,
    Corrupt,
    Rejected,
    Failed,
    /// The caller dropped the call, or the call panicked.
    Dropped,
    Taken,
    Absent,
    Conflict,
    Superseded,
    Gone,
}

/// The reason why a value of the session cookie is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefusalCause {
    Kind,
    Shape,
    Signature,
    PlainHttp,
}

impl Operation {
    #[cfg(feature = "metrics")]
    pub(super) const ALL: [Self; 11] = [
        Self::Create,
        Self::Load,
        Self::Commit,
        Self::Touch,
        Self::Delete,
        Self::List,
        Self::DeleteAll,
        Self::DeleteEveryone,
        Self::Scan,
        Self::DeleteExpired,
        Self::Ping,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Load => "load",
            Self::Commit => "commit",
            Self::Touch => "touch",
            Self::Delete => "delete",
            Self::List => "list",
            Self::DeleteAll => "delete_all",
            Self::DeleteEveryone => "delete_everyone",
            Self::Scan => "scan",
            Self::DeleteExpired => "delete_expired",
            Self::Ping => "ping",
        }
    }

    /// Whether this operation can have this outcome.
    #[cfg(feature = "metrics")]
    pub(super) fn can_end(self, ended: CallOutcome) -> bool {
        match ended {
            CallOutcome::Taken => self == Self::Create,
            CallOutcome::Absent => matches!(self, Self::Load | Self::Delete),
            CallOutcome::Superseded => matches!(self, Self::Commit | Self::Touch | Self::Delete),
            CallOutcome::Conflict | CallOutcome::Gone => matches!(self, Self::Commit | Self::Touch),
            _ => true,
        }
    }
}

impl CallOutcome {
    #[cfg(feature = "metrics")]
    pub(super) const ALL: [Self; 12] = [
        Self::Done,
        Self::Unavailable,
        Self::Timeout,
        Self::Corrupt,
        Self::Rejected,
        Self::Failed,
        Self::Dropped,
        Self::Taken,
        Self::Absent,
        Self::Conflict,
        Self::Superseded,
        Self::Gone,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Corrupt => "corrupt",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
            Self::Taken => "taken",
            Self::Absent => "absent",
            Self::Conflict => "conflict",
            Self::Superseded => "superseded",
            Self::Gone => "gone",
        }
    }
}

impl From<&StoreError> for CallOutcome {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Unavailable { .. } => Self::Unavailable,
            StoreError::Timeout { .. } => Self::Timeout,
            StoreError::Corrupt { .. } => Self::Corrupt,
            StoreError::Rejected(_) => Self::Rejected,
            StoreError::Unsupported { .. } | StoreError::Other { .. } => Self::Failed,
        }
    }
}

impl RefusalCause {
    pub(super) const ALL: [Self; 4] = [Self::Kind, Self::Shape, Self::Signature, Self::PlainHttp];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Shape => "shape",
            Self::Signature => "signature",
            Self::PlainHttp => "plain_http",
        }
    }
}

#[cfg(all(test, feature = "metrics"))]
mod tests {
    use super::*;

    #[test]
    fn positions_are_those_of_the_tables() {
        assert!(Operation::ALL.iter().enumerate().all(|(at, operation)| *operation as usize == at));
        assert!(CallOutcome::ALL.iter().enumerate().all(|(at, ended)| *ended as usize == at));
        assert!(RefusalCause::ALL.iter().enumerate().all(|(at, cause)| *cause as usize == at));
    }
}
