//! Parsing of `mongodb://` and `mongodb+srv://` URLs.

use std::fmt::{self, Write};

use mongodb::options::{ConnectionString, HostInfo};
use store_support::url::{
    PORT_ADVICE, contains_login_end, has_valid_port, is_setting_name, percent_decoded,
    printable_scheme, query_pairs, split_login,
};

use crate::error::ConfigError;

/// The settings of this crate. All other settings of a URL are the driver's.
const OWN_SETTINGS: [&str; 3] = ["collection", "data_bytes", "deadline_ms"];

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
    if contains_login_end(path, query) {
        return Err(ConfigError::Url { part: "login", usable: ENCODE });
    }
    let (login, hosts) = split_login(authority);
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
        return Err(ConfigError::UnknownKey { key: "…".to_owned() });
    }
    if pairs().any(|(key, _)| key.eq_ignore_ascii_case("socketTimeoutMS")) {
        return Err(ConfigError::Url {
            part: "setting socketTimeoutMS",
            usable: "the driver has no such setting; use deadline_ms, which limits every call",
        });
    }
    let parse_with_driver = |authority: &str, is_included: &dyn Fn(&str) -> bool| {
        let mut url = format!("{scheme}://{authority}/{path}");
        let mut separator = '?';
        let is_drivers = |key: &str| !OWN_SETTINGS.contains(&key) && is_included(key);
        for (key, value) in pairs().filter(|(key, _)| is_drivers(key)) {
            // Writing to a String cannot fail.
            let _ = write!(url, "{separator}{key}={value}");
            separator = '&';
        }
        ConnectionString::parse(&url)
    };
    let driver = parse_with_driver(authority, &|_| true).map_err(|_| {
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

/// Whether the value of a setting may be a secret or depends on the login.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key.contains("password") || key.starts_with("auth")
}

fn decode(text: &str, part: &'static str) -> Result<String, ConfigError> {
    percent_decoded(text)
        .ok_or(ConfigError::Url { part, usable: "it must be UTF-8 after percent-decoding" })
}
