//! Settings as texts, each with where it came from.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    path::Path,
};

use clap::{ArgMatches, parser::ValueSource};

use super::{
    SettingError,
    key::{KEYS, Kind},
    url::without_password,
};

/// A setting's text, and where it came from.
#[derive(Clone)]
pub(crate) struct Raw {
    pub(crate) text: String,
    pub(crate) origin: Origin,
}

/// The text can be a cookie key.
impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Where a setting came from, in the words its user knows.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    Flag(String),
    Environment(String),
    File(String),
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) | Self::Environment(name) | Self::File(name) => f.write_str(name),
            Self::Default => f.write_str("the default"),
        }
    }
}

/// All settings by name, the strongest origin of each: flag, environment, file, default.
pub(super) fn layered(matches: &ArgMatches) -> Result<BTreeMap<&'static str, Raw>, SettingError> {
    let mut file = match matches.get_one::<String>("config") {
        Some(path) => read(Path::new(path))?,
        None => BTreeMap::new(),
    };
    let mut layered = BTreeMap::new();
    for key in KEYS {
        let given = matches.get_one::<String>(key.name).map(|text| {
            let origin = match matches.value_source(key.name) {
                Some(ValueSource::EnvVariable) => Origin::Environment(key.variable()),
                _ => Origin::Flag(format!("--{}", key.name)),
            };
            Raw { text: text.clone(), origin }
        });
        let filed = file.remove(&key.in_file());
        let raw = given
            .or(filed)
            .unwrap_or_else(|| Raw { text: key.default.to_owned(), origin: Origin::Default });
        layered.insert(key.name, raw);
    }
    match file.into_iter().next() {
        None => Ok(layered),
        Some((key, Raw { origin, .. })) => {
            Err(SettingError::UnknownKey { key, origin: origin.to_string() })
        }
    }
}

/// Shows the settings as a file that would bring the same ones about, secrets masked.
pub(super) fn shown(raw: &BTreeMap<&'static str, Raw>) -> String {
    let mut text = String::new();
    for key in KEYS {
        let Some(Raw { text: value, origin }) = raw.get(key.name) else { continue };
        let value = match key.kind {
            Kind::Secret if !value.is_empty() => "\"***\"".to_owned(),
            Kind::Switch => value.clone(),
            Kind::Plain | Kind::Secret if is_number(value) => value.clone(),
            Kind::Plain | Kind::Secret => quoted(&without_password(value)),
        };
        let line = format!("{} = {value}", key.in_file());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line:<40} # {origin}");
    }
    text
}

/// Whether a text is a number as TOML has it, which comes back as the same text.
fn is_number(text: &str) -> bool {
    text.parse::<u32>().is_ok_and(|number| number.to_string() == text)
}

/// A text as TOML has it. Rust's own form has other escapes.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        // Writing to a String cannot fail.
        let _ = match character {
            '"' | '\\' => write!(quoted, "\\{character}"),
            control if control.is_control() => write!(quoted, "\\u{:04x}", u32::from(control)),
            other => write!(quoted, "{other}"),
        };
    }
    quoted.push('"');
    quoted
}

fn read(path: &Path) -> Result<BTreeMap<String, Raw>, SettingError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|source| SettingError::Unreadable { path: shown.clone(), source })?;
    let table: toml::Table =
        text.parse().map_err(|source: toml::de::Error| SettingError::NotToml {
            path: shown.clone(),
            // The parser's own text quotes the line, and the line can hold a key.
            line: source.span().map_or(0, |span| text[..span.start].lines().count().max(1)),
            message: source.message().to_owned(),
        })?;
    let raw = |(key, value): (String, toml::Value)| {
        let origin = format!("{key} in {shown}");
        let text = plain(&value).ok_or_else(|| SettingError::Nested { origin: origin.clone() })?;
        Ok((key, Raw { text, origin: Origin::File(origin) }))
    };
    table.into_iter().map(raw).collect()
}

/// A TOML value as the text that a flag would have; lists as `a,b`.
fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(switch) => Some(switch.to_string()),
        toml::Value::Array(values) => {
            values.iter().map(plain).collect::<Option<Vec<_>>>().map(|texts| texts.join(","))
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}
