//! The name of one value in a session.

use std::{borrow::Borrow, fmt};

use serde::Deserialize;

use crate::{checked_text::impl_checked_text, error_debug::debug_as_display};

/// The name of one value in a session: 1 to 128 bytes of UTF-8 without control characters.
///
/// All other characters are allowed, also `.`, `$`, `%`, quotes and spaces. A store escapes what
/// its backend treats specially. Two names are equal only if their bytes are: names are not
/// trimmed, case-folded or normalized.
///
/// # Examples
/// ```
/// use session_core::Name;
/// assert!(Name::new("cart.items").is_ok());
/// assert!(Name::new("").is_err());
/// assert!(Name::new("two\nlines").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "Box<str>")]
pub struct Name(Box<str>);

impl Name {
    /// The maximum length of a name in bytes.
    pub const MAX_BYTES: usize = 128;

    /// Checks `text` and makes a name of it.
    ///
    /// # Errors
    /// [`InvalidName`] if `text` is empty, longer than [`Self::MAX_BYTES`] or has a control
    /// character.
    pub fn new(text: impl Into<Box<str>>) -> Result<Self, InvalidName> {
        let text = text.into();
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(InvalidName::TooLong { bytes: text.len() });
        }
        if let Some(character) = text.chars().find(|character| character.is_control()) {
            return Err(InvalidName::ControlCharacter { character });
        }
        Ok(Self(text))
    }

    /// The text of the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl_checked_text!(Name, new, InvalidName);

impl TryFrom<&str> for Name {
    type Error = InvalidName;

    fn try_from(text: &str) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

impl From<Name> for Box<str> {
    fn from(name: Name) -> Self {
        name.0
    }
}

/// The reason why a text is not a valid [`Name`].
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// The text is empty.
    #[error("a session value needs a name of 1 to 128 bytes; the name is empty")]
    Empty,
    /// The text is longer than [`Name::MAX_BYTES`].
    #[error("a session value needs a name of 1 to 128 bytes; the name has {bytes}")]
    TooLong {
        /// The length of the text.
        bytes: usize,
    },
    /// The text has a control character.
    #[error(
        "the name of a session value has the control character {character:?}; \
         use letters, digits and punctuation"
    )]
    ControlCharacter {
        /// The first control character in the text.
        character: char,
    },
}

debug_as_display!(InvalidName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c07_punctuation_spaces_and_emoji_are_valid() {
        for text in [".", "$where", "100%", "\"quoted\"", "back\\slash", "a b", "🦀", "__proto__"]
        {
            assert_eq!(Name::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn c08_empty_long_and_control_names_are_rejected() {
        assert_eq!(Name::new(""), Err(InvalidName::Empty));
        assert!(Name::new("n".repeat(128)).is_ok());
        assert_eq!(Name::new("n".repeat(129)), Err(InvalidName::TooLong { bytes: 129 }));
        for character in ['\0', '\n', '\x7f', '\u{85}'] {
            assert_eq!(
                Name::new(format!("a{character}b")),
                Err(InvalidName::ControlCharacter { character })
            );
        }
    }
}
