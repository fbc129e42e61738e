//! The settings of a store.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Deserialize;
use session_core::Limits;

use crate::{
    error::ConfigError,
    url::{self, Driver},
};

/// The settings of an [`SqlStore`](crate::SqlStore), from code, a URL or a configuration file.
///
/// The URL's scheme picks the database: `postgres://user:password@host:5432/database`, `mysql://…`
/// or `mariadb://…`, `sqlite:sessions.db` or `sqlite:///var/lib/app/sessions.db`. It may have
/// settings of the driver (TLS: `sslmode`, `sslrootcert`; for MySQL `ssl-mode`, `ssl-ca`; and so
/// on) and `table`, `connections`, `deadline_ms`, `data_bytes`, `migrate` and, for SQLite,
/// `synchronous`, named like the methods here; in a file these stand beside `url`.
///
/// # Examples
/// ```
/// # use std::time::Duration;
/// # use store_sql::Config;
/// let config = Config::new("sqlite:sessions.db?table=carts")?.deadline(Duration::from_millis(500));
/// # Ok::<(), store_sql::ConfigError>(())
/// ```
#[derive(Clone, Deserialize)]
#[serde(try_from = "File")]
pub struct Config {
    /// What the URL says to the driver.
    pub(crate) driver: Driver,
    /// Where that is, without the login.
    pub(crate) server: String,
    pub(crate) table: Box<str>,
    pub(crate) connections: usize,
    pub(crate) deadline: Duration,
    pub(crate) limits: Limits,
    pub(crate) migrate: bool,
}

impl Config {
    /// Reads a URL with its settings. Nothing is looked up or opened.
    ///
    /// # Errors
    /// [`ConfigError`] if the URL is none of a database, a setting is unknown, or a value is out of
    /// range. It shows no password.
    pub fn new(url: &str) -> Result<Self, ConfigError> {
        url::read(url)
    }

    pub(crate) fn at(driver: Driver, server: String) -> Self {
        Self {
            driver: quiet(driver),
            server,
            table: "sessions".into(),
            connections: 8,
            deadline: Duration::from_secs(2),
            limits: Limits::default(),
            migrate: true,
        }
    }

    /// The user and password, in place of those in the URL. SQLite has neither.
    #[must_use]
    pub fn login(mut self, user: &str, password: &str) -> Self {
        match &mut self.driver {
            #[cfg(feature = "postgres")]
            Driver::Postgres(options) => {
                **options = (**options).clone().username(user).password(password)
            }
            #[cfg(feature = "mysql")]
            Driver::MySql(options) => {
                **options = (**options).clone().username(user).password(password)
            }
            #[cfg(feature = "sqlite")]
            Driver::Sqlite(_) => {
                let _ = (user, password);
            }
        }
        self
    }

    /// The table: the application's namespace. `sessions` by default.
    #[must_use]
    pub fn table(mut self, name: &str) -> Self {
        self.table = name.into();
        self
    }

    /// The most connections that each tokio runtime of this process opens. 8 by default.
    #[must_use]
    pub fn connections(mut self, most: usize) -> Self {
        self.connections = most;
        self
    }

    /// How long a call may take, waiting for a connection included; then it is
    /// [`StoreError::Timeout`](session_core::StoreError::Timeout). 2 s by default. For a free
    /// connection alone it waits half of that.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The caps on a record. 64 KiB of data by default.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Whether the store creates the table if it is missing. It does by default. Without it the
    /// table has to exist, created with the SQL of [`Dialect::schema`](crate::Dialect::schema).
    #[must_use]
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// How long a call waits for a free connection.
    pub(crate) fn wait(&self) -> Duration {
        self.deadline / 2
    }

    /// Sets what a URL or a file names.
    pub(crate) fn set(&mut self, key: &str, text: &str) -> Result<(), ConfigError> {
        match key {
            "table" => self.table = text.into(),
            "connections" => self.connections = number("connections", text)?,
            "deadline_ms" => self.deadline = Duration::from_millis(number("deadline_ms", text)?),
            "data_bytes" => self.limits.data_bytes = number("data_bytes", text)?,
            "migrate" => {
                self.migrate = text.parse().map_err(|_| value("migrate", text, "true or false"))?
            }
            "synchronous" => self.set_synchronous(text)?,
            _ => return Err(url::unknown(key)),
        }
        Ok(())
    }

