//! [`Config`], the settings of a store.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use mongodb::options::{
    ClientOptions, ConnectionString, Credential, HostInfo, ReadConcern, ReadPreference, Tls,
    WriteConcern,
};
use serde::{Deserialize, Deserializer};
use session_core::Limits;
use store_support::{
    password_file,
    settings::{
        DEADLINE_RANGE, deserialize_section, invalid, is_valid_deadline, milliseconds, parse,
    },
    url::printable_key,
};

use crate::{
    error::{ClientError, ConfigError},
    tls,
    url::{self, Servers},
};

/// The number of connections to a server that the driver opens by default.
const DEFAULT_POOL_SIZE: u32 = 10;

/// How long the driver may take to connect if DNS is slow. A resolver whose first name server is
/// dead takes 5 s.
const MAX_CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How often the driver checks each server.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// The largest valid `data_bytes`. With it a document stays below MongoDB's limit of 16 MiB for all
/// names: percent-encoding can triple a name, and the shortest value takes ten bytes of BSON.
const MAX_DATA_BYTES: usize = 1 << 20;

/// The settings of a [`MongoStore`](crate::MongoStore), from code, a URL or a configuration file.
///
/// The URL has the driver's format, `mongodb://user:password@host1,host2/database?replicaSet=name`
/// or `mongodb+srv://…`. It may contain every setting of the driver, for example TLS (`tls`,
/// `tlsCAFile`, `tlsCertificateKeyFile`), `w`, `journal`, `wtimeoutMS`, `readConcernLevel`,
/// `authSource` and `maxPoolSize`. It may also contain `collection`, `deadline_ms`, `data_bytes`
/// and `password_file`, which correspond to the methods of this type. In a configuration file these
/// four and `database` are keys beside `url`.
///
/// # Examples
/// ```
/// # use std::time::Duration;
/// # use store_mongo::Config;
/// let config = Config::new("mongodb://127.0.0.1:27017/shop?collection=carts")?
///     .deadline(Duration::from_millis(500));
/// # Ok::<(), store_mongo::ConfigError>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct Config {
    /// What the driver reads from the URL.
    pub(crate) driver: ConnectionString,
    login: Option<(String, String)>,
    /// The database of the user that [`Self::login`] names.
    login_source: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) database: Box<str>,
    pub(crate) collection: Box<str>,
    pub(crate) deadline: Duration,
    pub(crate) limits: Limits,
    pub(crate) write_concern: WriteConcern,
    pub(crate) read_concern: Option<ReadConcern>,
}

impl Config {
    /// Parses a URL with its settings. Does not resolve host names; the first call of a store
    /// resolves a `mongodb+srv` name.
    ///
    /// # Errors
    /// [`ConfigError`] if the URL is not a MongoDB URL, a setting is unknown, or a value is not
    /// valid. The error never contains a password.
    pub fn new(url: &str) -> Result<Self, ConfigError> {
        let parsed = url::parse(url)?;
        let mut config = Self::from_driver(parsed.driver);
        config.login_source = parsed.login_source;
        if let Some(database) = parsed.database {
            config.database = database.into();
        }
        for (key, value) in &parsed.settings {
            config.set(key, value)?;
        }
        config.check()?;
        Ok(config)
    }

    fn from_driver(driver: ConnectionString) -> Self {
        let write_concern = driver
            .write_concern
            .clone()
            .filter(|concern| concern.w.is_some())
            .unwrap_or_else(|| {
                let mut concern = WriteConcern::majority();
                concern.journal = driver.write_concern.as_ref().and_then(|given| given.journal);
                concern.w_timeout = driver.write_concern.as_ref().and_then(|given| given.w_timeout);
                concern
            });
        Self {
            read_concern: driver.read_concern.clone(),
            write_concern,
            driver,
            login: None,
            login_source: None,
            password_file: None,
            database: "sessions".into(),
            collection: "sessions".into(),
            deadline: Duration::from_secs(2),
            limits: Limits::default(),
        }
    }

    /// Sets user and password, instead of those in the URL. The user belongs to the database
    /// `authSource` of the URL, or else to the URL's database, or else to `admin`.
    #[must_use]
    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.login = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Sets a file with the password of the user in the URL. The store reads the file at the start,
    /// and again when a server refuses the login. Passwords can so change without a restart. A line
    /// break at the end of the file does not belong to the password.
    #[must_use]
    pub fn password_file(mut self, path: impl AsRef<Path>) -> Self {
        self.password_file = Some(path.as_ref().to_owned());
        self
    }

