//! From a URL to settings.

use std::fmt::Write;

use percent_encoding::percent_decode_str;

use crate::{config::Config, dialect::Dialect, error::ConfigError};

/// The settings of the crate that a URL may have.
const OWN: [&str; 6] =
    ["connections", "data_bytes", "deadline_ms", "migrate", "synchronous", "table"];

/// What helps if the driver cannot make sense of user and password.
const ENCODE: &str =
    "in user, password and settings, each of : / ? # [ ] @ % has to be percent-encoded";

/// What helps if there is no number where a port should be. That may be a password without the `@`
/// and the host after it.
const PORT: &str =
    "it is a number from 1 to 65535; user and password end with an @, and the host follows it";

/// What helps if the two slashes are missing.
const BEGIN: &str = "it is postgres:// or mysql://, and user, password and host follow";

/// Where the driver connects to.
#[derive(Debug, Clone)]
pub(crate) enum Driver {
    #[cfg(feature = "postgres")]
    Postgres(Box<sqlx::postgres::PgConnectOptions>),
    #[cfg(feature = "mysql")]
    MySql(Box<sqlx::mysql::MySqlConnectOptions>),
    #[cfg(feature = "sqlite")]
    Sqlite(Box<sqlx::sqlite::SqliteConnectOptions>),
}

impl Driver {
    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Dialect::Postgres,
            #[cfg(feature = "mysql")]
            Self::MySql(_) => Dialect::MySql,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => Dialect::Sqlite,
        }
    }
}

/// Its scheme, and the settings that go on to the driver. That ignores those which it does not
/// know, or writes them into a log.
const DRIVERS: &[(&str, Dialect, &[&str])] = &[
    #[cfg(feature = "postgres")]
    ("postgres", Dialect::Postgres, POSTGRES),
    #[cfg(feature = "postgres")]
    ("postgresql", Dialect::Postgres, POSTGRES),
    #[cfg(feature = "mysql")]
    ("mysql", Dialect::MySql, MYSQL),
    #[cfg(feature = "mysql")]
    ("mariadb", Dialect::MySql, MYSQL),
    #[cfg(feature = "sqlite")]
    ("sqlite", Dialect::Sqlite, &[]),
];

#[cfg(feature = "postgres")]
const POSTGRES: &[&str] = &[
    "application_name",
    "host",
    "options",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
];

#[cfg(feature = "mysql")]
const MYSQL: &[&str] =
    &["socket", "ssl-ca", "ssl-cert", "ssl-key", "ssl-mode", "statement-cache-capacity"];

/// The schemes of this build, for people.
pub(crate) fn schemes() -> String {
    let schemes: Vec<_> = DRIVERS
        .iter()
        .map(
            |(scheme, ..)| {
                if *scheme == "sqlite" { "sqlite:".into() } else { format!("{scheme}://") }
            },
        )
        .collect();
    schemes.join(", ")
}

/// The driver's settings of this build, for people.
pub(crate) fn driver_settings() -> String {
    let mut settings: Vec<_> =
        DRIVERS.iter().flat_map(|(_, _, settings)| *settings).copied().collect();
    settings.sort_unstable();
    settings.dedup();
    settings.join(", ")
}

