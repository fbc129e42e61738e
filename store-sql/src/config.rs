//! The settings of a store, and the one table of their names.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Deserializer};
use session_core::Limits;
use store_support::{
    password_file,
    settings::{deserialize_section, is_valid_deadline},
    url::printable_key,
};

use crate::{
    dialect::Dialect,
    error::ConfigError,
    url::{self, Driver, Preparation},
};

/// The settings of an [`SqlStore`](crate::SqlStore), from code, a URL or a configuration file.
///
/// The URL's scheme selects the database: `postgres://user:password@host:5432/database`,
/// `mysql://…` or `mariadb://…`, `sqlite:sessions.db` or `sqlite:///var/lib/app/sessions.db`. The
/// query of the URL may contain settings of the driver, for example `sslmode`, and the settings of
/// this crate. The table in the [crate's documentation](crate) lists both. In a configuration file
/// the settings of this crate stand beside `url`.
///
/// # Examples
/// ```
/// # use std::time::Duration;
/// # use store_sql::Config;
/// let config = Config::new("sqlite:sessions.db?table=carts")?.deadline(Duration::from_millis(500));
/// # Ok::<(), store_sql::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Config {
    pub(crate) dialect: Dialect,
    /// The options that the driver connects with.
    pub(crate) driver: Driver,
    /// How the driver prepares statements on PostgreSQL.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(dead_code, reason = "only the driver of PostgreSQL has this choice")
    )]
    pub(crate) preparation: Preparation,
    /// The settings of the driver that name a file, each with its path.
    tls_files: Vec<(&'static str, String)>,
    pub(crate) password_file: Option<PathBuf>,
    /// Whether the URL or [`Config::login`] has a password.
    has_password: bool,
    /// The address of the database, without the login.
    pub(crate) server: String,
    pub(crate) table: Box<str>,
    pub(crate) connections: usize,
    pub(crate) deadline: Duration,
    pub(crate) limits: Limits,
    pub(crate) migrate: bool,
}

/// A setting that a URL or a configuration file may contain.
struct Setting {
    name: &'static str,
    /// The valid values.
    values: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "the README contains it"))]
    default: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "the README contains it"))]
    meaning: &'static str,
    /// Parses a value and sets it. `None` if it has the wrong form.
    set: fn(&mut Config, &str) -> Option<()>,
    /// The value in the config if it is out of range.
    out_of_range: fn(&Config) -> Option<String>,
}

/// All settings. The names in URLs, in configuration files and in error texts come from here, and a
/// test compares the table in the README with it.
const SETTINGS: &[Setting] = &[
    Setting {
        name: "table",
        values: "1 to 40 letters, digits and underscores, with no digit first",
        default: "sessions",
        meaning: "the name of the table, which is the application's namespace",
        set: |config, text| {
            config.table = text.into();
            Some(())
        },
        out_of_range: |config| {
            let table = &config.table;
            let starts_well =
                table.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
            let is_valid = starts_well
                && table.len() <= 40
                && table.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            (!is_valid).then(|| table.to_string())
        },
    },
    Setting {
        name: "deadline_ms",
        values: "a whole number, 1 or more, at most 86400000 (a day)",
        default: "2000",
        meaning: "how long a call may take, in milliseconds",
        set: |config, text| {
            config.deadline = Duration::from_millis(text.parse().ok()?);
            Some(())
        },
        out_of_range: |config| {
            let deadline = config.deadline;
            (!is_valid_deadline(deadline)).then(|| deadline.as_millis().to_string())
        },
    },
    Setting {
        name: "connections",
        values: "a whole number, 1 to 1024",
        default: "8",
        meaning: "the most connections that each tokio runtime of a process opens",
        set: |config, text| {
            config.connections = text.parse().ok()?;
            Some(())
        },
        out_of_range: |config| {
            let count = config.connections;
            (!(1..=1024).contains(&count)).then(|| count.to_string())
        },
    },
    Setting {
        name: "password_file",
        values: "the path of a file, with PostgreSQL, MySQL and MariaDB",
        default: "none",
        meaning: "a file with the password, which the store reads for each new connection",
        set: |config, text| {
            config.password_file = (text != "none").then(|| PathBuf::from(text));
            Some(())
        },
        out_of_range: |config| {
            let file = config.password_file.as_ref()?;
            let is_valid = config.dialect != Dialect::Sqlite && file.is_absolute();
            (!is_valid).then(|| file.display().to_string())
        },
    },
    Setting {
        name: "data_bytes",
        values: "a whole number, at most 1048576",
        default: "65536",
        meaning: "the cap on a record's data, in bytes",
        set: |config, text| {
            config.limits.data_bytes = text.parse().ok()?;
            Some(())
        },
        out_of_range: |config| {
            let bytes = config.limits.data_bytes;
            (bytes > MAX_DATA_BYTES).then(|| bytes.to_string())
        },
    },
    Setting {
        name: "migrate",
        values: "true or false",
        default: "true",
        meaning: "whether the store creates its table",
        set: |config, text| {
            config.migrate = text.parse().ok()?;
            Some(())
        },
        out_of_range: |_| None,
    },
    Setting {
        name: "synchronous",
        values: "full or normal, with SQLite only",
        default: "full",
        meaning: "whether a commit waits for the disk; with `normal` a power failure can undo the \
                  last commits, but the end of a process cannot",
        set: set_synchronous,
        out_of_range: |_| None,
    },
];

