//! The cursor of a walk: the last key of a page in hexadecimal digits.

use session_core::Cursor;

use crate::error::ClientError;

/// The cursor after `key`. The digits are hexadecimal, because another program can store a key that
/// is not text.
pub(crate) fn cursor(key: &[u8]) -> Cursor {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
    Cursor::new(
        key.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect::<String>(),
    )
}

/// The key after which the walk continues; empty at the start.
pub(crate) fn position(cursor: Option<&Cursor>) -> Result<Vec<u8>, ClientError> {
    let Some(cursor) = cursor else { return Ok(Vec::new()) };
    let (pairs, rest) = cursor.as_str().as_bytes().as_chunks::<2>();
    let half = |digit: u8| char::from(digit).to_digit(16).and_then(|half| u8::try_from(half).ok());
    let key: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some((half(*high)? << 4) | half(*low)?)).collect();
    key.filter(|key| !key.is_empty() && rest.is_empty()).ok_or(ClientError::Cursor)
}
