//! Reading a URL.

use std::fmt::Write;

use mongodb::options::ConnectionString;
use percent_encoding::percent_decode_str;

use crate::{config::Config, error::ConfigError};

/// Which settings of a URL are this crate's own; all others are the driver's.
const OWN: [&str; 3] = ["collection", "data_bytes", "deadline_ms"];

/// What helps if the driver cannot make sense of user, password or what they depend on.
const ENCODE: &str = "in user, password and settings, each of : / ? # [ ] @ % has to be percent-encoded, and authMechanism has to be one \
                      that goes with them";

/// What helps if there is no number where a port should be. That may be a password without the `@`
/// and the host after it.
const PORT: &str =
    "it is a number from 1 to 65535; user and password end with an @, and the host follows it";

/// Reads a URL and its settings.
pub(crate) fn read(url: &str) -> Result<Config, ConfigError> {
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let Some((scheme @ ("mongodb" | "mongodb+srv"), rest)) = address.split_once("://") else {
        return Err(ConfigError::Scheme { scheme: shown(address) });
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    // An `@` behind the host ends a password that holds a `/` or a `?` which nobody encoded: all in
    // front of it may be secret.
    if path.contains('@') || query.contains('@') {
        return Err(ConfigError::Url { part: "login", usable: ENCODE });
    }
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    // The driver looks at two bytes behind a percent sign, and panics where they are half a
    // character, with the password in its words.
    if !login.split('%').skip(1).all(|code| matches!(code.as_bytes(), [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())) {
        return Err(ConfigError::Url { part: "login", usable: ENCODE });
    }
    if !hosts.split(',').all(has_port_or_none) {
        return Err(ConfigError::Url { part: "port", usable: PORT });
    }
    let database = decoded(path, "database")?;
    let pairs = || {
        query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    };
    if pairs().any(|(key, _)| !looks_like_one(key)) {
        return Err(ConfigError::UnknownKey { key: "…".to_owned() });
    }
    if pairs().any(|(key, _)| key.eq_ignore_ascii_case("socketTimeoutMS")) {
        return Err(ConfigError::Url {
            part: "setting socketTimeoutMS",
            usable: "the driver has none; deadline_ms bounds every call",
        });
    }
    let parse = |authority: &str, counts: &dyn Fn(&str) -> bool| {
        let mut url = format!("{scheme}://{authority}/{path}");
        let mut separator = '?';
        for (key, value) in pairs().filter(|(key, _)| !OWN.contains(key) && counts(key)) {
            // Writing to a String cannot fail.
            let _ = write!(url, "{separator}{key}={value}");
            separator = '&';
        }
        ConnectionString::parse(&url)
    };
    let parsed = parse(authority, &|_| true).map_err(|_| {
        // The driver's words can quote any part of a URL, so they are those on one without secrets.
        let why = parse(hosts, &|key| !is_secret(key)).err().map(|error| error.kind.to_string());
        why.map_or(ConfigError::Url { part: "login", usable: ENCODE }, |why| ConfigError::Driver {
            why,
        })
    })?;
    let mut config = Config::at(parsed);
    // The driver forgets it if the URL has no user, who may be given otherwise.
    let source = pairs()
        .find(|(key, _)| key.eq_ignore_ascii_case("authSource"))
        .map(|(_, source)| decoded(source, "authSource"));
    config.login_source =
        source.transpose()?.or_else(|| Some(database.clone()).filter(|name| !name.is_empty()));
    if !database.is_empty() {
        config.database = database.into();
    }
    for (key, value) in pairs().filter(|(key, _)| OWN.contains(key)) {
        config.set(key, &decoded(value, "settings")?)?;
    }
    config.check()?;
    Ok(config)
}

/// Whether a setting's value may be a secret, or depends on the login.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key.contains("password") || key.starts_with("auth")
}

/// Whether what follows a host is a port, or nothing does.
fn has_port_or_none(host: &str) -> bool {
    // The colons in brackets are an IPv6 address's.
    let port = host.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
    port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn decoded(text: &str, part: &'static str) -> Result<String, ConfigError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(Into::into)
        .map_err(|_| ConfigError::Url { part, usable: "after percent-decoding it must be UTF-8" })
}

/// Whether a text looks like the name of a setting, so that it can be shown.
pub(crate) fn looks_like_one(key: &str) -> bool {
    (1..=40).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_')
}

/// The scheme of a URL, empty if it has none: letters, digits, `+`, `-` and `.` (RFC 3986), so that
/// nothing else is ever shown.
fn shown(url: &str) -> String {
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    scheme.filter(|scheme| scheme.bytes().all(named)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_url_sets_what_it_names_and_leaves_the_rest() {
        let config = read("mongodb://app:p%40ss@a:1,b/shop?replicaSet=rs&collection=carts&deadline_ms=600&maxPoolSize=3").unwrap();
        assert_eq!((&*config.database, &*config.collection), ("shop", "carts"));
        assert_eq!(config.deadline, Duration::from_millis(600));
        assert_eq!(
            (config.driver.replica_set.as_deref(), config.driver.max_pool_size),
            (Some("rs"), Some(3))
        );
        assert_eq!(config.servers().to_string(), "a:1,b:27017");
        for url in [
            "mongodb://host",
            "mongodb://host/",
            "mongodb://[::1]",
            "mongodb://[::1]:1,host:65535/",
            "mongodb://host?deadline_ms=2000",
            "mongodb://host/?retryWrites=true",
        ] {
            let config = read(url).unwrap();
            assert_eq!((&*config.database, &*config.collection), ("sessions", "sessions"), "{url}");
        }
    }

    #[test]
    fn a_bad_url_says_what_would_do() {
        for (url, said) in [
            ("mongo://host", "mongodb://"),
            ("mongodb://", "Mongo"),
            ("mongodb://[::1]:port/", "65535"),
            ("mongodb://host:0/", "65535"),
            ("mongodb://host/a.b", "database"),
            ("mongodb://host/?collection=a$b", "collection"),
            ("mongodb://host/?collection=system.users", "collection"),
            ("mongodb://host/?deadline_ms=0", "deadline_ms"),
            ("mongodb://host/?deadline_ms=soon", "soon"),
            ("mongodb://host/?w=0", "w=0"),
            ("mongodb://host/?socketTimeoutMS=100", "deadline_ms"),
            ("mongodb://host/?maxPoolSize=0", "maxPoolSize"),
            ("mongodb://host/?readPreference=secondary", "primary"),
            ("mongodb://host/?prefix=a", "prefix"),
            ("mongodb://host/%ff", "database"),
            ("mongodb://app:secret@host/?nonsense=1", "nonsense"),
            ("mongodb://app:secret@host:port/", "port"),
            ("mongodb://app:se/cret@host/", "percent-encoded"),
            ("mongodb://app:se%cret@host/", "percent-encoded"),
        ] {
            let error = read(url).unwrap_err().to_string();
            assert!(error.contains(said), "{url}: {error}");
        }
    }

    #[test]
    fn c45_no_error_quotes_a_password() {
        for url in [
            "mongodb://app:hun?ter2@host/db",
            "mongodb://app:hun/ter2@host/db",
            "mongodb://app:hun@ter2@host/db",
            "mongodb://app:hun:ter2@host/db",
            "mongodb://app:hun%ter2@host/db?x=1",
            "mongodb://app:hunter2@host:port/db",
            "mongodb://app:hun%8ȕter2@host/db",
            "mongodb://app%ü:hunter2@host/db",
            "mongodb://app:hunter2",
            "mongodb://app:hunter2,host/db",
            "mongodb://app:hun?a=hun@host/db",
            "mongodb://app:1?deadline_ms=hunter2@host/shop",
            "mongodb://app:1?collection=hunter2$@host/shop",
            "mongodb://host/?authMechanismProperties=hunter2",
            "mongodb://host/?tlsCertificateKeyFilePassword=hunter2&w=-1",
            "mongodb://app:hunter2@host/db?authMechanism=ter2",
            "mongo://app:hunter2@host",
        ] {
            if let Err(error) = read(url) {
                let shown = format!("{error} {error:?}");
                assert!(!shown.contains("ter2") && !shown.contains("hun"), "{url}: {shown}");
            }
        }
    }
}
