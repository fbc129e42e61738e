//! The URL of a database: its parts, and the driver's options.

use std::fmt::Write;

use percent_encoding::percent_decode_str;
use sqlx::ConnectOptions;

use crate::{dialect::Dialect, error::ConfigError};

/// The advice for a login that the driver cannot read.
const ENCODE: &str =
    "each of : / ? # [ ] @ % in user, password and settings must be percent-encoded";

/// The advice for a port that is not a number. The text may be a password that lacks the `@` and
/// the host after it.
const PORT: &str =
    "use a number from 1 to 65535; user and password end with an @, and the host follows it";

/// The advice for a URL without its two slashes.
const START: &str = "use postgres:// or mysql://, followed by user, password and host";

/// The options of a driver: where and how it connects.
#[derive(Debug, Clone)]
pub(crate) enum Driver {
    #[cfg(feature = "postgres")]
    Postgres(Box<sqlx::postgres::PgConnectOptions>),
    #[cfg(feature = "mysql")]
    MySql(Box<sqlx::mysql::MySqlConnectOptions>),
    #[cfg(feature = "sqlite")]
    Sqlite(Box<sqlx::sqlite::SqliteConnectOptions>),
}

/// A scheme, and what it selects. Two schemes can use one driver with different dialects.
struct Scheme {
    name: &'static str,
    dialect: Dialect,
    driver: DriverKind,
    /// The settings that the driver understands. It ignores others, or writes them to a log.
    settings: &'static [&'static str],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DriverKind {
    #[cfg(feature = "postgres")]
    Postgres,
    #[cfg(feature = "mysql")]
    MySql,
    #[cfg(feature = "sqlite")]
    Sqlite,
}

const SCHEMES: &[Scheme] = &[
    #[cfg(feature = "postgres")]
    Scheme {
        name: "postgres",
        dialect: Dialect::Postgres,
        driver: DriverKind::Postgres,
        settings: POSTGRES,
    },
    #[cfg(feature = "postgres")]
    Scheme {
        name: "postgresql",
        dialect: Dialect::Postgres,
        driver: DriverKind::Postgres,
        settings: POSTGRES,
    },
    #[cfg(feature = "mysql")]
    Scheme { name: "mysql", dialect: Dialect::MySql, driver: DriverKind::MySql, settings: MYSQL },
    #[cfg(feature = "mysql")]
    Scheme { name: "mariadb", dialect: Dialect::MySql, driver: DriverKind::MySql, settings: MYSQL },
    #[cfg(feature = "sqlite")]
    Scheme { name: "sqlite", dialect: Dialect::Sqlite, driver: DriverKind::Sqlite, settings: &[] },
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

/// The schemes of this build, for error texts.
fn schemes() -> String {
    let schemes: Vec<_> = SCHEMES
        .iter()
        .map(|scheme| match scheme.name {
            "sqlite" => "sqlite:".to_owned(),
            name => format!("{name}://"),
        })
        .collect();
    schemes.join(", ")
}

/// The drivers' settings of this build, for error texts.
pub(crate) fn driver_settings() -> String {
    let mut settings: Vec<_> = SCHEMES.iter().flat_map(|scheme| scheme.settings).copied().collect();
    settings.sort_unstable();
    settings.dedup();
    settings.join(", ")
}

/// The parts of a URL.
pub(crate) struct Parts<'a> {
    pub(crate) dialect: Dialect,
    driver: DriverKind,
    /// What follows the scheme and the slashes, up to the question mark.
    address: &'a str,
    /// The settings of the driver, percent-encoded.
    driver_settings: Vec<(&'a str, &'a str)>,
    /// The other settings, percent-encoded.
    pub(crate) settings: Vec<(&'a str, &'a str)>,
}

/// Splits a URL into its parts.
///
/// # Errors
/// [`ConfigError`] if the scheme is unknown, or the form of the address is wrong.
pub(crate) fn read(url: &str) -> Result<Parts<'_>, ConfigError> {
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let name = address.split(':').next().unwrap_or_default();
    let Some(scheme) =
        SCHEMES.iter().find(|known| known.name == name && address.len() > name.len())
    else {
        return Err(ConfigError::Scheme { scheme: shown(address), usable: schemes() });
    };
    let rest = &address[name.len() + 1..];
    let address = rest.strip_prefix("//").unwrap_or(rest);
    if scheme.dialect != Dialect::Sqlite {
        // Programs that hide logins in logs look for the slashes.
        if !rest.starts_with("//") {
            return Err(ConfigError::Url { part: "start", usable: START });
        }
        check_server(address, query)?;
    }
    let (driver_settings, settings) = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .partition(|(key, _)| scheme.settings.contains(key));
    Ok(Parts { dialect: scheme.dialect, driver: scheme.driver, address, driver_settings, settings })
}

