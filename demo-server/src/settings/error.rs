//! [`SettingError`]: a setting that is not valid.

use std::io;

/// A setting is not valid. The text has the setting's origin, its value, and what to use instead.
/// It never has the value of a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingError {
    #[error("cannot read the configuration file {path}")]
    UnreadableFile { path: String, source: io::Error },
    #[error("the configuration file {path} is not valid TOML: line {line}: {message}")]
    InvalidToml { path: String, line: usize, message: String },
    #[error(
        "{origin}: unknown setting {key:?}; `demo-server --help` lists the settings; a file has \
         `_` in place of `-`"
    )]
    UnknownKey { key: String, origin: String },
    #[error(
        "{origin}: this type of value is not valid: use a string, an integer, a boolean, or an \
         array of strings"
    )]
    UnsupportedType { origin: String },
    #[error("{origin}: {value:?} is not valid: {reason}")]
    InvalidValue { origin: String, value: String, reason: String },
    /// The value can contain a secret, so the text omits it.
    #[error("{origin}: {reason}")]
    InvalidSecret { origin: String, reason: String },
    /// A combination of settings, or a setting without a value.
    #[error("{reason}")]
    Invalid { reason: String },
}
