//! The values of a session as one JSON object.
//!
//! Each value is a JSON *string* that contains the JSON text of the value, so that no database
//! parses, rounds or reorders it. In a name, `"`, `\` and `%` are percent-encoded, so that a path
//! can contain the name between quotation marks. A `-` at the start of a name is percent-encoded
//! too, because MariaDB cannot express a path to it.

use std::{borrow::Cow, fmt};

use serde::{
    Deserializer,
    de::{MapAccess, Visitor},
};
use session_core::{Data, Json, Name};

use crate::error::Unreadable;

/// The text of an object that is being written.
#[derive(Debug)]
pub(crate) struct Object(String);

impl Object {
    pub(crate) fn new() -> Self {
        Self("{".to_owned())
    }

    /// Adds a value. `None` adds a null, which removes the value when the object is merged into
    /// another one (RFC 7396).
    pub(crate) fn put(&mut self, name: &Name, value: Option<&Json>) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.string(&field(name));
        self.0.push(':');
        match value {
            Some(value) => self.string(value.as_str()),
            None => self.0.push_str("null"),
        }
    }

    pub(crate) fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }

    fn string(&mut self, text: &str) {
        self.0.push('"');
        let mut rest = text;
        // The texts are well-formed JSON and the names contain no control characters. But the white
        // space between JSON tokens can be a line break or a tab.
        while let Some(at) = rest
            .find(|character: char| matches!(character, '"' | '\\') || character.is_ascii_control())
        {
            self.0.push_str(&rest[..at]);
            match rest.as_bytes()[at] {
                byte @ (b'"' | b'\\') => {
                    self.0.push('\\');
                    self.0.push(char::from(byte));
                }
                control => {
                    self.0.push_str("\\u00");
                    for half in [control >> 4, control & 15] {
                        self.0.push(char::from(b"0123456789abcdef"[usize::from(half)]));
                    }
                }
            }
            rest = &rest[at + 1..];
        }
        self.0.push_str(rest);
        self.0.push('"');
    }
}

/// The object of these values.
pub(crate) fn object(data: &Data) -> String {
    let mut object = Object::new();
    for (name, value) in data.iter() {
        object.put(name, Some(value));
    }
    object.finish()
}

/// The field name of a value.
pub(crate) fn field(name: &Name) -> Cow<'_, str> {
    let name = name.as_str();
    let dashed = name.starts_with('-');
    if !dashed && !name.contains(['"', '\\', '%']) {
        return Cow::Borrowed(name);
    }
    let field = name.replace('%', "%25").replace('"', "%22").replace('\\', "%5C");
    Cow::Owned(if dashed { field.replacen('-', "%2D", 1) } else { field })
}

/// The name of the value in a field. `None` if [`field`] never writes this field name.
fn name(field: &str) -> Option<Name> {
    let name = if field.contains('%') {
        let name =
            field.replace("%2D", "-").replace("%5C", "\\").replace("%22", "\"").replace("%25", "%");
        Cow::Owned(name)
    } else {
        Cow::Borrowed(field)
    };
    let name = Name::new(&*name).ok()?;
    (self::field(&name) == field).then_some(name)
}

/// Reads an object that [`object`] wrote, possibly changed by the database.
pub(crate) fn read(text: &[u8]) -> Result<Data, Unreadable> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let pairs = deserializer.deserialize_map(Pairs).map_err(|_| Unreadable::Part("data"))?;
    deserializer.end().map_err(|_| Unreadable::Part("data"))?;
    let mut values = Vec::with_capacity(pairs.len());
    for (field, text) in pairs {
        let name = name(&field).ok_or(Unreadable::Part("names"))?;
        values.push((name, Json::from_text(text.into_owned()).map_err(Unreadable::Json)?));
    }
    Ok(Data::from(values))
}

struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(Cow<'de, str>, Cow<'de, str>)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some((Text(name), Text(value))) = map.next_entry()? {
            pairs.push((name, value));
        }
        Ok(pairs)
    }
}

/// A string, borrowed if it contains no escapes.
struct Text<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyText;
        impl<'de> Visitor<'de> for AnyText {
            type Value = Text<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(AnyText)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(pairs: &[(&str, &str)]) -> Data {
        pairs
            .iter()
            .map(|(name, text)| (Name::new(*name).unwrap(), Json::from_text(*text).unwrap()))
            .collect()
    }

    #[test]
    fn c06_values_and_names_are_read_back_exactly() {
        let data = data(&[
            ("a", "18446744073709551615"),
            ("b.$%\"\\c", "\"\\u0000\""),
            ("-1", "0"),
            ("%22", "{\"x\": [1,\t2,\r\n 3]}"),
            ("ü", "\"🦀\u{7f}\""),
            ("1e308", "1e308"),
        ]);
        let text = object(&data);
        assert_eq!(read(text.as_bytes()).unwrap(), data, "{text}");
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
    }

    #[test]
    fn c39_malformed_objects_are_unreadable() {
        for text in [
            "",
            "[]",
            "{",
            "{\"a\":1}",
            "{\"a\":\"x\"}",
            "{\"\":\"1\"}",
            "{\"%2\":\"1\"}",
            "{\"%41\":\"1\"}",
            "{} {}",
            "{\"a\":null}",
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
        assert!(read(b"{\"a\":\"\xff\"}").is_err());
    }
}
