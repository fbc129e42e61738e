//! The keys that sign cookies.

use std::fmt;

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use crate::error_debug::debug_as_display;

/// A key that signs cookies: at least 32 bytes. `Debug` is masked.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Box<[u8]>);

impl Key {
    /// The minimum length in bytes: the output of SHA-256 (RFC 2104 advises no less).
    pub const MIN_BYTES: usize = 32;
    /// The minimum number of different bytes. 32 random bytes have about 30; a repeated character
    /// has 1.
    const MIN_DISTINCT: usize = 8;

    /// Makes a key of bytes from a random source.
    ///
    /// # Errors
    /// [`InvalidKey`] if there are fewer than [`Self::MIN_BYTES`], or if only a few of them are
    /// different. The error does not contain the bytes.
    pub fn from_bytes(bytes: impl Into<Box<[u8]>>) -> Result<Self, InvalidKey> {
        let bytes = bytes.into();
        if bytes.len() < Self::MIN_BYTES {
            return Err(InvalidKey::Short { bytes: bytes.len() });
        }
        let mut seen = [false; 256];
        bytes.iter().for_each(|byte| seen[usize::from(*byte)] = true);
        if seen.iter().filter(|seen| **seen).count() < Self::MIN_DISTINCT {
            return Err(InvalidKey::Repetitive);
        }
        Ok(Self(bytes))
    }

    /// Reads a key from a setting: at least 32 bytes in hex (64 digits) or in base64 of either
    /// alphabet, with or without padding.
    ///
    /// # Errors
    /// [`InvalidKey`] if the text is neither, or if the key is too weak. The error does not contain
    /// the text.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let text = text.trim_ascii();
        if text.len() >= 2 * Self::MIN_BYTES
            && text.len().is_multiple_of(2)
            && text.bytes().all(|digit| digit.is_ascii_hexdigit())
        {
            let digit = |byte: u8| {
                char::from(byte)
                    .to_digit(16)
                    .and_then(|value| u8::try_from(value).ok())
                    .unwrap_or(0)
            };
            let bytes: Vec<u8> = text
                .as_bytes()
                .chunks_exact(2)
                .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
                .collect();
            return Self::from_bytes(bytes);
        }
        let config =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        [&alphabet::URL_SAFE, &alphabet::STANDARD]
            .iter()
            .find_map(|alphabet| GeneralPurpose::new(alphabet, config).decode(text).ok())
            .ok_or(InvalidKey::Encoding)
            .and_then(Self::from_bytes)
    }

    /// Draws a random key, for tests and development. The key is lost when the process ends, so
    /// cookies do not survive a restart.
    ///
    /// # Errors
    /// [`EntropyError`](crate::EntropyError) if the operating system returns no random bytes.
    pub fn random() -> Result<Self, crate::EntropyError> {
        let mut bytes = vec![0; 64];
        getrandom::fill(&mut bytes).map_err(crate::id::EntropyError)?;
        Ok(Self(bytes.into()))
    }

    /// The bytes of the key, to pass them to a worker process over a private channel.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

/// The reason why a key is rejected. It does not contain the key. `Debug` shows the same text as
/// `Display`.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
    /// The key has too few bytes.
    #[error(
        "a cookie key needs at least 32 random bytes, and this one has {bytes}; \
         make one with: openssl rand -base64 48"
    )]
    Short {
        /// The length of the key.
        bytes: usize,
    },
    /// The key has too few different bytes.
    #[error(
        "a cookie key must be random, and this one repeats a few bytes; \
         make one with: openssl rand -base64 48"
    )]
    Repetitive,
    /// The text is neither hex nor base64.
    #[error(
        "a cookie key must be written in hex or base64, and this one is neither; \
         make one with: openssl rand -base64 48"
    )]
    Encoding,
    /// The environment variable is not set.
    #[error(
        "the environment variable {variable} is not set; \
         set it to the output of: openssl rand -base64 48"
    )]
    Unset {
        /// The name of the variable.
        variable: String,
    },
    /// The environment variable contains a key that is not valid.
    #[error("the environment variable {variable} is not valid: {reason}")]
    Variable {
        /// The name of the variable.
        variable: String,
        /// What is wrong with the key.
        reason: Box<Self>,
    },
    /// The key ring is empty.
    #[error("a signed cookie needs at least one key; make one with: openssl rand -base64 48")]
    EmptyRing,
}

