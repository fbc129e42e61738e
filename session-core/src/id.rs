//! The session id: a key that never changes, and a secret that rotates.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{StoreKey, error_debug::debug_as_display};

/// The id in a session cookie: a key and a secret.
///
/// | part | content | text |
/// |---|---|---|
/// | key | 96 random bits; never changes and is never used again | 16 characters of base64url |
/// | secret | 32 bits of generation, then 136 random bits; a rotation draws it anew | 28 characters of base64url |
///
/// A store finds a session by its key and compares the hash of its secret. ASVS 5.0 (7.2.3) asks
/// for 128 bits of entropy in a session token; the secret alone has 136. `Debug` is masked. Stores
/// get [`Self::key`] and [`Self::secret_hash`], people get a [`Handle`](crate::Handle). Stores and
/// logs never see an id.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId {
    key: [u8; Self::KEY_BYTES],
    secret: [u8; Self::SECRET_BYTES],
}

impl SessionId {
    /// The length of the text form: key, dot, secret.
    pub const TEXT_LENGTH: usize = Self::KEY_LENGTH + 1 + Self::SECRET_LENGTH;
    const KEY_BYTES: usize = 12;
    const KEY_LENGTH: usize = 16;
    const SECRET_BYTES: usize = 21;
    const SECRET_LENGTH: usize = 28;
    const GENERATION_BYTES: usize = 4;

    /// Draws the id of a new session. Its generation is 0.
    ///
    /// # Errors
    /// [`EntropyError`] if the operating system returns no random bytes.
    pub fn random() -> Result<Self, EntropyError> {
        let mut id = Self { key: [0; Self::KEY_BYTES], secret: [0; Self::SECRET_BYTES] };
        getrandom::fill(&mut id.key).map_err(EntropyError)?;
        getrandom::fill(&mut id.secret[Self::GENERATION_BYTES..]).map_err(EntropyError)?;
        Ok(id)
    }

    /// Draws the id that replaces this one in a rotation: the same key, the next generation and 136
    /// new random bits.
    ///
    /// The generation stops at `u32::MAX`. One rotation per second reaches that after 136 years.
    ///
    /// # Errors
    /// [`EntropyError`] if the operating system returns no random bytes.
    pub fn rotated(&self) -> Result<Self, EntropyError> {
        self.rotated_after(self.generation())
    }

    /// Draws the id that follows `generation` of this session.
    ///
    /// # Errors
    /// [`EntropyError`] if the operating system returns no random bytes.
    pub(crate) fn rotated_after(&self, generation: u32) -> Result<Self, EntropyError> {
        let mut next = self.clone();
        let (number, random) = next.secret.split_at_mut(Self::GENERATION_BYTES);
        number.copy_from_slice(&generation.saturating_add(1).to_be_bytes());
        getrandom::fill(random).map_err(EntropyError)?;
        Ok(next)
    }

    /// Reads the text form. `None` for any other length or alphabet. A text of another length is
    /// not decoded.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != Self::TEXT_LENGTH {
            return None;
        }
        let (key_text, rest) = text.split_at(Self::KEY_LENGTH);
        let secret_text = rest.strip_prefix(b".")?;
        let mut id = Self { key: [0; Self::KEY_BYTES], secret: [0; Self::SECRET_BYTES] };
        // 16 characters encode exactly 12 bytes and 28 characters exactly 21. So two different
        // texts never decode to the same bytes.
        let key_bytes = URL_SAFE_NO_PAD.decode_slice(key_text, &mut id.key).ok()?;
        let secret_bytes = URL_SAFE_NO_PAD.decode_slice(secret_text, &mut id.secret).ok()?;
        (key_bytes == Self::KEY_BYTES && secret_bytes == Self::SECRET_BYTES).then_some(id)
    }

    /// The text form for the cookie.
    #[must_use]
    pub fn to_text(&self) -> [u8; Self::TEXT_LENGTH] {
        let mut text = [b'.'; Self::TEXT_LENGTH];
        // Both lengths are exact, so the buffer is large enough.
        let _ = URL_SAFE_NO_PAD.encode_slice(self.key, &mut text[..Self::KEY_LENGTH]);
        let _ = URL_SAFE_NO_PAD.encode_slice(self.secret, &mut text[Self::KEY_LENGTH + 1..]);
        text
    }

    /// The key under which stores keep this session: 16 characters of base64url.
    #[must_use]
    pub fn key(&self) -> StoreKey {
        let mut text = [0; Self::KEY_LENGTH];
        let _ = URL_SAFE_NO_PAD.encode_slice(self.key, &mut text);
        // Base64url is ASCII, so this conversion cannot fail.
        StoreKey::from_text(str::from_utf8(&text).unwrap_or_default())
    }

    /// The SHA-256 of the secret, which stores compare. A leaked store opens no session.
    #[must_use]
    pub fn secret_hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(self.secret).into())
    }

    /// The number of rotations that led to this secret.
    #[must_use]
    pub fn generation(&self) -> u32 {
        let [first, second, third, fourth, ..] = self.secret;
        u32::from_be_bytes([first, second, third, fourth])
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(***)")
    }
}

