//! A message between the primary and a worker.

use std::{fmt, sync::Arc};

use serde::de::DeserializeOwned;

/// One message between the primary and a worker: JSON text.
///
/// Cloning is cheap. `Debug` shows only the size, because a message may contain secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Message(Arc<[u8]>);

impl Message {
    /// Largest message in bytes of JSON: the largest frame, 1 MiB, without its overhead.
    pub const MAX: usize = (1 << 20) - 16;

    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    /// Decodes the message as a `T`.
    ///
    /// # Errors
    ///
    /// The text is not a `T`. The message stays; the caller can try another type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        Ok(serde_json::from_slice(&self.0)?)
    }

    /// The JSON text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({} bytes)", self.0.len())
    }
}

/// The content of a message does not have the expected type.
#[derive(Debug, thiserror::Error)]
#[error("the message is not of the expected type")]
pub struct DecodeError(#[from] serde_json::Error);