    /// Sets the database. Default: the database of the URL, or `sessions` if the URL has none.
    #[must_use]
    pub fn database(mut self, name: &str) -> Self {
        self.database = name.into();
        self
    }

    /// Sets the collection, which is the application's namespace. Default: `sessions`.
    #[must_use]
    pub fn collection(mut self, name: &str) -> Self {
        self.collection = name.into();
        self
    }

    /// Sets the most time that a call may take, including the waits for a server and a connection.
    /// A call that takes longer fails with
    /// [`StoreError::Timeout`](session_core::StoreError::Timeout). Default: 2 s.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets the limits of a record. Default: 64 KiB of data.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how many members have to acknowledge a write. Default: a majority, within the deadline.
    /// With fewer members an election can undo acknowledged writes.
    #[must_use]
    pub fn write_concern(mut self, concern: WriteConcern) -> Self {
        self.write_concern = concern;
        self
    }

    pub(crate) fn servers(&self) -> Servers {
        Servers(self.driver.host_info.clone())
    }

    /// Whether the URL asks for a direct connection to one server.
    pub(crate) fn is_direct(&self) -> bool {
        self.driver.direct_connection == Some(true)
    }

    /// How long the driver may take to connect if a DNS lookup takes this long. `None` if the URL
    /// sets the time.
    ///
    /// The driver connects in its own tasks, and its time includes the lookup. The time is short if
    /// lookups are fast, because the driver also waits so long before it gives up a connection to
    /// an unresponsive server.
    pub(crate) fn connect_timeout(&self, lookup: Duration) -> Option<Duration> {
        let longest = MAX_CONNECT_TIMEOUT.max(self.deadline);
        let timeout = self.deadline.saturating_add(lookup * 2).min(longest);
        self.driver.connect_timeout.is_none().then_some(timeout)
    }

    /// The most connections of a client to a server: `maxPoolSize`. Default: 10.
    pub(crate) fn connections(&self) -> usize {
        self.driver.max_pool_size.unwrap_or(DEFAULT_POOL_SIZE) as usize
    }

    /// The driver's options. Resolves a `mongodb+srv` name.
    pub(crate) async fn client_options(&self) -> Result<ClientOptions, ClientError> {
        if let Some(Tls::Enabled(files)) = &self.driver.tls {
            tls::check_files(files)?;
        }
        let mut options =
            ClientOptions::parse(self.driver.clone()).await.map_err(ClientError::of_settings)?;
        // Less than the deadline, so that the driver's error arrives before the timeout.
        let selection = self.deadline * 9 / 10;
        let configured = options.server_selection_timeout.unwrap_or(selection);
        options.server_selection_timeout = Some(configured.min(selection));
        options.connect_timeout.get_or_insert(self.deadline);
        if let Some(Tls::Enabled(files)) = &mut options.tls
            && files.ca_file_path.is_none()
        {
            files.ca_file_path = tls::system_authorities();
        }
        // After an unresponsive server the driver serves cancelled waiters until its next check
        // clears the queue. A short interval shortens that time.
        options.heartbeat_freq.get_or_insert(HEARTBEAT);
        let connections = *options.max_pool_size.get_or_insert(DEFAULT_POOL_SIZE);
        // The pool may open all connections at once, so that each call with a permit gets one.
        options.max_connecting.get_or_insert(connections);
        if let Some(password) = self.password()? {
            options.credential.get_or_insert_with(Credential::default).password = Some(password);
        }
        if let Some((user, password)) = &self.login {
            let credential = options.credential.get_or_insert_with(Credential::default);
            credential.username = Some(user.clone());
            credential.password = Some(password.clone());
            credential.source = credential.source.take().or_else(|| self.login_source.clone());
        }
        Ok(options)
    }

