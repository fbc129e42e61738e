use std::sync::Arc;
use std::time::Duration;

use crate::id::WorkerId;

/// Why a message was not taken for delivery.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The worker, or for a worker its primary, is gone.
    #[error("the receiver is gone")]
    Gone,
    /// The queues of these workers are full, because they do not read; the message went to the
    /// others, if any.
    #[error("the queue is full of workers {0:?}, which do not read; try again later")]
    Full(Vec<WorkerId>),
    /// The message is too large.
    #[error(
        "a message of {len} bytes is too large, at most {max} are allowed; send a reference or several messages"
    )]
    TooLarge {
        /// Its size.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The value cannot be written as JSON.
    #[error("the message cannot be written as JSON")]
    Encode(#[source] Arc<serde_json::Error>),
}

/// A message is not of the type it was read as.
#[derive(Debug, thiserror::Error)]
#[error("the message is not of the expected type")]
pub struct DecodeError(#[from] serde_json::Error);

/// The other side no longer exists: a worker that has exited, or the primary that has died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the process is gone")]
pub struct Gone;

/// Why a request has no reply.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The receiver is gone, or ended before it replied. Whether it carried the request out is
    /// unknown.
    #[error("the receiver of the request is gone")]
    Gone,
    /// The queue of the worker is full, because it does not read.
    #[error("the queue of the worker is full, because it does not read; try again later")]
    Full,
    /// The request is too large.
    #[error("a request of {len} bytes is too large, at most {max} are allowed; send a reference")]
    TooLarge {
        /// Its size.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The request cannot be written as JSON.
    #[error("the request cannot be written as JSON")]
    Encode(#[source] Arc<serde_json::Error>),
    /// The reply came, and is not of the expected type.
    #[error("the reply is not of the expected type")]
    Decode(#[source] Arc<serde_json::Error>),
    /// No reply came within the time. Whether the request was carried out, or still will be, is
    /// unknown.
    #[error("no reply came within {0:?}")]
    Late(Duration),
    /// The receiver read the request and dropped it without a reply, or its reply could not be
    /// sent.
    #[error("the receiver dropped the request without a reply")]
    NotAnswered,
    /// Too much that this process has asked waits for an answer there; the request was not taken.
    #[error("the receiver has too many unanswered requests of this process; try again later")]
    Busy,
    /// The receiver does not read requests: it has called no `requests()`, or has dropped what that
    /// gave. The request was not taken.
    #[error("the receiver does not read requests")]
    NobodyListens,
}

impl From<SendError> for RequestError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Gone => Self::Gone,
            SendError::Full(_) => Self::Full,
            SendError::TooLarge { len, max } => Self::TooLarge { len, max },
            SendError::Encode(e) => Self::Encode(e),
        }
    }
}

/// Why a reply was not taken for delivery. The one who asked is told [`RequestError::NotAnswered`].
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The one who asked is gone.
    #[error("the process that asked is gone")]
    Gone,
    /// Too much waits for the one who asked: it does not read its replies.
    #[error("too many replies wait for the process that asked, which does not read them")]
    Full,
    /// The reply is too large.
    #[error("a reply of {len} bytes is too large, at most {max} are allowed; send a reference")]
    TooLarge {
        /// Its size.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The reply cannot be written as JSON.
    #[error("the reply cannot be written as JSON")]
    Encode(#[source] Arc<serde_json::Error>),
}

impl From<SendError> for ReplyError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Gone => Self::Gone,
            SendError::Full(_) => Self::Full,
            SendError::TooLarge { len, max } => Self::TooLarge { len, max },
            SendError::Encode(e) => Self::Encode(e),
        }
    }
}