/// Reads a URL and its settings.
pub(crate) fn read(url: &str) -> Result<Config, ConfigError> {
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let scheme = address.split(':').next().unwrap_or_default();
    let Some((_, dialect, settings)) =
        DRIVERS.iter().find(|(known, ..)| *known == scheme && address.len() > scheme.len())
    else {
        return Err(ConfigError::Scheme { scheme: shown(address) });
    };
    let pairs = || {
        query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    };
    // An `@` behind the host ends a password that holds a `/` or a `?` which nobody encoded: all in
    // front of it may be secret.
    let rest = &address[scheme.len() + 1..];
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    if *dialect != Dialect::Sqlite {
        // What hides logins from people looks for the slashes.
        if !address[scheme.len() + 1..].starts_with("//") {
            return Err(ConfigError::Url { part: "begin", usable: BEGIN });
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if path.contains('@') || query.contains('@') {
            return Err(ConfigError::Url { part: "login", usable: ENCODE });
        }
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if host.is_empty() && authority.contains('@') {
            return Err(ConfigError::Url {
                part: "host",
                usable: "it is empty; it follows the @, as in app@localhost",
            });
        }
        if !has_port_or_none(host) {
            return Err(ConfigError::Url { part: "port", usable: PORT });
        }
    }
    if let Some((key, _)) = pairs().find(|(key, _)| !OWN.contains(key) && !settings.contains(key)) {
        return Err(unknown(key));
    }
    let mut config = match dialect {
        #[cfg(feature = "sqlite")]
        Dialect::Sqlite => crate::config::sqlite(&decoded(rest, "path")?)?,
        _ => {
            let (driver, server) =
                of_server(*dialect, rest, pairs().filter(|(key, _)| settings.contains(key)))?;
            Config::at(driver, server)
        }
    };
    for (key, value) in pairs().filter(|(key, _)| OWN.contains(key)) {
        config.set(key, &decoded(value, "settings")?)?;
    }
    config.check()?;
    Ok(config)
}

/// What the driver makes of a server's address, and what people may see of that.
fn of_server<'a>(
    dialect: Dialect,
    rest: &str,
    settings: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(Driver, String), ConfigError> {
    let mut query = String::new();
    for (key, value) in settings {
        // Writing to a String cannot fail.
        let _ = write!(query, "{}{key}={value}", if query.is_empty() { '?' } else { '&' });
    }
    let parse = |rest: &str| -> Result<Driver, sqlx::Error> {
        match dialect {
            #[cfg(feature = "postgres")]
            Dialect::Postgres => {
                Ok(Driver::Postgres(Box::new(format!("postgres://{rest}{query}").parse()?)))
            }
            #[cfg(feature = "mysql")]
            Dialect::MySql => {
                Ok(Driver::MySql(Box::new(format!("mysql://{rest}{query}").parse()?)))
            }
            _ => Err(sqlx::Error::InvalidArgument(rest.len().to_string())),
        }
    };
    let without_login = match rest.split_once('/') {
        Some((authority, path)) => {
            format!("{}/{path}", authority.rsplit_once('@').map_or(authority, |(_, host)| host))
        }
        None => rest.rsplit_once('@').map_or(rest, |(_, host)| host).to_owned(),
    };
    let driver = parse(rest).map_err(|_| {
        // The driver's words can quote any part of a URL, so they are those on one without a login.
        let why = parse(&without_login).err().map(|error| error.to_string());
        why.map_or(ConfigError::Url { part: "login", usable: ENCODE }, |why| ConfigError::Driver {
            why,
        })
    })?;
    Ok((driver, without_login))
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

/// That there is no such setting.
pub(crate) fn unknown(key: &str) -> ConfigError {
    let looks_like_one = (1..=40).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-'));
    ConfigError::UnknownKey { key: if looks_like_one { key.to_owned() } else { "…".to_owned() } }
}

/// The scheme of a URL, empty if it has none: letters, digits, `+`, `-` and `.` (RFC 3986), so that
/// nothing else is ever shown.
fn shown(url: &str) -> String {
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let scheme = url.split_once(':').map(|(scheme, _)| scheme);
    scheme.filter(|scheme| scheme.bytes().all(named)).unwrap_or_default().to_owned()
}

#[cfg(test)]
#[cfg(all(feature = "postgres", feature = "mysql", feature = "sqlite"))]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_url_sets_what_it_names_and_leaves_the_rest() {
        let config = read("postgres://app:p%40ss@db:5433/shop?sslmode=require&table=carts&deadline_ms=600&connections=3").unwrap();
        assert_eq!(
            (&*config.table, config.connections, config.deadline),
            ("carts", 3, Duration::from_millis(600))
        );
        assert_eq!(config.server, "db:5433/shop");
        let Driver::Postgres(options) = &config.driver else { panic!("{config:?}") };
        assert_eq!(
            (options.get_host(), options.get_port(), options.get_username()),
            ("db", 5433, "app")
        );
        for (url, dialect) in [
            ("postgresql://[::1]/", Dialect::Postgres),
            ("mysql://app@host/db", Dialect::MySql),
            ("mariadb://app@host:3307/db?ssl-mode=DISABLED", Dialect::MySql),
            ("sqlite:sessions.db", Dialect::Sqlite),
            ("sqlite:///var/lib/app/sessions.db?synchronous=normal", Dialect::Sqlite),
        ] {
            let config = read(url).unwrap();
            assert_eq!((config.driver.dialect(), &*config.table), (dialect, "sessions"), "{url}");
        }
    }

    #[test]
    fn a_bad_url_says_what_would_do() {
        for (url, said) in [
            ("postgre://host", "postgres://"),
            ("postgres", "postgres://"),
            ("postgres:app@host/shop", "postgres://"),
            ("mysql:/app@host/shop", "mysql://"),
            ("postgres://app@/shop", "empty"),
            ("postgres://host:port/", "65535"),
            ("postgres://host/?table=a-b", "letters"),
            ("postgres://host/?table=", "letters"),
            ("postgres://host/?deadline_ms=0", "deadline_ms"),
            ("postgres://host/?deadline_ms=soon", "soon"),
            ("postgres://host/?connections=0", "connections"),
            ("postgres://host/?migrate=maybe", "maybe"),
            ("postgres://host/?data_bytes=99999999", "1048576"),
            ("postgres://host/?collection=a", "collection"),
            ("postgres://host/?synchronous=normal", "SQLite"),
            ("postgres://host/?sslmode=sometimes", "sometimes"),
            ("mysql://host/?sslmode=require", "sslmode"),
            ("sqlite:", "file"),
            ("sqlite::memory:", "memory:"),
            ("sqlite:a.db?synchronous=off", "normal"),
            ("sqlite:a.db?mode=memory", "mode"),
            ("postgres://app:se/cret@host/", "percent-encoded"),
        ] {
            let error = read(url).unwrap_err().to_string();
            assert!(error.contains(said), "{url}: {error}");
        }
    }

    #[test]
    fn c45_no_error_quotes_a_password() {
        for url in [
            "postgres://app:hun?ter2@host/db",
            "postgres://app:hun/ter2@host/db",
            "mysql://app:hun@ter2@host:x/db",
            "postgres://app:hun:ter2@host/db?sslmode=no",
            "mysql://app:hun%ter2@host/db?ssl-mode=x",
            "postgres://app:hunter2",
            "mysql://app:hunter2",
            "postgres://app:1?deadline_ms=hunter2@host/shop",
            "postgres://host/?password=hunter2",
            "postgres://host/?hunter2",
            "gopher://app:hunter2@host",
        ] {
            if let Err(error) = read(url) {
                let shown = format!("{error} {error:?}");
                assert!(!shown.contains("ter2") || url.ends_with("?hunter2"), "{url}: {shown}");
            }
        }
    }
}
