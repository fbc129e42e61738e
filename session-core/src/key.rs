//! The key under which a store keeps a session, and the public handle that is derived from it.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// The key under which a store keeps a session. Clones share the text.
///
/// [`SessionId::key`](crate::SessionId::key) derives it: 16 characters of base64url. It stays the
/// same for the whole life of the session. [`Self::from_text`] accepts any text, for stores that
/// read keys back and for the formats of other libraries.
///
/// A key alone does not open a session. It still stays out of logs: `Debug` shows the [`Handle`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StoreKey(Arc<str>);

impl StoreKey {
    /// The maximum length of a key in bytes.
    pub const MAX_BYTES: usize = 128;

    /// Makes a key of any text. [`Self::is_storable`] tells whether a store may keep a record under
    /// it.
    #[must_use]
    pub fn from_text(text: impl AsRef<str>) -> Self {
        Self(Arc::from(text.as_ref()))
    }

    /// The text of the key, as a store keeps it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a store may keep a record under this key: 1 to 128 bytes without control characters.
    ///
    /// For any other key a store answers `None`, `Gone` or `Missing` without I/O, and rejects a
    /// creation.
    #[must_use]
    pub fn is_storable(&self) -> bool {
        (1..=Self::MAX_BYTES).contains(&self.0.len()) && !self.0.chars().any(char::is_control)
    }

    /// The public name of the session.
    #[must_use]
    pub fn handle(&self) -> Handle {
        let hash = Sha256::new()
            .chain_update(b"session handle\0")
            .chain_update(self.0.as_bytes())
            .finalize();
        let mut text = [0; Handle::LENGTH];
        // 12 bytes encode to exactly 16 characters.
        let _ = URL_SAFE_NO_PAD.encode_slice(&hash[..12], &mut text);
        Handle(text)
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreKey({})", self.handle())
    }
}

/// The public name of a session: 16 characters of base64url, for logs, device lists and pages.
///
/// It is a hash of the [`StoreKey`] (96 bits). The key and the id cannot be computed from it, and
/// it does not open the session. A session keeps its handle through every rotation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle([u8; Self::LENGTH]);

impl Handle {
    /// The number of characters in a handle.
    pub const LENGTH: usize = 16;

    /// Reads a handle that a person or a page sent back. `None` for any other length or alphabet.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text: [u8; Self::LENGTH] = text.as_bytes().try_into().ok()?;
        text.iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            .then_some(Self(text))
    }

    /// The text of the handle.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // The constructors accept only base64url characters, so the text is ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Serializes the text, without a copy.
impl Serialize for Handle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c05_only_short_printable_texts_are_storable() {
        assert!(StoreKey::from_text("k".repeat(128)).is_storable());
        for text in [String::new(), "k".repeat(129), "a\0b".to_owned(), "a\nb".to_owned()] {
            assert!(!StoreKey::from_text(&text).is_storable(), "{text:?}");
        }
    }

    #[test]
    fn c45_debug_shows_the_handle_and_hides_the_key() {
        let key = StoreKey::from_text("abcd-secret-looking-key");
        assert_eq!(format!("{key:?}"), format!("StoreKey({})", key.handle()));
        assert_eq!(Handle::parse(key.handle().as_str()), Some(key.handle()));
        assert_eq!(Handle::parse("not a handle"), None);
    }

    #[test]
    fn handle_serializes_as_its_text() {
        let handle = StoreKey::from_text("key").handle();
        assert_eq!(serde_json::to_value(handle).unwrap(), handle.as_str());
    }
}
