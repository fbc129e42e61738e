//! What can go wrong while the sessions go from one process to another, and who serves afterwards.

use std::{error::Error, sync::Arc, time::Duration};

use session_core::BoxError;

/// The sessions were not handed over, or nobody knows whether they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandOverError {
    /// There is no successor: none was named with
    /// [`OwnerHandle::succession`](crate::OwnerHandle::succession), or it ended or was too slow
    /// before anything was stopped. This owner serves on; the successor's guests are closed.
    /// Another succession may be begun.
    #[error("there is no successor to hand the sessions over to; this owner serves on")]
    NoSuccessor(#[source] Option<BoxError>),
    /// It failed after this owner had stopped and before the successor was told to serve. Nobody
    /// serves: this owner is shut down, and it closed all connections, the guests' too. The
    /// sessions are in the [`MemoryStore`](session_core::MemoryStore) of this process alone.
    #[error(
        "the sessions were not handed over; this owner is shut down and the successor does not serve"
    )]
    Failed(#[source] BoxError),
    /// The successor was told to serve and did not say that it does. This owner is shut down;
    /// whether the successor serves is not known. The guests' connections are its.
    #[error(
        "the successor has the sessions and did not say that it serves; this owner is shut down"
    )]
    Unconfirmed(#[source] BoxError),
    /// This owner was shut down before. Nothing was handed over.
    #[error("the owner is shut down; it has no sessions to hand over")]
    Stopped,
}

impl HandOverError {
    /// Whether this owner goes on as if nothing had been asked.
    #[must_use]
    pub fn still_serves(&self) -> bool {
        matches!(self, Self::NoSuccessor(_))
    }
}

/// The sessions did not come. The owner that waited for them is shut down, has served nobody, and
/// closed the connections of all its guests.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TakeoverError {
    /// The predecessor ended or gave up before it had handed all over.
    #[error("the predecessor ended before it handed the sessions over; start anew")]
    Lost(#[source] Option<Arc<std::io::Error>>),
    /// What came is no hand-over that this build understands: another version, or garbage.
    #[error("what the predecessor sent is no hand-over to this build")]
    Refused(#[source] Arc<dyn Error + Send + Sync>),
    /// The predecessor began to hand over and did not end within the time that it had set itself.
    #[error("the predecessor did not hand the sessions over within {0:?}")]
    Late(Duration),
    /// This owner was shut down while it waited.
    #[error("the owner was shut down while it waited for its predecessor")]
    Stopped,
}

/// Time ran out.
#[derive(Debug, thiserror::Error)]
#[error("it was not done within {0:?}; give it more time")]
pub(super) struct Late(pub(super) Duration);