/// Checks the form of a server's address before the driver parses it.
fn check_server(address: &str, query: &str) -> Result<(), ConfigError> {
    let (authority, path) = address.split_once('/').unwrap_or((address, ""));
    // An `@` after the host ends a password that contains a `/` or a `?` without percent-encoding.
    // Everything before it may be secret.
    if path.contains('@') || query.contains('@') {
        return Err(ConfigError::Url { part: "login", usable: ENCODE });
    }
    let host = without_login(authority);
    if host.is_empty() && authority.contains('@') {
        return Err(ConfigError::Url {
            part: "host",
            usable: "it is empty; it follows the @, as in app@localhost",
        });
    }
    // The colons in brackets belong to an IPv6 address.
    let port = host.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
    if port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0)) {
        Ok(())
    } else {
        Err(ConfigError::Url { part: "port", usable: PORT })
    }
}

impl Parts<'_> {
    /// The options of the driver, and the address without the login. The driver does not log
    /// statements, because its log lines would show their text and which ones are slow.
    ///
    /// # Errors
    /// [`ConfigError`] if the driver rejects the URL. The error shows no part of the login.
    pub(crate) fn driver(&self) -> Result<(Driver, String), ConfigError> {
        #[cfg(feature = "sqlite")]
        if self.driver == DriverKind::Sqlite {
            return sqlite(decode(self.address, "path")?);
        }
        let server = match self.address.split_once('/') {
            Some((authority, path)) => format!("{}/{path}", without_login(authority)),
            None => without_login(self.address).to_owned(),
        };
        let driver = self.parse(self.address).map_err(|_| {
            // The driver's message can quote any part of the URL. So this is the message about the
            // URL without the login.
            match self.parse(&server) {
                Err(error) => ConfigError::Driver { why: error.to_string() },
                Ok(_) => ConfigError::Url { part: "login", usable: ENCODE },
            }
        })?;
        Ok((driver, server))
    }

    fn parse(&self, address: &str) -> Result<Driver, sqlx::Error> {
        let mut rest = address.to_owned();
        for (at, (key, value)) in self.driver_settings.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(rest, "{}{key}={value}", if at == 0 { '?' } else { '&' });
        }
        match self.driver {
            #[cfg(feature = "postgres")]
            DriverKind::Postgres => {
                let options: sqlx::postgres::PgConnectOptions =
                    format!("postgres://{rest}").parse()?;
                Ok(Driver::Postgres(Box::new(options.disable_statement_logging())))
            }
            #[cfg(feature = "mysql")]
            DriverKind::MySql => {
                let options: sqlx::mysql::MySqlConnectOptions =
                    format!("mysql://{rest}").parse()?;
                Ok(Driver::MySql(Box::new(options.disable_statement_logging())))
            }
            #[cfg(feature = "sqlite")]
            DriverKind::Sqlite => Err(sqlx::Error::InvalidArgument("not a server".to_owned())),
        }
    }
}

/// The options for an SQLite file, and its path.
#[cfg(feature = "sqlite")]
fn sqlite(path: String) -> Result<(Driver, String), ConfigError> {
    use std::time::Duration;

    use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
    if path.is_empty() || path == ":memory:" {
        return Err(ConfigError::Url {
            part: "path",
            usable: "name a file, as in sqlite:sessions.db; for sessions in memory use the store \
                     memory:",
        });
    }
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        // The store itself waits for other writers, and blocks no thread while it does.
        .busy_timeout(Duration::ZERO)
        .disable_statement_logging();
    Ok((Driver::Sqlite(Box::new(options)), path))
}

/// Decodes the percent-encoding.
pub(crate) fn decode(text: &str, part: &'static str) -> Result<String, ConfigError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(Into::into)
        .map_err(|_| ConfigError::Url { part, usable: "it must be UTF-8 after percent-decoding" })
}

/// The host and port of an authority.
fn without_login(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// The scheme of a URL, empty if it has none. A scheme consists of letters, digits, `+`, `-` and
/// `.` (RFC 3986), so this shows nothing else.
fn shown(url: &str) -> String {
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let scheme = url.split_once(':').map(|(scheme, _)| scheme);
    scheme.filter(|scheme| scheme.bytes().all(named)).unwrap_or_default().to_owned()
}
