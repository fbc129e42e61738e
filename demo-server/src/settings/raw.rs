//! Settings as texts with their origins, before they are parsed.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    path::Path,
};

use clap::{ArgMatches, parser::ValueSource};

use super::{
    SettingError,
    spec::{SETTINGS, SettingKind, SettingSpec},
    url::mask_passwords,
};

/// The text of a setting and its origin.
#[derive(Clone)]
pub(crate) struct RawSetting {
    pub(crate) text: String,
    pub(crate) origin: SettingOrigin,
}

/// Omits the text, because it can be a cookie key.
impl fmt::Debug for RawSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawSetting").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Where a setting comes from. It displays as the name of the flag, the variable or the key.
#[derive(Debug, Clone)]
pub(crate) enum SettingOrigin {
    Flag(String),
    Environment(String),
    File(String),
    Default,
}

impl fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) | Self::Environment(name) | Self::File(name) => f.write_str(name),
            Self::Default => f.write_str("the default"),
        }
    }
}

/// Merges all origins. For each setting the first origin that has it wins: flag, environment, file,
/// default.
pub(super) fn merge(
    matches: &ArgMatches,
) -> Result<BTreeMap<&'static str, RawSetting>, SettingError> {
    let mut file = match matches.get_one::<String>("config") {
        Some(path) => read(Path::new(path))?,
        None => BTreeMap::new(),
    };
    let mut merged = BTreeMap::new();
    for spec in SETTINGS {
        let given = matches.get_one::<String>(spec.name).map(|text| {
            let origin = match matches.value_source(spec.name) {
                Some(ValueSource::EnvVariable) => {
                    SettingOrigin::Environment(spec.environment_variable())
                }
                _ => SettingOrigin::Flag(format!("--{}", spec.name)),
            };
            RawSetting { text: text.clone(), origin }
        });
        let from_file = file.remove(&spec.file_key());
        let default =
            || RawSetting { text: spec.default.to_owned(), origin: SettingOrigin::Default };
        merged.insert(spec.name, given.or(from_file).unwrap_or_else(default));
    }
    match file.into_iter().next() {
        None => Ok(merged),
        Some((key, RawSetting { origin, .. })) => {
            Err(SettingError::UnknownKey { key, origin: origin.to_string() })
        }
    }
}

/// The variables of the environment that look like settings but are not.
pub(super) fn unknown_variables() -> Vec<String> {
    let known: Vec<_> = SETTINGS
        .iter()
        .map(SettingSpec::environment_variable)
        .chain(["DEMO_CONFIG".to_owned()])
        .collect();
    std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with("DEMO_") && !known.contains(name))
        .collect()
}

/// Renders the settings as a TOML file, with secrets masked.
pub(super) fn render(raw: &BTreeMap<&'static str, RawSetting>) -> String {
    let mut text = String::new();
    for spec in SETTINGS {
        let Some(RawSetting { text: value, origin }) = raw.get(spec.name) else { continue };
        let value = match spec.kind {
            SettingKind::Secret if !value.is_empty() => "\"***\"".to_owned(),
            SettingKind::Switch => value.clone(),
            SettingKind::Plain | SettingKind::Secret if is_number(value) => value.clone(),
            SettingKind::Plain | SettingKind::Secret => toml_string(&mask_passwords(value)),
        };
        let line = format!("{} = {value}", spec.file_key());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line:<40} # {origin}");
    }
    text
}

/// Whether a text is a TOML integer that is read back as the same text.
fn is_number(text: &str) -> bool {
    text.parse::<u32>().is_ok_and(|number| number.to_string() == text)
}

/// A text as a TOML string. The escapes of Rust's `Debug` are different.
fn toml_string(text: &str) -> String {
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

fn read(path: &Path) -> Result<BTreeMap<String, RawSetting>, SettingError> {
    let display_path = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|source| SettingError::UnreadableFile { path: display_path.clone(), source })?;
    let table: toml::Table =
        text.parse().map_err(|source: toml::de::Error| SettingError::InvalidToml {
            path: display_path.clone(),
            // The full error of the parser quotes the line, which can contain a key.
            line: source.span().map_or(0, |span| text[..span.start].lines().count().max(1)),
            message: source.message().to_owned(),
        })?;
    let raw = |(key, value): (String, toml::Value)| {
        let origin = format!("{key} in {display_path}");
        let text = flag_text(&value)
            .ok_or_else(|| SettingError::UnsupportedType { origin: origin.clone() })?;
        Ok((key, RawSetting { text, origin: SettingOrigin::File(origin) }))
    };
    table.into_iter().map(raw).collect()
}

/// A TOML value as the text of the flag. An array becomes `a,b`.
fn flag_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(switch) => Some(switch.to_string()),
        toml::Value::Array(values) => {
            values.iter().map(flag_text).collect::<Option<Vec<_>>>().map(|texts| texts.join(","))
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}
