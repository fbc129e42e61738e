use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{DecodeError, SendError};
use crate::frame::{MAX_FRAME, OVERHEAD};

/// One message between the primary and a worker, as it came: JSON text.
///
/// Cloning is cheap. `Debug` shows the size only, because a message may carry secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Message(Arc<[u8]>);

impl Message {
    /// Largest message in bytes of JSON.
    pub const MAX: usize = MAX_FRAME - OVERHEAD;

    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    /// Reads the message as a `T`.
    ///
    /// # Errors
    ///
    /// When the text is not a `T`. Nothing is consumed; another type can be tried.
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

/// The bytes of a message to send, within the size that a frame can take.
pub(crate) fn encode<T: Serialize + ?Sized>(message: &T) -> Result<Vec<u8>, SendError> {
    let bytes = serde_json::to_vec(message).map_err(|e| SendError::Encode(Arc::new(e)))?;
    if bytes.len() > Message::MAX {
        return Err(SendError::TooLarge { len: bytes.len(), max: Message::MAX });
    }
    Ok(bytes)
}
