//! The user that a session belongs to.

use std::{fmt, sync::Arc};

use serde::Deserialize;

use crate::{checked_text::impl_checked_text, error_debug::debug_as_display};

/// The name of the signed-in user in the application: 1 to 256 bytes of UTF-8 without control
/// characters.
///
/// Every store compares it byte for byte: `Bob`, `bob` and `bob ` are three principals. Clones
/// share the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "Box<str>")]
pub struct Principal(Arc<str>);

impl Principal {
    /// The maximum length of a principal in bytes.
    pub const MAX_BYTES: usize = 256;

    /// Checks `text` and makes a principal of it.
    ///
    /// # Errors
    /// [`InvalidPrincipal`] if `text` is empty, longer than [`Self::MAX_BYTES`] or has a control
    /// character.
    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidPrincipal> {
        let text = text.as_ref();
        if text.is_empty() || text.len() > Self::MAX_BYTES {
            return Err(InvalidPrincipal::Length { bytes: text.len() });
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidPrincipal::ControlCharacter);
        }
        Ok(Self(Arc::from(text)))
    }

    /// The text of the principal.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Principal({:?})", self.0)
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl_checked_text!(Principal, new, InvalidPrincipal);

impl From<Principal> for Box<str> {
    fn from(principal: Principal) -> Self {
        principal.as_str().into()
    }
}

/// Whether a session belongs to a visitor or to a signed-in user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionKind {
    /// The session has no principal.
    Anonymous,
    /// The session has a principal.
    SignedIn,
}

impl SessionKind {
    /// The kind of a session by its principal, or by the age of its authentication: a session has
    /// both or neither.
    pub(crate) fn of<T>(principal_or_age: Option<&T>) -> Self {
        if principal_or_age.is_some() { Self::SignedIn } else { Self::Anonymous }
    }
}

/// The reason why a text is not a valid [`Principal`].
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPrincipal {
    /// The text is empty or longer than [`Principal::MAX_BYTES`].
    #[error("a principal of {bytes} bytes is not valid; use 1 to 256 bytes")]
    Length {
        /// The length of the text.
        bytes: usize,
    },
    /// The text has a control character.
    #[error("a principal must not have control characters; use the user's name or number")]
    ControlCharacter,
}

debug_as_display!(InvalidPrincipal);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c32_principals_are_compared_byte_for_byte() {
        let of = |text| Principal::new(text).unwrap();
        assert_ne!(of("bob"), of("Bob"));
        assert_ne!(of("bob"), of("bob "));
    }

    #[test]
    fn empty_long_and_control_texts_are_rejected() {
        assert!(Principal::new("").is_err());
        assert!(Principal::new("p".repeat(257)).is_err());
        assert!(Principal::new("a\0").is_err());
    }
}
