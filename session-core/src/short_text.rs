//! A short text of a sign-in, such as the name of a device.

use std::{fmt, sync::Arc};

use serde::Deserialize;

use crate::{checked_text::impl_checked_text, error_debug::debug_as_display};

/// A text of 1 to 40 bytes of UTF-8 without control characters. Clones share the text.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "Box<str>")]
pub struct ShortText(Arc<str>);

impl ShortText {
    /// The maximum length of a short text in bytes.
    pub const MAX_BYTES: usize = 40;

    /// Checks `text`.
    ///
    /// # Errors
    /// [`InvalidShortText`] if `text` is empty, longer than [`Self::MAX_BYTES`] or has a control
    /// character.
    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidShortText> {
        let text = text.as_ref();
        if text.is_empty() || text.len() > Self::MAX_BYTES {
            return Err(InvalidShortText::Length { bytes: text.len() });
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidShortText::ControlCharacter);
        }
        Ok(Self(Arc::from(text)))
    }

    /// The beginning of any text, without control characters and with whole characters only. `None`
    /// if nothing is left.
    pub(crate) fn beginning_of(text: &str) -> Option<Self> {
        let mut beginning = String::new();
        for character in text.trim().chars().filter(|character| !character.is_control()) {
            if beginning.len() + character.len_utf8() > Self::MAX_BYTES {
                break;
            }
            beginning.push(character);
        }
        (!beginning.is_empty()).then(|| Self(Arc::from(beginning)))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ShortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShortText({:?})", self.0)
    }
}

impl fmt::Display for ShortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl_checked_text!(ShortText, new, InvalidShortText);

/// The reason why a text is not a valid [`ShortText`].
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidShortText {
    /// The text is empty or longer than [`ShortText::MAX_BYTES`].
    #[error("a label or acr has {bytes} bytes; use 1 to 40")]
    Length {
        /// The length of the text.
        bytes: usize,
    },
    /// The text has a control character.
    #[error("a label or acr has a control character; use printable text")]
    ControlCharacter,
}

debug_as_display!(InvalidShortText);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_long_and_control_texts_are_rejected() {
        assert_eq!(ShortText::new(""), Err(InvalidShortText::Length { bytes: 0 }));
        assert_eq!(ShortText::new("x".repeat(41)), Err(InvalidShortText::Length { bytes: 41 }));
        assert_eq!(ShortText::new("a\nb"), Err(InvalidShortText::ControlCharacter));
    }

    #[test]
    fn beginning_is_a_valid_text_of_whole_characters() {
        let of = |text: &str| ShortText::beginning_of(text).map(|text| text.as_str().to_owned());
        assert_eq!(of(" Firefox\r\nSet-Cookie: "), Some("FirefoxSet-Cookie:".to_owned()));
        assert_eq!(of(&"x".repeat(70)), Some("x".repeat(40)));
        assert_eq!(of(&"ä".repeat(30)), Some("ä".repeat(20)));
        assert_eq!(of(&format!("x{}", "ä".repeat(30))), Some(format!("x{}", "ä".repeat(19))));
        for nothing in ["", " \t", "\n"] {
            assert_eq!(of(nothing), None);
        }
    }
}