    fn set_synchronous(&mut self, text: &str) -> Result<(), ConfigError> {
        #[cfg(feature = "sqlite")]
        #[allow(irrefutable_let_patterns, reason = "without the other databases it always is one")]
        if let Driver::Sqlite(options) = &mut self.driver {
            let synchronous = match text {
                "full" => sqlx::sqlite::SqliteSynchronous::Full,
                "normal" => sqlx::sqlite::SqliteSynchronous::Normal,
                _ => return Err(value("synchronous", text, "full or normal")),
            };
            **options = (**options).clone().synchronous(synchronous);
            return Ok(());
        }
        Err(value("synchronous", text, "it with SQLite only; a server has a setting of its own"))
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let table = &self.table;
        let begins_well =
            table.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        if !begins_well
            || table.len() > 40
            || !table.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return Err(value(
                "table",
                table,
                "1 to 40 letters, digits and underscores, the first no digit",
            ));
        }
        if self.deadline.is_zero() {
            return Err(value("deadline_ms", "0", "a millisecond or more"));
        }
        if !(1..=1024).contains(&self.connections) {
            return Err(value("connections", &self.connections.to_string(), "1 to 1024"));
        }
        if self.limits.data_bytes > MOST_DATA {
            return Err(value(
                "data_bytes",
                &self.limits.data_bytes.to_string(),
                "at most 1048576; keep large things elsewhere",
            ));
        }
        Ok(())
    }
}

/// So little that a statement with it stays below what every server takes by default, whatever has
/// to be escaped.
const MOST_DATA: usize = 1 << 20;

/// The settings of a file of SQLite.
#[cfg(feature = "sqlite")]
pub(crate) fn sqlite(path: &str) -> Result<Config, ConfigError> {
    use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
    if path.is_empty() || path == ":memory:" {
        let usable = "name a file, as in sqlite:sessions.db; for sessions in memory there is the store memory:";
        return Err(ConfigError::Url { part: "path", usable });
    }
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        // The store itself waits for others, without keeping a thread.
        .busy_timeout(Duration::ZERO);
    Ok(Config::at(Driver::Sqlite(Box::new(options)), path.to_owned()))
}

/// The same, without a log: the driver would write there what the statements are, and which are
/// slow.
fn quiet(driver: Driver) -> Driver {
    use sqlx::ConnectOptions;
    match driver {
        #[cfg(feature = "postgres")]
        Driver::Postgres(options) => {
            Driver::Postgres(Box::new(options.disable_statement_logging()))
        }
        #[cfg(feature = "mysql")]
        Driver::MySql(options) => Driver::MySql(Box::new(options.disable_statement_logging())),
        #[cfg(feature = "sqlite")]
        Driver::Sqlite(options) => Driver::Sqlite(Box::new(options.disable_statement_logging())),
    }
}

/// Shows where the database is and how calls are bounded; there is no login in it.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("dialect", &self.driver.dialect())
            .field("server", &self.server)
            .field("table", &self.table)
            .field("connections", &self.connections)
            .field("deadline", &self.deadline)
            .field("limits", &self.limits)
            .field("migrate", &self.migrate)
            .finish_non_exhaustive()
    }
}

/// A section of a configuration file: a URL, and settings beside it.
#[derive(Deserialize)]
struct File {
    url: String,
    #[serde(flatten)]
    settings: BTreeMap<String, Scalar>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Number(i64),
    Flag(bool),
}

impl TryFrom<File> for Config {
    type Error = ConfigError;

    fn try_from(file: File) -> Result<Self, ConfigError> {
        let mut config = Self::new(&file.url)?;
        for (key, value) in &file.settings {
            match value {
                Scalar::Text(text) => config.set(key, text)?,
                Scalar::Number(number) => config.set(key, &number.to_string())?,
                Scalar::Flag(flag) => config.set(key, &flag.to_string())?,
            }
        }
        config.check()?;
        Ok(config)
    }
}

fn number<T: std::str::FromStr>(key: &'static str, text: &str) -> Result<T, ConfigError> {
    text.parse().map_err(|_| value(key, text, "a whole number"))
}

fn value(key: &'static str, value: &str, usable: &str) -> ConfigError {
    ConfigError::Value { key, value: value.to_owned(), usable: usable.to_owned() }
}

#[cfg(test)]
#[cfg(feature = "postgres")]
mod tests {
    use super::*;

    #[test]
    fn c45_debug_shows_no_password() {
        let config = Config::new("postgres://app:hunter2@host/db").unwrap();
        let shown = format!("{config:?} {:#?}", config.clone().login("app", "hunter4"));
        assert!(!shown.contains("hunter") && shown.contains("host/db"), "{shown}");
    }
}
