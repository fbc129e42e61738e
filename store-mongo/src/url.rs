//! Parsing of `mongodb://` and `mongodb+srv://` URLs.

use std::fmt::{self, Write};

use mongodb::options::{ConnectionString, HostInfo};
use store_support::url::{
    PORT_ADVICE, contains_login_end, has_valid_port, is_setting_name, percent_decoded,
    printable_scheme, query_pairs, split_login,
};

use crate::{error::ConfigError, foreign};

/// The settings of this crate. All other settings of a URL are the driver's.
const OWN_SETTINGS: [&str; 4] = ["collection", "data_bytes", "deadline_ms", "password_file"];

/// Advice for a URL whose login the driver cannot parse.
const ENCODE: &str = "in user, password and settings, the characters : / ? # [ ] @ % must be \
                      percent-encoded, and authMechanism must fit the login";

/// The parts of a URL.
pub(crate) struct ParsedUrl {
    /// What the driver reads from the URL.
    pub(crate) driver: ConnectionString,
    /// The database of the login: `authSource`, or else the database of the URL.
    pub(crate) login_source: Option<String>,
    pub(crate) database: Option<String>,
    /// Names and values of the settings of this crate.
    pub(crate) settings: Vec<(String, String)>,
}

/// The servers that a URL names. `Display` shows them without the login.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Servers(pub(crate) HostInfo);

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            HostInfo::HostIdentifiers(hosts) => {
                let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
                f.write_str(&hosts.join(","))
            }
            HostInfo::DnsRecord(name) => f.write_str(name),
            _ => f.write_str("a server"),
        }
    }
}

/// Parses a URL and its settings.
pub(crate) fn parse(url: &str) -> Result<ParsedUrl, ConfigError> {
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let Some((scheme @ ("mongodb" | "mongodb+srv"), rest)) = address.split_once("://") else {
        return Err(ConfigError::Scheme { scheme: printable_scheme(address, "://").to_owned() });
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = split_login(authority);
    let has_login_end = if login.is_empty() {
        contains_login_end(path, query)
    } else {
        path.contains('@')
            || query_pairs(query).any(|(key, value)| {
                (key.contains('@') || value.contains('@')) && !is_account(key, value)
            })
    };
    if has_login_end {
        return Err(ConfigError::Url { part: "login", usable: ENCODE });
    }
    // The driver slices two bytes after a percent sign. It panics if they are not on a character
    // boundary, and the panic message contains the password.
    let is_code = |code: &str| {
        let digits = code.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !login.split('%').skip(1).all(is_code) {
        return Err(ConfigError::Url { part: "login", usable: ENCODE });
    }
    if !hosts.split(',').all(has_valid_port) {
        return Err(ConfigError::Url { part: "port", usable: PORT_ADVICE });
    }
    let database = decode(path, "database")?;
    let pairs = || query_pairs(query);
    if pairs().any(|(key, _)| !is_setting_name(key, "_")) {
        return Err(ConfigError::unknown("…".to_owned()));
    }
    pairs().try_for_each(|(key, value)| check_setting(key, value))?;
    // Some ways to log in need a password, which the store reads from the file later.
    let has_password_file = pairs().any(|(key, _)| key == "password_file");
    let authority = if has_password_file && !login.is_empty() && !login.contains(':') {
        format!("{login}:@{hosts}")
    } else {
        authority.to_owned()
    };
    let parse_with_driver = |authority: &str, is_included: &dyn Fn(&str) -> bool| {
        let mut url = format!("{scheme}://{authority}/{path}");
        let mut separator = '?';
        let is_drivers = |key: &str| {
            !OWN_SETTINGS.contains(&key)
                && !foreign::is_ignored(key)
                && foreign::unsafe_setting(key).is_none()
                && is_included(key)
        };
        for (key, value) in pairs().filter(|(key, _)| is_drivers(key)) {
            // Writing to a String cannot fail.
            let _ = write!(url, "{separator}{key}={}", value.replace('@', "%40"));
            separator = '&';
        }
        ConnectionString::parse(&url)
    };
    let driver = parse_with_driver(&authority, &|_| true).map_err(|_| {
        // The driver's message can quote any part of the URL, so the URL is parsed again without
        // secrets.
        let error = parse_with_driver(hosts, &|key| !is_secret(key)).err();
        match error.map(|error| error.kind.to_string()) {
            Some(why) => ConfigError::Driver { why },
            None => ConfigError::Url { part: "login", usable: ENCODE },
        }
    })?;
    // The driver drops `authSource` if the URL has no user, but `Config::login` can name the user.
    let auth_source = pairs()
        .find(|(key, _)| key.eq_ignore_ascii_case("authSource"))
        .map(|(_, source)| decode(source, "authSource"))
        .transpose()?;
    let database = Some(database).filter(|name| !name.is_empty());
    let settings = pairs()
        .filter(|(key, _)| OWN_SETTINGS.contains(key))
        .map(|(key, value)| Ok((key.to_owned(), decode(value, "settings")?)))
        .collect::<Result<_, ConfigError>>()?;
    Ok(ParsedUrl {
        driver,
        login_source: auth_source.or_else(|| database.clone()),
        database,
        settings,
    })
}

/// Whether this is the name of an account as Azure writes it: `appName=@account@`.
fn is_account(key: &str, value: &str) -> bool {
    let name = value.strip_prefix('@').and_then(|value| value.strip_suffix('@'));
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    key.eq_ignore_ascii_case("appName")
        && name.is_some_and(|name| !name.is_empty() && name.bytes().all(is_allowed))
}

/// Rejects a setting that the driver does not have, that this build lacks, or that is not safe.
/// The error shows only names and values that are in a table.
fn check_setting(key: &str, value: &str) -> Result<(), ConfigError> {
    if let Some(usable) = foreign::advice(key) {
        return Err(ConfigError::UnknownKey { key: key.to_owned(), usable: usable.to_owned() });
    }
    if let Some(part) = foreign::unsafe_setting(key)
        && value != "false"
    {
        return Err(ConfigError::Url { part, usable: foreign::CHECKED });
    }
    if key.eq_ignore_ascii_case("authMechanism") && !foreign::MECHANISMS.contains(&value) {
        let usable = foreign::OTHER_MECHANISM;
        return Err(ConfigError::Url { part: "setting authMechanism", usable });
    }
    Ok(())
}

/// Whether the value of a setting may be a secret or depends on the login.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key.contains("password") || key.starts_with("auth")
}

fn decode(text: &str, part: &'static str) -> Result<String, ConfigError> {
    percent_decoded(text)
        .ok_or(ConfigError::Url { part, usable: "it must be UTF-8 after percent-decoding" })
}
