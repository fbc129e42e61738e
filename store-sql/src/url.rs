//! The URL of a database: its parts, and the driver's options.

use std::fmt::Write;

use sqlx::ConnectOptions;
use store_support::url::{
    PORT_ADVICE, contains_login_end, has_valid_port, percent_decoded, printable_scheme,
    query_pairs, split_login,
};

use crate::{dialect::Dialect, error::ConfigError, foreign, tls};

/// The advice for a login that the driver cannot read.
const ENCODE: &str =
    "each of : / ? # [ ] @ % in user, password and settings must be percent-encoded";

/// The advice for a URL without its two slashes.
const START: &str = "use postgres:// or mysql://, followed by user, password and host";

/// The advice for an empty host.
const HOST: &str = "it is empty; it follows the @, as in app@localhost, or write host=/folder with \
                    the folder of the server's Unix-domain socket";

/// The same for MySQL and MariaDB.
const MYSQL_HOST: &str = "it is empty; it follows the @, as in app@localhost, or write \
                          socket=/path with the server's Unix-domain socket";

/// The advice for a list of hosts.
const ONE_HOST: &str = "it must be one server; name the primary, or a name that always leads to \
                        the primary";

/// The advice for an IPv6 address without brackets.
const BRACKETS: &str = "an IPv6 address needs brackets, as in [::1]:5432";

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

/// How the driver prepares statements on PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preparation {
    /// Once for each connection, under a name.
    Once,
    /// For each call, without a name. The preparation and the call are one transaction, because a
    /// proxy in transaction mode may send each transaction to another connection of the server.
    EachCall,
}

/// A scheme, and what it selects. Two schemes can use one driver with different dialects.
struct Scheme {
    name: &'static str,
    dialect: Dialect,
    driver: DriverKind,
    /// The settings that the driver understands. It ignores others, or writes them to a log.
    settings: &'static [&'static str],
    /// The settings of other clients, each with what to do instead.
    foreign: &'static [(&'static str, &'static str)],
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
        foreign: foreign::POSTGRES,
    },
    #[cfg(feature = "postgres")]
    Scheme {
        name: "postgresql",
        dialect: Dialect::Postgres,
        driver: DriverKind::Postgres,
        settings: POSTGRES,
        foreign: foreign::POSTGRES,
    },
    #[cfg(feature = "mysql")]
    Scheme {
        name: "mysql",
        dialect: Dialect::MySql,
        driver: DriverKind::MySql,
        settings: MYSQL,
        foreign: foreign::MYSQL,
    },
    #[cfg(feature = "mysql")]
    Scheme {
        name: "mariadb",
        dialect: Dialect::MySql,
        driver: DriverKind::MySql,
        settings: MYSQL,
        foreign: foreign::MYSQL,
    },
    #[cfg(feature = "sqlite")]
    Scheme {
        name: "sqlite",
        dialect: Dialect::Sqlite,
        driver: DriverKind::Sqlite,
        settings: &[],
        foreign: &[],
    },
];

/// The setting for the number of statements that the driver keeps prepared on a connection.
const CAPACITY: &str = "statement-cache-capacity";

#[cfg(feature = "postgres")]
const POSTGRES: &[&str] = &[
    "application_name",
    "host",
    "options",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    CAPACITY,
];

#[cfg(feature = "mysql")]
const MYSQL: &[&str] = &["socket", "ssl-ca", "ssl-cert", "ssl-key", "ssl-mode", CAPACITY];

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
    foreign: &'static [(&'static str, &'static str)],
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
        let scheme = printable_scheme(address, ":").to_owned();
        return Err(ConfigError::Scheme { scheme, usable: schemes() });
    };
    let rest = &address[name.len() + 1..];
    let address = rest.strip_prefix("//").unwrap_or(rest);
    if scheme.dialect != Dialect::Sqlite {
        // Programs that hide logins in logs look for the slashes.
        if !rest.starts_with("//") {
            return Err(ConfigError::Url { part: "start", usable: START });
        }
        check_server(scheme.dialect, address, query)?;
    }
    let (driver_settings, settings) =
        query_pairs(query).partition(|(key, _)| scheme.settings.contains(key));
    Ok(Parts {
        dialect: scheme.dialect,
        driver: scheme.driver,
        foreign: scheme.foreign,
        address,
        driver_settings,
        settings,
    })
}

/// The setting that names a Unix-domain socket.
const SOCKETS: [&str; 2] = ["host", "socket"];

