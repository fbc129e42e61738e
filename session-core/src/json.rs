//! One value of a session, as JSON text.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer, de::DeserializeOwned};

/// The JSON text of one value.
///
/// The text stays as it was written through every backend and is decoded only when a handler asks
/// for it, straight into the type the handler names; so `u64::MAX`, `-0.0`, `1e308` and `"\u0000"`
/// come back exactly. The text is always well-formed and nests at most [`Self::MAX_DEPTH`] deep, so
/// that whatever was accepted can be read back.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "Box<str>")]
pub struct Json(Box<str>);

impl Json {
    /// The deepest nesting of arrays and objects that a value may have; `serde_json` reads back no
    /// deeper one.
    pub const MAX_DEPTH: usize = 127;

    /// Writes `value` as JSON text.
    ///
    /// # Errors
    /// [`JsonError`] if `value` has no JSON form (a map with keys that are not strings, say) or
    /// nests too deep.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, JsonError> {
        let text = serde_json::to_string(value).map_err(|error| JsonError::from_serde(&error))?;
        if depth(text.as_bytes()) > Self::MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        Ok(Self(text.into_boxed_str()))
    }

    /// Checks text that came from outside, a store's backend or a request body.
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

    /// Writes an integer, as an `Add` leaves it.
    #[must_use]
    pub fn integer(value: i64) -> Self {
        Self(value.to_string().into_boxed_str())
    }

    /// Reads the value into `T`.
    ///
    /// # Errors
    /// [`JsonError`] if the value does not have the shape of `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, JsonError> {
        serde_json::from_str(&self.0).map_err(|error| JsonError::from_serde(&error))
    }

    /// The integer that this value is, or `None` if it is a fraction, a text, or beyond `i64`.
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

/// As the text, without a copy of it.
impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Values can be secrets of the application, so only the length shows.
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.0.len())
    }
}

impl TryFrom<Box<str>> for Json {
    type Error = JsonError;

    fn try_from(text: Box<str>) -> Result<Self, JsonError> {
        Self::from_text(text)
    }
}

impl From<Json> for Box<str> {
    fn from(json: Json) -> Self {
        json.0
    }
}

/// Why a value is not JSON, or not of the type that was asked for. It holds nothing of the value
/// itself: values can be secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The text is not JSON.
    #[error("the text is not JSON: {0}")]
    Syntax(String),
    /// The value is JSON and not of the type asked for, or a value cannot be written as JSON.
    #[error("the value does not have the shape that was asked for, at line {line} column {column}")]
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

impl JsonError {
    /// What serde says of a wrong shape quotes the value, and so does what a type's own `Serialize`
    /// says; only the place is kept of it. Of bad syntax it names the place and what was expected
    /// there.
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

/// The deepest nesting of brackets outside strings. Counts only, so that unbalanced text is left to
/// the parser.
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
    fn c06_numbers_and_texts_come_back_exactly() {
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
    fn what_is_accepted_can_be_read_back() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let deepest = Json::from_text(nested(Json::MAX_DEPTH)).unwrap();
        assert!(deepest.decode::<serde_json::Value>().is_ok());
        assert!(matches!(Json::from_text(nested(Json::MAX_DEPTH + 1)), Err(JsonError::TooDeep)));
        assert!(
            Json::from_text(format!("\"{}\"", "[".repeat(500))).is_ok(),
            "brackets in a string nest nothing"
        );
    }

    #[test]
    fn text_that_is_not_one_json_value_is_refused() {
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
    fn h25_errors_hold_nothing_of_the_value() {
        let secret = Json::encode("hunter2").unwrap();
        let error = secret.decode::<i64>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        assert!(matches!(error, JsonError::Shape { line: 1, .. }));
    }

    #[test]
    fn debug_shows_no_value() {
        assert_eq!(format!("{:?}", Json::encode("hunter2").unwrap()), "Json(9 bytes)");
    }
}