    /// Sets a setting from a URL or a file by name.
    fn set(&mut self, key: &str, text: &str) -> Result<(), ConfigError> {
        match key {
            "database" => self.database = text.into(),
            "collection" => self.collection = text.into(),
            "deadline_ms" => self.deadline = milliseconds("deadline_ms", text)?,
            "data_bytes" => self.limits.data_bytes = parse("data_bytes", text, "a whole number")?,
            "password_file" => self.password_file = Some(text.into()),
            _ => return Err(ConfigError::unknown(printable_key(key, "_"))),
        }
        Ok(())
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if !(1..=63).contains(&self.database.len())
            || self.database.contains(|c: char| c.is_control() || "/\\. \"$*<>:|?".contains(c))
        {
            return invalid(
                "database",
                &self.database,
                "1 to 63 bytes without spaces and / \\ . \" $ * < > : | ?",
            );
        }
        if matches!(&*self.database, "admin" | "config" | "local") {
            return invalid(
                "database",
                &self.database,
                "a database of the application, as in mongodb://…/shop?authSource=admin, because \
                 this one belongs to the server",
            );
        }
        let collection = &self.collection;
        if !(1..=100).contains(&collection.len())
            || collection.contains(|c: char| c.is_control() || c == '$')
        {
            return invalid(
                "collection",
                collection,
                "1 to 100 bytes without dollar signs and control characters",
            );
        }
        if collection.starts_with("system.")
            || collection.starts_with('.')
            || collection.ends_with('.')
            || collection.contains("..")
        {
            return invalid(
                "collection",
                collection,
                "a name that does not start with \"system.\" and has no empty part between dots",
            );
        }
        if !is_valid_deadline(self.deadline) {
            return invalid("deadline_ms", &self.deadline.as_millis(), DEADLINE_RANGE);
        }
        if self.limits.data_bytes > MAX_DATA_BYTES {
            return invalid(
                "data_bytes",
                &self.limits.data_bytes,
                "at most 1048576, and store large values elsewhere",
            );
        }
        if self.write_concern.w == Some(mongodb::options::Acknowledgment::Nodes(0)) {
            return Err(ConfigError::Url {
                part: "setting w=0",
                usable: "use w=majority; the store cannot report the result of a write that no \
                         server acknowledges",
            });
        }
        let has_several = match &self.driver.host_info {
            HostInfo::HostIdentifiers(hosts) => hosts.len() > 1,
            _ => false,
        };
        if self.driver.load_balanced == Some(true)
            && (has_several || self.driver.replica_set.is_some() || self.is_direct())
        {
            return Err(ConfigError::Url {
                part: "setting loadBalanced=true",
                usable: "remove it, or name one load balancer without replicaSet and \
                         directConnection",
            });
        }
        if self.connections() == 0 || self.connections() > 1 << 20 {
            return invalid("maxPoolSize", &self.connections(), "1 to 1048576");
        }
        if self
            .driver
            .read_preference
            .as_ref()
            .is_some_and(|preference| *preference != ReadPreference::Primary)
        {
            return Err(ConfigError::Url {
                part: "setting readPreference",
                usable: "remove it; the store reads from the primary, because a secondary may lack \
                         acknowledged writes",
            });
        }
        self.check_password_file()
    }

    /// Checks that a password file has a user, and that no other setting has the password.
    fn check_password_file(&self) -> Result<(), ConfigError> {
        let Some(path) = &self.password_file else { return Ok(()) };
        let credential = self.driver.credential.as_ref();
        let password = credential.and_then(|credential| credential.password.as_deref());
        if self.login.is_some() || password.is_some_and(|password| !password.is_empty()) {
            return invalid(
                "password_file",
                &path.display(),
                "no file, or a URL without a password, as in mongodb://app@localhost/shop",
            );
        }
        if credential.is_none_or(|credential| credential.username.is_none()) {
            let usable = "a URL with the user, as in mongodb://app@localhost/shop";
            return invalid("password_file", &path.display(), usable);
        }
        Ok(())
    }

    /// Checks that the files of the settings can be used.
    pub(crate) fn check_files(&self) -> Result<(), ConfigError> {
        if let Some(Tls::Enabled(files)) = &self.driver.tls {
            tls::check_files(files)?;
        }
        self.password().map(drop)
    }

    /// The password in the password file. `None` without such a file.
    pub(crate) fn password(&self) -> Result<Option<String>, ConfigError> {
        let Some(path) = &self.password_file else { return Ok(None) };
        match password_file::read(path) {
            Ok(password) => Ok(Some(password)),
            Err(error) => {
                let usable = format!("the path of a file that has the password ({})", error.why);
                invalid("password_file", &path.display(), &usable)
            }
        }
    }
}

/// Shows the settings without the password.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credential = self.driver.credential.as_ref();
        let user = self
            .login
            .as_ref()
            .map(|(user, _)| user)
            .or(credential.and_then(|credential| credential.username.as_ref()));
        f.debug_struct("Config")
            .field("servers", &self.servers().to_string())
            .field("replica_set", &self.driver.replica_set)
            .field("tls", &self.driver.tls.is_some())
            .field("user", &user)
            .field("password_file", &self.password_file)
            .field("database", &self.database)
            .field("collection", &self.collection)
            .field("deadline", &self.deadline)
            .field("connections", &self.connections())
            .field("limits", &self.limits)
            .field("write_concern", &self.write_concern)
            .finish_non_exhaustive()
    }
}