/// Checks the form of a server's address before the driver parses it.
fn check_server(dialect: Dialect, address: &str, query: &str) -> Result<(), ConfigError> {
    let invalid = |part, usable| Err(ConfigError::Url { part, usable });
    let (authority, path) = address.split_once('/').unwrap_or((address, ""));
    if contains_login_end(path, query) {
        return invalid("login", ENCODE);
    }
    let (_, host) = split_login(authority);
    let socket = query_pairs(query).find(|(key, _)| SOCKETS.contains(key)).map(|(_, path)| path);
    if host.is_empty() && authority.contains('@') && socket.is_none() {
        return invalid("host", if dialect == Dialect::Postgres { HOST } else { MYSQL_HOST });
    }
    let names_several = |host: &str| host.contains(',') || host.contains("%2C");
    if names_several(host) || socket.is_some_and(names_several) {
        return invalid("host", ONE_HOST);
    }
    let is_ipv6 = |byte: u8| byte.is_ascii_hexdigit() || byte == b':';
    if host.matches(':').count() > 1 && host.bytes().all(is_ipv6) {
        return invalid("host", BRACKETS);
    }
    if has_valid_port(host) { Ok(()) } else { invalid("port", PORT_ADVICE) }
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
        let (authority, path) = self.address.split_once('/').unwrap_or((self.address, ""));
        let slash = if authority.len() < self.address.len() { "/" } else { "" };
        let (_, host) = split_login(authority);
        // A setting names the socket, or the driver finds it. A URL with a login needs a host.
        let shown_host = if host.is_empty() { "localhost" } else { host };
        let server = format!("{shown_host}{slash}{path}");
        let added_host = if host.is_empty() && !authority.is_empty() { shown_host } else { "" };
        let address = format!("{authority}{added_host}{slash}{path}");
        let driver = self.parse(&address).map_err(|_| {
            // The driver's message can quote any part of the URL. So this is the message about the
            // URL without the login.
            match self.parse(&server) {
                Err(error) => ConfigError::Driver { why: error.to_string() },
                Ok(_) => ConfigError::Url { part: "login", usable: ENCODE },
            }
        })?;
        #[cfg(any(feature = "postgres", feature = "mysql"))]
        let settings = &*self.driver_settings;
        let driver = match driver {
            #[cfg(feature = "postgres")]
            Driver::Postgres(options) => {
                Driver::Postgres(Box::new(tls::postgres(*options, settings)?))
            }
            #[cfg(feature = "mysql")]
            Driver::MySql(options) => Driver::MySql(Box::new(tls::mysql(*options, settings)?)),
            #[cfg(feature = "sqlite")]
            Driver::Sqlite(_) => driver,
        };
        Ok((driver, server))
    }

    /// How the driver prepares statements. Without a cache it would give each call a new statement
    /// with a name, and never close it.
    pub(crate) fn preparation(&self) -> Preparation {
        let capacity = self.driver_settings.iter().rfind(|(key, _)| *key == CAPACITY);
        let is_zero = capacity.is_some_and(|(_, value)| value.parse() == Ok(0_usize));
        if is_zero { Preparation::EachCall } else { Preparation::Once }
    }

    /// Whether the URL has a password.
    pub(crate) fn has_password(&self) -> bool {
        let authority = self.address.split('/').next().unwrap_or_default();
        self.dialect != Dialect::Sqlite && split_login(authority).0.contains(':')
    }

    /// The settings that name a file, each with its path.
    pub(crate) fn tls_files(&self) -> Vec<(&'static str, String)> {
        tls::files(&self.driver_settings)
    }

    /// What to do instead of this setting, if it is a setting of another client.
    pub(crate) fn advice(&self, key: &str) -> Option<&'static str> {
        foreign::advice(self.foreign, key)
    }

    fn parse(&self, address: &str) -> Result<Driver, sqlx::Error> {
        let mut rest = address.to_owned();
        let is_drivers = |(key, value): &&(&str, &str)| !tls::is_system_authorities(key, value);
        for (at, (key, value)) in self.driver_settings.iter().filter(is_drivers).enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(rest, "{}{key}={value}", if at == 0 { '?' } else { '&' });
        }
        match self.driver {
            #[cfg(feature = "postgres")]
            DriverKind::Postgres => {
                let mut options: sqlx::postgres::PgConnectOptions =
                    format!("postgres://{rest}").parse()?;
                // The store uses no floating-point numbers, and proxies refuse the setting.
                options = options.extra_float_digits(None);
                if let Some(address) = ipv6_address(options.get_host()) {
                    options = options.host(&address);
                }
                Ok(Driver::Postgres(Box::new(options.disable_statement_logging())))
            }
            #[cfg(feature = "mysql")]
            DriverKind::MySql => {
                let mut options: sqlx::mysql::MySqlConnectOptions =
                    format!("mysql://{rest}").parse()?;
                if let Some(address) = ipv6_address(options.get_host()) {
                    options = options.host(&address);
                }
                Ok(Driver::MySql(Box::new(options.disable_statement_logging())))
            }
            #[cfg(feature = "sqlite")]
            DriverKind::Sqlite => Err(sqlx::Error::InvalidArgument("not a server".to_owned())),
        }
    }
}

/// The IPv6 address without the brackets of the URL. The driver looks up its host as it is, and no
/// name has brackets.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn ipv6_address(host: &str) -> Option<String> {
    host.strip_prefix('[')?.strip_suffix(']').map(str::to_owned)
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
        // The store creates the file itself, once. A removed file must not be created again.
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        // The store itself waits for other writers, and blocks no thread while it does.
        .busy_timeout(Duration::ZERO)
        .disable_statement_logging();
    Ok((Driver::Sqlite(Box::new(options)), path))
}

/// Decodes the percent-encoding.
pub(crate) fn decode(text: &str, part: &'static str) -> Result<String, ConfigError> {
    percent_decoded(text)
        .ok_or(ConfigError::Url { part, usable: "it must be UTF-8 after percent-decoding" })
}
