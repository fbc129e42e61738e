//! Settings that do not fit.

use std::io;

/// A setting cannot be used: which one, what came, what would do. Secrets are never quoted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingError {
    #[error("cannot read the configuration file {path}")]
    Unreadable { path: String, source: io::Error },
    #[error("the configuration file {path} is not TOML, line {line}: {message}")]
    NotToml { path: String, line: usize, message: String },
    #[error(
        "{origin}: there is no setting {key:?}; `demo-server --help` lists them, with '_' for '-' in a file"
    )]
    UnknownKey { key: String, origin: String },
    #[error("{origin}: a setting is a text, a whole number, true or false, or a list of texts")]
    Nested { origin: String },
    #[error("{origin}: {value:?} does not do: {why}")]
    Value { origin: String, value: String, why: String },
    #[error("{origin}: {why}")]
    Secret { origin: String, why: String },
    #[error("{why}")]
    Together { why: String },
}
