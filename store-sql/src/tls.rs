//! The settings of TLS: a URL that the driver would connect with less security than it asks for is
//! refused.

use store_support::url::percent_decoded;

#[cfg(any(feature = "postgres", feature = "mysql"))]
use crate::error::ConfigError;

/// The settings with the path of a file.
const FILES: [&str; 6] = ["sslrootcert", "sslcert", "sslkey", "ssl-ca", "ssl-cert", "ssl-key"];

/// The value of `sslrootcert` for the authorities of the system.
const SYSTEM: &str = "system";

/// What to use if the URL names an authority.
#[cfg(feature = "postgres")]
const WITH_AUTHORITY: &str = "verify-full, because sslrootcert is set; with another value a server \
                              with another certificate would be accepted";

/// What to use instead of the mode of the driver that checks the chain only.
#[cfg(feature = "postgres")]
const NO_NAME: &str = "verify-full; the driver also trusts the authorities of the system, so without \
                       the check of the name each of their certificates would be accepted";

#[cfg(feature = "mysql")]
const MYSQL_WITH_AUTHORITY: &str = "VERIFY_IDENTITY, because ssl-ca is set; with another value a \
                                    server with another certificate would be accepted";

#[cfg(feature = "mysql")]
const MYSQL_NO_NAME: &str = "VERIFY_IDENTITY; the driver also trusts the authorities of the system, \
                             so without the check of the name each of their certificates would be \
                             accepted";

/// Whether the setting names the authorities of the system, which the driver trusts without a
/// setting.
pub(crate) fn is_system_authorities(key: &str, value: &str) -> bool {
    key == "sslrootcert" && value == SYSTEM
}

/// The settings that name a file, each with its path.
pub(crate) fn files(settings: &[(&str, &str)]) -> Vec<(&'static str, String)> {
    let file = |&(key, value): &(&str, &str)| {
        let name = *FILES.iter().find(|name| **name == key)?;
        let path = percent_decoded(value)?;
        // The value can also contain the certificate itself.
        let is_path = !is_system_authorities(key, value) && !path.trim().starts_with("-----BEGIN");
        is_path.then_some((name, path))
    };
    settings.iter().filter_map(file).collect()
}

/// The options of PostgreSQL, with the strictest mode if the URL names an authority and no mode.
///
/// # Errors
/// [`ConfigError`] if the driver would check less than the settings ask for.
#[cfg(feature = "postgres")]
pub(crate) fn postgres(
    options: sqlx::postgres::PgConnectOptions,
    settings: &[(&str, &str)],
) -> Result<sqlx::postgres::PgConnectOptions, ConfigError> {
    use sqlx::postgres::PgSslMode::{Allow, Disable, Prefer, Require, VerifyCa, VerifyFull};
    let has = |name| settings.iter().any(|(key, _)| *key == name);
    let invalid = |value: &str, usable: &str| {
        Err(ConfigError::Value {
            key: "sslmode",
            value: value.to_owned(),
            usable: usable.to_owned(),
        })
    };
    let has_authority = has("sslrootcert");
    match options.get_ssl_mode() {
        VerifyFull => Ok(options),
        _ if has_authority && !has("sslmode") => Ok(options.ssl_mode(VerifyFull)),
        VerifyCa => invalid("verify-ca", NO_NAME),
        Allow => {
            invalid("allow", "require, prefer or disable; the driver never tries TLS with allow")
        }
        Disable if has_authority => invalid("disable", WITH_AUTHORITY),
        Prefer if has_authority => invalid("prefer", WITH_AUTHORITY),
        Require if has_authority => invalid("require", WITH_AUTHORITY),
        Disable | Prefer | Require => Ok(options),
    }
}

/// The options of MySQL and MariaDB, as [`postgres`].
///
/// # Errors
/// [`ConfigError`] if the driver would check less than the settings ask for.
#[cfg(feature = "mysql")]
pub(crate) fn mysql(
    options: sqlx::mysql::MySqlConnectOptions,
    settings: &[(&str, &str)],
) -> Result<sqlx::mysql::MySqlConnectOptions, ConfigError> {
    use sqlx::mysql::MySqlSslMode::{Disabled, Preferred, Required, VerifyCa, VerifyIdentity};
    let has = |name| settings.iter().any(|(key, _)| *key == name);
    let invalid = |value: &str, usable: &str| {
        Err(ConfigError::Value {
            key: "ssl-mode",
            value: value.to_owned(),
            usable: usable.to_owned(),
        })
    };
    let has_authority = has("ssl-ca");
    match options.get_ssl_mode() {
        VerifyIdentity => Ok(options),
        _ if has_authority && !has("ssl-mode") => Ok(options.ssl_mode(VerifyIdentity)),
        VerifyCa => invalid("VERIFY_CA", MYSQL_NO_NAME),
        Disabled if has_authority => invalid("DISABLED", MYSQL_WITH_AUTHORITY),
        Preferred if has_authority => invalid("PREFERRED", MYSQL_WITH_AUTHORITY),
        Required if has_authority => invalid("REQUIRED", MYSQL_WITH_AUTHORITY),
        Disabled | Preferred | Required => Ok(options),
    }
}
