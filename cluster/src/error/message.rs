//! Errors of messages, requests and replies.

use std::{sync::Arc, time::Duration};

use crate::model::WorkerId;

/// Why a message was not queued.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The receiver has ended: the worker, or for a worker its primary.
    #[error("the receiver has ended")]
    Gone,
    /// The queues of these workers are full because they are not reading. All other workers, if
    /// any, get the message.
    #[error(
        "the message queues of workers {0:?} are full because they are not reading; try again later"
    )]
    Full(Vec<WorkerId>),
    /// The message is too large.
    #[error(
        "a message of {len} bytes is too large, at most {max} are allowed; send a reference or \
         several messages"
    )]
    TooLarge {
        /// Its size in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The value cannot be encoded as JSON.
    #[error("the message cannot be encoded as JSON")]
    Encode(#[source] Arc<serde_json::Error>),
}

/// The other process has ended: a worker that exited, or a primary that died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the process has ended")]
pub struct Gone;

/// Why a request has no reply.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The receiver ended before it replied. It is unknown whether it carried out the request.
    #[error("the receiver of the request has ended")]
    Gone,
    /// The queue of the worker is full because it is not reading.
    #[error("the queue of the worker is full because it is not reading; try again later")]
    Full,
    /// The request is too large.
    #[error("a request of {len} bytes is too large, at most {max} are allowed; send a reference")]
    TooLarge {
        /// Its size in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The request cannot be encoded as JSON.
    #[error("the request cannot be encoded as JSON")]
    Encode(#[source] Arc<serde_json::Error>),
    /// The reply is not of the expected type.
    #[error("the reply is not of the expected type")]
    Decode(#[source] Arc<serde_json::Error>),
    /// No reply came within this time. It is unknown whether the receiver carried out the request
    /// or still will.
    #[error("no reply came within {0:?}")]
    TimedOut(Duration),
    /// The receiver read the request and dropped it without a reply, or could not send its reply.
    #[error("the receiver dropped the request without a reply")]
    NotAnswered,
    /// Too many requests of this process wait for a reply there. The receiver rejected this one.
    #[error("the receiver has too many unanswered requests of this process; try again later")]
    Busy,
    /// The receiver does not read requests: it has not called `requests()`, or has dropped the
    /// returned reader. The receiver rejected the request.
    #[error("the receiver does not read requests")]
    NoReader,
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

/// Why a reply was not queued. The requester gets [`RequestError::NotAnswered`].
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The requester has ended.
    #[error("the process that sent the request has ended")]
    Gone,
    /// Too many replies wait for the requester because it is not reading them.
    #[error("too many replies wait for the process that sent the request; it is not reading them")]
    Full,
    /// The reply is too large.
    #[error("a reply of {len} bytes is too large, at most {max} are allowed; send a reference")]
    TooLarge {
        /// Its size in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The reply cannot be encoded as JSON.
    #[error("the reply cannot be encoded as JSON")]
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
