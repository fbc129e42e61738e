//! The outcome of a handover: its report, its errors, and which owner serves afterwards.

use std::{error::Error, io, sync::Arc, time::Duration};

use session_core::BoxError;

/// What an owner has handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandoverReport {
    /// The number of sessions that were alive.
    pub sessions: u64,
    /// The number of forwarded clients, which the successor continues to serve.
    pub connections: usize,
    /// How long calls waited: from the stop of this owner until the successor served.
    pub took: Duration,
}

/// The sessions were not handed over, or the outcome is unknown.
///
/// `Debug` shows the same text as `Display`, followed by the sources.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// There is no successor: none was attached with
    /// [`OwnerHandle::attach_successor`](crate::OwnerHandle::attach_successor), or it ended or was
    /// too slow before this owner stopped. This owner continues to serve. It closes the successor's
    /// forwarded clients. Another successor can be attached.
    #[error("there is no successor to hand the sessions over to; this owner continues to serve")]
    NoSuccessor(#[source] Option<BoxError>),
    /// The handover failed after this owner had stopped and before it activated the successor.
    /// Neither owner serves: this owner is shut down, and it closed all connections, those of
    /// forwarded clients too. Only the [`MemoryStore`](session_core::MemoryStore) of this process
    /// holds the sessions.
    #[error(
        "the sessions were not handed over; this owner is shut down and the successor does not \
         serve"
    )]
    Failed(#[source] BoxError),
    /// This owner activated the successor and received no confirmation. This owner is shut down.
    /// Whether the successor serves is unknown. It has the connections of the forwarded clients.
    #[error(
        "the successor has the sessions and did not confirm that it serves; this owner is shut \
         down"
    )]
    Unconfirmed(#[source] BoxError),
    /// This owner was already shut down. It handed nothing over.
    #[error("the owner is shut down and has no sessions to hand over")]
    Stopped,
}

impl HandoverError {
    /// Whether this owner continues to serve as if the handover had not been requested.
    #[must_use]
    pub fn still_serves(&self) -> bool {
        matches!(self, Self::NoSuccessor(_))
    }
}

/// The sessions did not arrive. The owner that waited for them is shut down. It has served no
/// client, and it closed the connections of all clients that it had forwarded.
///
/// `Debug` shows the same text as `Display`, followed by the sources.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TakeoverError {
    /// The predecessor ended or gave up before it had handed over everything.
    #[error("the predecessor ended before it handed the sessions over; start without sessions")]
    PredecessorEnded(#[source] Option<Arc<io::Error>>),
    /// This build does not understand the predecessor: it has another version, or its bytes are not
    /// a handover.
    #[error("the predecessor's messages are not a handover that this build understands")]
    Protocol(#[source] Arc<dyn Error + Send + Sync>),
    /// The predecessor began the handover and did not finish it within its own time limit.
    #[error("the predecessor did not hand the sessions over within {0:?}")]
    Timeout(Duration),
    /// This owner was shut down while it waited.
    #[error("the owner was shut down while it waited for its predecessor")]
    Stopped,
}

session_core::debug_as_display!(HandoverError, TakeoverError);

/// A time limit was exceeded.
#[derive(Debug, thiserror::Error)]
#[error("the handover exceeded its time limit of {0:?}; use a larger limit")]
pub(super) struct TimeLimitExceeded(pub(super) Duration);