/// A section of a configuration file: a `url` and other settings.
impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_section(deserializer, Self::new, Self::set, Self::check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c45_debug_shows_no_password() {
        let config = Config::new("mongodb://app:hunter2@host/db").unwrap();
        let shown = format!("{config:?} {:#?}", config.clone().login("app", "hunter4"));
        assert!(!shown.contains("hunter") && shown.contains("app"), "{shown}");
    }

    #[test]
    fn url_sets_its_settings_and_keeps_the_defaults() {
        let config = Config::new(
            "mongodb://app:p%40ss@a:1,b/shop?replicaSet=rs&collection=carts&deadline_ms=600\
             &maxPoolSize=3",
        )
        .unwrap();
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
            let config = Config::new(url).unwrap();
            assert_eq!((&*config.database, &*config.collection), ("sessions", "sessions"), "{url}");
        }
    }

    #[test]
    fn invalid_url_error_names_the_mistake() {
        for (url, expected) in [
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
            ("mongodb://host/admin", "authSource=admin"),
            ("mongodb://app:p@host/?password_file=/run/p", "without a password"),
            ("mongodb://host/?password_file=/run/p", "with the user"),
            ("mongodb://host/?maxPoolSize=0", "maxPoolSize"),
            ("mongodb://host/?readPreference=secondary", "primary"),
            ("mongodb://host/?prefix=a", "prefix"),
            ("mongodb://host/%ff", "database"),
            ("mongodb://app:secret@host/?nonsense=1", "nonsense"),
            ("mongodb://app:secret@host:port/", "port"),
            ("mongodb://app:se/cret@host/", "percent-encoded"),
            ("mongodb://app:se%cret@host/", "percent-encoded"),
        ] {
            let error = Config::new(url).unwrap_err().to_string();
            assert!(error.contains(expected), "{url}: {error}");
        }
    }

    #[test]
    fn c45_url_errors_show_no_password() {
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
            if let Err(error) = Config::new(url) {
                let shown = format!("{error} {error:?}");
                assert!(!shown.contains("ter2") && !shown.contains("hun"), "{url}: {shown}");
            }
        }
    }

    #[test]
    fn default_write_concern_is_majority() {
        let concern = |url: &str| Config::new(url).unwrap().write_concern;
        assert_eq!(concern("mongodb://host").w, WriteConcern::majority().w);
        let journaled = concern("mongodb://host/?journal=true&wtimeoutMS=300");
        assert_eq!((journaled.w, journaled.journal), (WriteConcern::majority().w, Some(true)));
        assert_eq!(journaled.w_timeout, Some(Duration::from_millis(300)));
        assert_eq!(
            concern("mongodb://host/?w=2").w,
            Some(mongodb::options::Acknowledgment::Nodes(2))
        );
    }

    #[test]
    fn d07_slow_lookup_gives_the_driver_more_time_to_connect() {
        let timeout = |url: &str, lookup| {
            let config = Config::new(url).unwrap();
            config.connect_timeout(Duration::from_secs(lookup)).map(|timeout| timeout.as_secs())
        };
        assert_eq!(timeout("mongodb://host", 0), Some(2));
        assert_eq!(timeout("mongodb://host", 5), Some(12));
        assert_eq!(timeout("mongodb://host", 60), Some(15));
        assert_eq!(timeout("mongodb://host/?deadline_ms=20000", 60), Some(20));
        assert_eq!(timeout("mongodb://host/?connectTimeoutMS=1000", 5), None);
    }

    #[tokio::test]
    async fn driver_timeouts_fit_into_the_deadline() {
        let config = Config::new("mongodb://host/?authSource=accounts")
            .unwrap()
            .deadline(Duration::from_secs(1))
            .login("app", "p");
        let options = config.client_options().await.unwrap();
        assert_eq!(options.server_selection_timeout, Some(Duration::from_millis(900)));
        assert_eq!(options.connect_timeout, Some(Duration::from_secs(1)));
        let credential = options.credential.unwrap();
        assert_eq!(
            (credential.username.as_deref(), credential.source.as_deref()),
            (Some("app"), Some("accounts"))
        );
    }
}