/// The largest cap on data. A statement with this amount of data stays below the default size limit
/// of every server, even if the driver has to escape each byte.
const MAX_DATA_BYTES: usize = 1 << 20;

impl Config {
    /// Reads a URL with its settings. This resolves no host name and opens no file.
    ///
    /// # Errors
    /// [`ConfigError`] if the URL does not name a database of this build, a setting is unknown, or
    /// a value is out of range. The error shows no password.
    pub fn new(url: &str) -> Result<Self, ConfigError> {
        let parts = url::read(url)?;
        if let Some((key, _)) = parts.settings.iter().find(|(key, _)| setting(key).is_none()) {
            return Err(unknown(key, parts.advice(key)));
        }
        let (driver, server) = parts.driver()?;
        let mut config = Self {
            dialect: parts.dialect,
            driver,
            preparation: parts.preparation(),
            tls_files: parts.tls_files(),
            password_file: None,
            has_password: parts.has_password(),
            server,
            table: "sessions".into(),
            connections: 8,
            deadline: Duration::from_secs(2),
            limits: Limits::default(),
            migrate: true,
        };
        for (key, value) in &parts.settings {
            config.set(key, &url::decode(value, "settings")?)?;
        }
        config.check()?;
        Ok(config)
    }

    /// Replaces the user and password of the URL. SQLite has no login and ignores them.
    #[must_use]
    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.has_password = true;
        match &mut self.driver {
            #[cfg(feature = "postgres")]
            Driver::Postgres(options) => {
                **options = (**options).clone().username(user).password(password);
            }
            #[cfg(feature = "mysql")]
            Driver::MySql(options) => {
                **options = (**options).clone().username(user).password(password);
            }
            #[cfg(feature = "sqlite")]
            Driver::Sqlite(_) => {
                let _ = (user, password);
            }
        }
        self
    }

    /// Sets the file with the password. The store reads it for each new connection, so a new
    /// password needs no restart. A line end after the password is ignored. SQLite has no login.
    #[must_use]
    pub fn password_file(mut self, path: impl AsRef<Path>) -> Self {
        self.password_file = Some(path.as_ref().to_owned());
        self
    }

    /// Sets the name of the table, which is the application's namespace. `sessions` by default.
    #[must_use]
    pub fn table(mut self, name: &str) -> Self {
        self.table = name.into();
        self
    }

    /// Sets the most connections that each tokio runtime of this process opens. 8 by default.
    #[must_use]
    pub fn connections(mut self, most: usize) -> Self {
        self.connections = most;
        self
    }

    /// Sets how long a call may take, including the wait for a connection. 2 s by default. A call
    /// that takes longer fails with
    /// [`StoreError::Timeout`](session_core::StoreError::Timeout). A call waits for a free
    /// connection for at most half of the deadline.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets the caps on a record. By default its data has at most 64 KiB.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets whether the store creates the table if it is missing. True by default. If it is false,
    /// create the table with the SQL of [`Dialect::schema`] before the first call.
    #[must_use]
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// How long a call waits for a free connection.
    pub(crate) fn wait(&self) -> Duration {
        self.deadline / 2
    }

    /// Checks the ranges of all settings.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        for setting in SETTINGS {
            if let Some(value) = (setting.out_of_range)(self) {
                return Err(setting.invalid(value));
            }
        }
        Ok(())
    }

    /// Checks that the files of the settings can be read, and that one setting has the password.
    pub(crate) fn check_files(&self) -> Result<(), ConfigError> {
        for (key, path) in &self.tls_files {
            if let Err(error) = std::fs::File::open(path) {
                let usable = format!("the path of a PEM file that this user can read ({error})");
                return Err(ConfigError::Value { key, value: path.clone(), usable });
            }
        }
        if let Some(path) = &self.password_file {
            let invalid = |usable: String| ConfigError::Value {
                key: "password_file",
                value: path.display().to_string(),
                usable,
            };
            if self.has_password {
                return Err(invalid("no file, or a URL without a password".to_owned()));
            }
            password_file::read(path).map_err(|error| {
                invalid(format!("the path of a file that has the password ({error})"))
            })?;
        }
        Ok(())
    }

    fn set(&mut self, key: &str, text: &str) -> Result<(), ConfigError> {
        let setting = setting(key).ok_or_else(|| unknown(key, None))?;
        (setting.set)(self, text).ok_or_else(|| setting.invalid(text.to_owned()))
    }
}

impl Setting {
    fn invalid(&self, value: String) -> ConfigError {
        ConfigError::Value { key: self.name, value, usable: self.values.to_owned() }
    }
}

