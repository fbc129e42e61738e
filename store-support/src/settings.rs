//! The values of settings, and sections of configuration files.

use std::{collections::BTreeMap, fmt::Display, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, de::Error};

/// The value of a setting is not valid. Each store converts it into its own error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {value:?} is not valid; use {expected}")]
pub struct InvalidValue {
    /// The setting.
    pub key: &'static str,
    /// The value.
    pub value: String,
    /// What is valid.
    pub expected: String,
}

/// Refuses the value of a setting, with a text that says what is valid.
///
/// # Errors
/// Always [`InvalidValue`], as the error of the store.
pub fn invalid<T, E: From<InvalidValue>>(
    key: &'static str,
    value: &(impl ToString + ?Sized),
    expected: &str,
) -> Result<T, E> {
    Err(InvalidValue { key, value: value.to_string(), expected: expected.to_owned() }.into())
}

/// Parses the value of a setting.
///
/// # Errors
/// [`InvalidValue`] if the text is not a `T`.
pub fn parse<T: FromStr>(key: &'static str, text: &str, expected: &str) -> Result<T, InvalidValue> {
    text.parse().or_else(|_| invalid(key, text, expected))
}

/// Parses a duration in milliseconds. It accepts 0, which the store refuses when it checks all
/// settings.
///
/// # Errors
/// [`InvalidValue`] if the text is not a whole number.
pub fn milliseconds(key: &'static str, text: &str) -> Result<Duration, InvalidValue> {
    parse(key, text, "a whole number above 0").map(Duration::from_millis)
}

/// What [`is_valid_deadline`] accepts, for error texts.
pub const DEADLINE_RANGE: &str = "1 or more, at most 86400000 (a day)";

/// Whether a call may take this long at most. Longer times overflow the clocks of some drivers.
#[must_use]
pub fn is_valid_deadline(deadline: Duration) -> bool {
    (Duration::from_millis(1)..=Duration::from_secs(86_400)).contains(&deadline)
}

/// A section of a configuration file: a URL, and settings beside it.
#[derive(Deserialize)]
struct Section {
    url: String,
    #[serde(flatten)]
    settings: BTreeMap<String, Scalar>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "the value of a setting must be a text, an integer or a boolean")]
enum Scalar {
    Text(String),
    Number(i64),
    Flag(bool),
}

/// Deserializes a section of a configuration file: a `url`, and settings beside it.
///
/// `read` reads the URL, `set` sets one setting by its name, and `check` checks all settings.
///
/// # Errors
/// The error of a function, or of the deserializer if the section does not have this form.
pub fn deserialize_section<'de, D: Deserializer<'de>, C, E: Display>(
    deserializer: D,
    read: fn(&str) -> Result<C, E>,
    set: fn(&mut C, &str, &str) -> Result<(), E>,
    check: fn(&C) -> Result<(), E>,
) -> Result<C, D::Error> {
    let section = Section::deserialize(deserializer)?;
    let mut config = read(&section.url).map_err(D::Error::custom)?;
    for (key, value) in &section.settings {
        match value {
            Scalar::Text(text) => set(&mut config, key, text),
            Scalar::Number(number) => set(&mut config, key, &number.to_string()),
            Scalar::Flag(flag) => set(&mut config, key, &flag.to_string()),
        }
        .map_err(D::Error::custom)?;
    }
    check(&config).map_err(D::Error::custom)?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_setting_value_and_valid_values() {
        let error = parse::<u8>("connections", "many", "1 to 255").unwrap_err();
        assert_eq!(error.to_string(), r#"connections: "many" is not valid; use 1 to 255"#);
        assert_eq!(milliseconds("deadline_ms", "20"), Ok(Duration::from_millis(20)));
        assert!(milliseconds("deadline_ms", "2s").is_err());
    }

    #[test]
    fn section_sets_texts_numbers_and_flags_after_the_url() {
        let read = |json: &str| {
            deserialize_section(
                &mut serde_json::Deserializer::from_str(json),
                |url| Ok(vec![url.to_owned()]),
                |config, key, text| {
                    config.push(format!("{key}={text}"));
                    if key == "bad" { Err("bad is unknown") } else { Ok(()) }
                },
                |config| if config.len() > 4 { Err("too many settings") } else { Ok(()) },
            )
            .map_err(|error| error.to_string())
        };
        assert_eq!(
            read(r#"{"a": 1, "url": "u", "b": "x", "c": true}"#).unwrap(),
            ["u", "a=1", "b=x", "c=true"]
        );
        for (json, expected) in [
            (r#"{"url": "u", "bad": 1}"#, "bad is unknown"),
            (r#"{"url": "u", "a": 1, "b": 2, "c": 3, "d": 4}"#, "too many settings"),
            (r#"{"a": 1}"#, "url"),
            (r#"{"url": "u", "a": []}"#, "a text, an integer or a boolean"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }
}