/// The SHA-256 of a session's secret, as stores keep it: 32 bytes. It does not open the session.
/// `Debug` is masked.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretHash([u8; Self::BYTES]);

impl SecretHash {
    /// The length in bytes.
    pub const BYTES: usize = 32;

    /// Makes a hash of the bytes that a store kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Makes a hash of the bytes that a store kept. `None` unless there are 32: the record is
    /// corrupt.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes for a store to keep.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(***)")
    }
}

/// The operating system returned no random bytes, so no id can be drawn.
#[derive(thiserror::Error)]
#[error("the operating system returned no random bytes for a session id or key")]
pub struct EntropyError(#[source] pub(crate) getrandom::Error);

debug_as_display!(EntropyError);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn s13_million_ids_have_no_duplicate_key_or_secret() {
        let ids: Vec<SessionId> = (0..1_000_000).map(|_| SessionId::random().unwrap()).collect();
        assert_eq!(ids.iter().map(|id| id.key).collect::<HashSet<_>>().len(), 1_000_000);
        assert_eq!(ids.iter().map(|id| id.secret).collect::<HashSet<_>>().len(), 1_000_000);
    }

    #[test]
    fn s13_rotation_keeps_the_key_and_replaces_the_secret() {
        let id = SessionId::random().unwrap();
        let next = id.rotated().unwrap();
        assert_eq!((next.key(), next.generation()), (id.key(), 1));
        assert_ne!(id.secret[4..], next.secret[4..]);
        assert_ne!(id.secret_hash(), next.secret_hash());
        assert_eq!(id.rotated_after(u32::MAX).unwrap().generation(), u32::MAX);
    }

    #[test]
    fn s13_every_random_byte_varies() {
        let ids: Vec<SessionId> = (0..64).map(|_| SessionId::random().unwrap()).collect();
        for at in 0..SessionId::KEY_BYTES {
            assert!(ids.iter().any(|id| id.key[at] != ids[0].key[at]), "key byte {at}");
        }
        for at in SessionId::GENERATION_BYTES..SessionId::SECRET_BYTES {
            assert!(ids.iter().any(|id| id.secret[at] != ids[0].secret[at]), "secret byte {at}");
        }
    }

    #[test]
    fn s04_only_the_exact_text_form_parses() {
        let id = SessionId::random().unwrap().rotated().unwrap();
        assert_eq!(SessionId::parse(&id.to_text()), Some(id.clone()));
        assert_eq!(SessionId::parse(&id.to_text()[..SessionId::TEXT_LENGTH - 1]), None);
        let mut undotted = id.to_text();
        undotted[SessionId::KEY_LENGTH] = b'-';
        assert_eq!(SessionId::parse(&undotted), None);
        for text in [
            String::new(),
            "short".to_owned(),
            "=".repeat(SessionId::TEXT_LENGTH),
            "+".repeat(SessionId::TEXT_LENGTH),
        ] {
            assert_eq!(SessionId::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(SessionId::parse(&vec![b'A'; 65_536]), None);
    }

    #[test]
    fn s12_key_and_debug_hide_the_secret() {
        let id = SessionId::random().unwrap();
        let text = String::from_utf8(id.to_text().to_vec()).unwrap();
        assert_eq!(id.key().as_str(), &text[..SessionId::KEY_LENGTH]);
        assert_eq!(format!("{id:?} {:?}", id.secret_hash()), "SessionId(***) SecretHash(***)");
    }
}