fn setting(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == key)
}

#[cfg_attr(
    not(feature = "sqlite"),
    expect(unused_variables, reason = "only the options of SQLite have this setting")
)]
fn set_synchronous(config: &mut Config, text: &str) -> Option<()> {
    #[cfg(feature = "sqlite")]
    #[allow(
        irrefutable_let_patterns,
        reason = "in a build with SQLite alone the pattern always matches"
    )]
    if let Driver::Sqlite(options) = &mut config.driver {
        let synchronous = match text {
            "full" => sqlx::sqlite::SqliteSynchronous::Full,
            "normal" => sqlx::sqlite::SqliteSynchronous::Normal,
            _ => return None,
        };
        **options = (**options).clone().synchronous(synchronous);
        return Some(());
    }
    None
}

/// The error for an unknown setting. It shows the key only if the key has the form of a name,
/// because it can be a part of a password. `advice` replaces the list of all settings.
fn unknown(key: &str, advice: Option<&str>) -> ConfigError {
    if let Some(advice) = advice {
        return ConfigError::UnknownKey { key: key.to_owned(), usable: advice.to_owned() };
    }
    let own: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
    ConfigError::UnknownKey {
        key: printable_key(key, "_-"),
        usable: format!(
            "use {}, or in the URL a setting of the driver: {}",
            own.join(", "),
            url::driver_settings()
        ),
    }
}

/// Shows the address of the database and the bounds of calls. The login is left out.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("dialect", &self.dialect)
            .field("server", &self.server)
            .field("password_file", &self.password_file)
            .field("table", &self.table)
            .field("connections", &self.connections)
            .field("deadline", &self.deadline)
            .field("limits", &self.limits)
            .field("migrate", &self.migrate)
            .finish_non_exhaustive()
    }
}

/// A section of a configuration file: a `url`, and settings beside it.
impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_section(deserializer, Self::new, Self::set, Self::check)
    }
}

#[cfg(test)]
#[cfg(all(feature = "postgres", feature = "mysql", feature = "sqlite"))]
mod tests {
    use super::*;

    #[test]
    fn readme_lists_exactly_the_settings() {
        let readme = include_str!("../README.md");
        let head = "| setting | values | default | meaning |\n|---|---|---|---|\n";
        let (_, rows) = readme.split_once(head).expect("the README has a table of settings");
        let rows: Vec<_> = rows.lines().take_while(|line| line.starts_with('|')).collect();
        let expected: Vec<_> = SETTINGS
            .iter()
            .map(|setting| {
                let Setting { name, values, default, meaning, .. } = setting;
                format!("| `{name}` | {values} | `{default}` | {meaning} |")
            })
            .collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn each_setting_starts_with_its_default() {
        let shown = |config: &Config| format!("{config:?} {:?}", config.driver);
        for setting in SETTINGS {
            let mut config = Config::new("sqlite:sessions.db").unwrap();
            let before = shown(&config);
            config.set(setting.name, setting.default).unwrap();
            assert_eq!(shown(&config), before, "{}", setting.name);
        }
    }

    #[test]
    fn unknown_setting_error_lists_the_settings() {
        let error = Config::new("sqlite:a.db?collection=a").unwrap_err().to_string();
        for setting in SETTINGS {
            assert!(error.contains(setting.name), "{error}");
        }
    }

    #[test]
    fn url_changes_only_the_settings_that_it_names() {
        let config = Config::new(
            "postgres://app:p%40ss@db:5433/shop?sslmode=require&table=carts&deadline_ms=600&connections=3",
        )
        .unwrap();
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
            let config = Config::new(url).unwrap();
            assert_eq!((config.dialect, &*config.table), (dialect, "sessions"), "{url}");
        }
    }

    #[test]
    fn invalid_url_error_says_what_to_use() {
        for (url, expected) in [
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
            ("mysql://host/?sslmode=require", "write ssl-mode"),
            ("postgres://host/?SSL=hunter2", "write sslmode=verify-full"),
            ("sqlite:", "file"),
            ("sqlite::memory:", "memory:"),
            ("sqlite:a.db?synchronous=off", "normal"),
            ("sqlite:a.db?mode=memory", "mode"),
            ("postgres://app:se/cret@host/", "percent-encoded"),
        ] {
            let error = Config::new(url).unwrap_err().to_string();
            assert!(error.contains(expected), "{url}: {error}");
        }
    }

    #[test]
    fn c45_url_errors_show_no_password() {
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
            if let Err(error) = Config::new(url) {
                let shown = format!("{error} {error:?}");
                assert!(!shown.contains("ter2") || url.ends_with("?hunter2"), "{url}: {shown}");
            }
        }
    }

    #[test]
    fn c45_debug_shows_no_password() {
        let config = Config::new("postgres://app:hunter2@host/db").unwrap();
        let shown = format!("{config:?} {:#?}", config.clone().login("app", "hunter4"));
        assert!(!shown.contains("hunter") && shown.contains("host/db"), "{shown}");
    }
}
