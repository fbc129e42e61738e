//! Encodes messages and requests as JSON within the size limit of a frame.

use std::sync::Arc;

use serde::Serialize;

use crate::{error::SendError, model::Message};

/// Encodes a message. Fails if it does not fit into one frame.
pub(crate) fn encode<T: Serialize + ?Sized>(message: &T) -> Result<Vec<u8>, SendError> {
    let bytes = serde_json::to_vec(message).map_err(|e| SendError::Encode(Arc::new(e)))?;
    if bytes.len() > Message::MAX {
        return Err(SendError::TooLarge { len: bytes.len(), max: Message::MAX });
    }
    Ok(bytes)
}