debug_as_display!(InvalidKey);

/// The keys in use: the first one signs, and all of them verify.
///
/// To replace the key without signing users out:
///
/// 1. Give every server both keys, the old one first.
/// 2. When all servers have them, put the new key first on every server.
/// 3. When the longest session has expired, remove the old key.
///
/// A cookie that the old key signed is signed anew when a request uses its session.
#[derive(Debug, Clone)]
pub struct KeyRing(Vec<Key>);

impl KeyRing {
    /// A ring of these keys. The first one signs.
    ///
    /// # Errors
    /// [`InvalidKey::EmptyRing`] if there is no key.
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Result<Self, InvalidKey> {
        let keys: Vec<_> = keys.into_iter().collect();
        if keys.is_empty() { Err(InvalidKey::EmptyRing) } else { Ok(Self(keys)) }
    }

    /// Reads keys from a setting: one key in the form of [`Key::parse`], or several with commas
    /// between them. The first one signs.
    ///
    /// # Errors
    /// [`InvalidKey`] for the first key that is not valid. The error does not contain the text.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let keys = text.split(',').map(Key::parse).collect::<Result<Vec<_>, _>>()?;
        Self::new(keys)
    }

    /// Reads keys from an environment variable, in the form of [`KeyRing::parse`].
    ///
    /// # Errors
    /// [`InvalidKey::Unset`] if the variable is not set, otherwise [`InvalidKey::Variable`] with the
    /// error of [`KeyRing::parse`]. The error does not contain the value.
    pub fn from_env(variable: &str) -> Result<Self, InvalidKey> {
        let variable = || variable.to_owned();
        let invalid =
            |reason| InvalidKey::Variable { variable: variable(), reason: Box::new(reason) };
        match std::env::var(variable()) {
            Ok(text) => Self::parse(&text).map_err(invalid),
            Err(std::env::VarError::NotPresent) => Err(InvalidKey::Unset { variable: variable() }),
            Err(std::env::VarError::NotUnicode(_)) => Err(invalid(InvalidKey::Encoding)),
        }
    }

    /// The keys. The first one signs.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.0
    }
}

impl From<Key> for KeyRing {
    fn from(key: Key) -> Self {
        Self(vec![key])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s08_short_repetitive_and_malformed_keys_are_rejected() {
        for bytes in [0, 8, 31] {
            assert_eq!(Key::from_bytes(vec![1; bytes]), Err(InvalidKey::Short { bytes }));
        }
        assert_eq!(Key::from_bytes(vec![b'x'; 64]), Err(InvalidKey::Repetitive));
        assert_eq!(Key::parse("not a key, surely"), Err(InvalidKey::Encoding));
        assert_eq!(Key::parse("c2hvcnQ="), Err(InvalidKey::Short { bytes: 5 }));
        assert_eq!(KeyRing::new([]).unwrap_err(), InvalidKey::EmptyRing);
    }

    #[test]
    fn s08_debug_and_errors_hide_the_key() {
        let text = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let error = Key::parse(text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("AAAA"));
        assert_eq!(format!("{:?}", Key::random().unwrap()), "Key(***)");
    }

    #[test]
    fn ring_reads_keys_with_commas_and_names_an_unset_variable() {
        let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        assert_eq!(KeyRing::parse(&format!("{key}, {key}")).unwrap().keys().len(), 2);
        assert_eq!(KeyRing::parse(&format!("{key},")).unwrap_err(), InvalidKey::Short { bytes: 0 });
        let error = KeyRing::from_env("UNSET_VARIABLE_OF_A_TEST").unwrap_err();
        assert!(error.to_string().contains("UNSET_VARIABLE_OF_A_TEST is not set"));
        // Every process has this variable, and it is not a key.
        let error = KeyRing::from_env("PATH").unwrap_err().to_string();
        assert!(error.starts_with("the environment variable PATH is not valid: "), "{error}");
    }

    #[test]
    fn hex_and_base64_are_read() {
        let bytes: Vec<u8> = (0..32).collect();
        let hex = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";
        assert_eq!(Key::parse(hex).unwrap().expose(), bytes);
        for text in [
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
        ] {
            assert_eq!(Key::parse(text).unwrap().expose(), bytes);
        }
        let standard = "+/+/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        assert_eq!(Key::parse(standard).unwrap().expose().len(), 35);
    }
}
