//! Parsing of `mongodb://` and `mongodb+srv://` URLs.

use std::fmt::{self, Write};

use mongodb::options::{ConnectionString, HostInfo};
use percent_encoding::percent_decode_str;

use crate::error::ConfigError;

/// The settings of this crate. All other settings of a URL are the driver's.
const OWN_SETTINGS: [&str; 3] = ["collection", "data_bytes", "deadline_ms"];

/// Advice for a URL whose login the driver cannot parse.
const ENCODE: &str = "in user, password and settings, the characters : / ? # [ ] @ % must be \
                      percent-encoded, and authMechanism must fit the login";

/// Advice for a port that is not a number. The text may be a password without the `@` and the host
/// after it.
const PORT: &str = "use a number from 1 to 65535; user and password end with an @, and the host \
                    follows it";

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
        return Err(ConfigError::Scheme { scheme: printable_scheme(address) });
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    // An `@` after the host ends a password that contains an unencoded `/` or `?`. All text before
    // it may be secret.
    if path.contains('@') || query.contains('@') {
        return Err(ConfigError::Url { part: "login", usable: ENCODE });
    }
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
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
        return Err(ConfigError::Url { part: "port", usable: PORT });
    }
    let database = decode(path, "database")?;
    let pairs = || {
        query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    };
    if pairs().any(|(key, _)| !is_printable_name(key)) {
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

/// Whether a host has a valid port or no port.
fn has_valid_port(host: &str) -> bool {
    // Colons inside brackets belong to an IPv6 address.
    let port = host.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
    port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn decode(text: &str, part: &'static str) -> Result<String, ConfigError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(Into::into)
        .map_err(|_| ConfigError::Url { part, usable: "it must be UTF-8 after percent-decoding" })
}

/// Whether a text looks like the name of a setting. Other text may be a part of a password, so
/// errors do not show it.
pub(crate) fn is_printable_name(key: &str) -> bool {
    (1..=40).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_')
}

/// The scheme of a URL. Empty if the URL has none, or if the scheme has other characters than
/// letters, digits, `+`, `-` and `.` (RFC 3986), because it may be a part of a password.
fn printable_scheme(url: &str) -> String {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    scheme.filter(|scheme| scheme.bytes().all(is_allowed)).unwrap_or_default().to_owned()
}
