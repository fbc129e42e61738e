//! The secret that a client holds.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::StoreKey;

/// The secret in a session's cookie: 24 bytes from the operating system's generator, written as 32 characters of base64url.
///
/// Its first 3 bytes (4 characters) are the *lineage* tag: [`Self::successor`] keeps them and draws the other 21 bytes (168 bits) anew,
/// so that the old and the new key of a rotation share a shard. OWASP asks for 64 bits of entropy, ASVS 5.0 (7.2.3) for 128.
///
/// An id is never stored and never logged: stores see its [`StoreKey`], people see a [`Handle`](crate::Handle), and `Debug` is masked.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId([u8; Self::BYTES]);

impl SessionId {
    /// How many bytes an id has.
    pub const BYTES: usize = 24;
    /// How many characters its text has.
    pub const TEXT_LENGTH: usize = 32;
    const LINEAGE_BYTES: usize = 3;

    /// Draws a new id of a lineage of its own.
    ///
    /// # Errors
    /// [`EntropyError`] if the operating system gives no random bytes.
    pub fn random() -> Result<Self, EntropyError> {
        let mut bytes = [0; Self::BYTES];
        getrandom::fill(&mut bytes).map_err(EntropyError)?;
        Ok(Self(bytes))
    }

    /// Draws the id that follows this one when it is rotated: the same lineage tag, 168 fresh bits.
    ///
    /// # Errors
    /// [`EntropyError`] if the operating system gives no random bytes.
    pub fn successor(&self) -> Result<Self, EntropyError> {
        let mut bytes = self.0;
        getrandom::fill(&mut bytes[Self::LINEAGE_BYTES..]).map_err(EntropyError)?;
        Ok(Self(bytes))
    }

    /// Reads the text form. `None` for every other length or alphabet, and nothing longer than 32 bytes is looked at.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != Self::TEXT_LENGTH {
            return None;
        }
        let mut bytes = [0; Self::BYTES];
        // 32 characters are exactly 24 bytes, so no trailing bits are left that two texts could differ in.
        let written = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        (written == Self::BYTES).then_some(Self(bytes))
    }

    /// The text form that goes into the cookie: 32 characters of base64url without padding.
    #[must_use]
    pub fn to_text(&self) -> [u8; Self::TEXT_LENGTH] {
        let mut text = [0; Self::TEXT_LENGTH];
        // 24 bytes always fill 32 characters exactly, so the encoder cannot run out of room.
        let _ = URL_SAFE_NO_PAD.encode_slice(self.0, &mut text);
        text
    }

    /// The key under which stores keep this session: the lineage tag, then the SHA-256 of the id in base64url (47 characters).
    ///
    /// A leaked dump of a store therefore opens no session: the id cannot be computed from its key.
    #[must_use]
    pub fn store_key(&self) -> StoreKey {
        let mut text = [0; StoreKey::HASHED_LENGTH];
        let (lineage, hash) = text.split_at_mut(StoreKey::LINEAGE_LENGTH);
        // Both lengths are exact: 3 bytes are 4 characters, 32 bytes are 43.
        let _ = URL_SAFE_NO_PAD.encode_slice(&self.0[..Self::LINEAGE_BYTES], lineage);
        let _ = URL_SAFE_NO_PAD.encode_slice(Sha256::digest(self.0), hash);
        StoreKey::from_text(String::from_utf8_lossy(&text))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(***)")
    }
}

/// The operating system gave no random bytes, so no id can be made.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random bytes for a session id")]
pub struct EntropyError(#[source] pub(crate) getrandom::Error);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn s13_a_million_ids_have_no_duplicate() {
        let ids: HashSet<[u8; 24]> = (0..1_000_000).map(|_| SessionId::random().unwrap().0).collect();
        assert_eq!(ids.len(), 1_000_000);
    }

    #[test]
    fn s13_a_successor_keeps_the_lineage_and_draws_the_rest_anew() {
        let id = SessionId::random().unwrap();
        let next = id.successor().unwrap();
        assert_eq!(id.to_text()[..4], next.to_text()[..4]);
        assert_ne!(id.to_text()[4..], next.to_text()[4..]);
        assert!(id.store_key().same_lineage(&next.store_key()));
    }

    #[test]
    fn text_comes_back_and_other_shapes_do_not_parse() {
        let id = SessionId::random().unwrap();
        assert_eq!(SessionId::parse(&id.to_text()), Some(id.clone()));
        assert_eq!(SessionId::parse(&id.to_text()[..31]), None);
        for text in ["", "short", "================================", "++++++++++++++++++++++++++++++++"] {
            assert_eq!(SessionId::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(SessionId::parse(&vec![b'A'; 65_536]), None);
    }

    #[test]
    fn s12_the_key_does_not_contain_the_id_and_debug_is_masked() {
        let id = SessionId::random().unwrap();
        let text = String::from_utf8(id.to_text().to_vec()).unwrap();
        assert!(!id.store_key().as_str().contains(&text[4..]));
        assert_eq!(id.store_key().as_str().len(), StoreKey::HASHED_LENGTH);
        assert_eq!(format!("{id:?}"), "SessionId(***)");
    }
}
