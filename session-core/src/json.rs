//! One value of a session, as JSON text.

use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{checked_text::impl_checked_text, error_debug::debug_as_display};

/// The JSON text of one value.
///
/// Every backend keeps the text byte for byte. It is decoded only when a handler reads it, directly
/// into the type that the handler asks for. So `u64::MAX`, `-0.0`, `1e308` and `"\u0000"` come back
/// exactly. The text is always well-formed and nests at most [`Self::MAX_DEPTH`] levels deep, so
/// that every accepted value can be read back.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "Box<str>")]
pub struct Json(Box<str>);

impl Json {
    /// The maximum nesting of arrays and objects. `serde_json` reads no deeper value back.
    pub const MAX_DEPTH: usize = 127;

    /// Writes `value` as JSON text.
    ///
    /// # Errors
    /// [`JsonError`] if `value` has no JSON form (for example a map whose keys are not strings) or
    /// nests too deep.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, JsonError> {
        let text = serde_json::to_string(value).map_err(|error| JsonError::from_serde(&error))?;
        if depth(text.as_bytes()) > Self::MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        Ok(Self(text.into_boxed_str()))
    }

    /// Checks a text from outside, such as a store's backend or a request body.
    ///
    /// # Errors
    /// [`JsonError`] if `text` is not exactly one well-formed JSON value or nests too deep.
    pub fn from_text(text: impl Into<Box<str>>) -> Result<Self, JsonError> {
        let text = text.into();
        if depth(text.as_bytes()) > Self::MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        serde_json::from_str::<serde::de::IgnoredAny>(&text)
            .map_err(|error| JsonError::from_serde(&error))?;
        Ok(Self(text))
    }

    /// Writes an integer, in the form that an `Add` writes.
    #[must_use]
    pub fn integer(value: i64) -> Self {
        Self(value.to_string().into_boxed_str())
    }

    /// Reads the value into `T`.
    ///
    /// # Errors
    /// [`JsonError`] if the value does not match `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, JsonError> {
        serde_json::from_str(&self.0).map_err(|error| JsonError::from_serde(&error))
    }

    /// The value as an integer. `None` if it is a fraction, a text, or outside `i64`.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        self.0.trim_ascii().parse().ok()
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A value can be a secret of the application, so `Debug` shows only its length.
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.0.len())
    }
}

impl_checked_text!(Json, from_text, JsonError);

impl From<Json> for Box<str> {
    fn from(json: Json) -> Self {
        json.0
    }
}

/// The reason why a value is not JSON or does not match the requested type. It contains no part of
/// the value, because a value can be a secret.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The text is not JSON.
    #[error("the text is not JSON: {0}")]
    Syntax(String),
    /// The value is JSON but does not match the requested type, or a value cannot be written as
    /// JSON.
    #[error("the value does not match the requested type, at line {line} column {column}")]
    Shape {
        /// From 1; 0 where the value was being written.
        line: usize,
        /// In bytes, from 1; 0 where the value was being written.
        column: usize,
    },
    /// Arrays and objects nest deeper than [`Json::MAX_DEPTH`].
    #[error("the value nests deeper than {} levels; flatten it", Json::MAX_DEPTH)]
    TooDeep,
}

debug_as_display!(JsonError);

impl JsonError {
    /// The text of a serde data error quotes the value, and the text of a custom `Serialize` can do
    /// the same. So only the position is kept. A syntax error contains only the position and what
    /// was expected there.
    fn from_serde(error: &serde_json::Error) -> Self {
        use serde_json::error::Category;
        match error.classify() {
            Category::Syntax | Category::Eof => Self::Syntax(error.to_string()),
            Category::Data | Category::Io => {
                Self::Shape { line: error.line(), column: error.column() }
            }
        }
    }
}

/// The maximum nesting of brackets outside strings. Unbalanced text is left to the parser.
fn depth(text: &[u8]) -> usize {
    let (mut deepest, mut current, mut in_string, mut escaped) = (0_usize, 0_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                current += 1;
                deepest = deepest.max(current);
            }
            b']' | b'}' => current = current.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c06_numbers_and_texts_round_trip_exactly() {
        assert_eq!(Json::encode(&u64::MAX).unwrap().decode::<u64>().unwrap(), u64::MAX);
        assert_eq!(Json::encode(&i64::MIN).unwrap().decode::<i64>().unwrap(), i64::MIN);
        assert!(Json::encode(&-0.0_f64).unwrap().decode::<f64>().unwrap().is_sign_negative());
        assert_eq!(Json::encode("a\0b🦀").unwrap().decode::<String>().unwrap(), "a\0b🦀");
        assert_eq!(Json::from_text("1e308").unwrap().as_str(), "1e308");
        let fraction = 18_446_744_184_709_551_615.0_f64.next_down();
        assert_eq!(
            Json::encode(&fraction).unwrap().decode::<f64>().unwrap().to_bits(),
            fraction.to_bits()
        );
    }

    #[test]
    fn accepted_values_can_be_read_back() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let deepest = Json::from_text(nested(Json::MAX_DEPTH)).unwrap();
        assert!(deepest.decode::<serde_json::Value>().is_ok());
        assert!(matches!(Json::from_text(nested(Json::MAX_DEPTH + 1)), Err(JsonError::TooDeep)));
        assert!(
            Json::from_text(format!("\"{}\"", "[".repeat(500))).is_ok(),
            "brackets in a string do not nest"
        );
    }

    #[test]
    fn text_that_is_not_one_json_value_is_rejected() {
        for text in ["", "{", "1 2", "nul", "\"open", "'single'"] {
            assert!(Json::from_text(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn only_integers_within_i64_count_as_integers() {
        assert_eq!(Json::integer(i64::MIN).as_integer(), Some(i64::MIN));
        for text in ["1.0", "1e3", "\"1\"", "null", "9223372036854775808"] {
            assert_eq!(Json::from_text(text).unwrap().as_integer(), None, "{text}");
        }
    }

    #[test]
    fn h25_errors_contain_nothing_of_the_value() {
        let secret = Json::encode("hunter2").unwrap();
        let error = secret.decode::<i64>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        assert!(matches!(error, JsonError::Shape { line: 1, .. }));
    }

    #[test]
    fn debug_hides_the_value() {
        assert_eq!(format!("{:?}", Json::encode("hunter2").unwrap()), "Json(9 bytes)");
    }
}
