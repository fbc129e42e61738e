//! The settings of a store.

use std::{collections::BTreeMap, fmt, time::Duration};

use mongodb::options::{
    ClientOptions, ConnectionString, Credential, ReadConcern, ReadPreference, WriteConcern,
};
use serde::Deserialize;
use session_core::Limits;

use crate::{
    error::{ClientError, ConfigError},
    servers::Servers,
    url,
};

/// The settings of a [`MongoStore`](crate::MongoStore), from code, a URL or a configuration file.
///
/// The URL is the driver's, `mongodb://user:password@host1,host2/database?replicaSet=name` or
/// `mongodb+srv://…`, with all of its settings: TLS (`tls`, `tlsCAFile`, `tlsCertificateKeyFile`),
/// `w`, `journal`, `wtimeoutMS`, `readConcernLevel`, `authSource`, `maxPoolSize` and so on. Beside
/// them it may have `collection`, `deadline_ms` and `data_bytes`, named like the methods here; in a
/// file these stand beside `url`, as does `database`.
///
/// # Examples
/// ```
/// # use std::time::Duration;
/// # use store_mongo::Config;
/// let config = Config::new("mongodb://127.0.0.1:27017/shop?collection=carts")?.deadline(Duration::from_millis(500));
/// # Ok::<(), store_mongo::ConfigError>(())
/// ```
#[derive(Clone, PartialEq, Deserialize)]
#[serde(try_from = "File")]
pub struct Config {
    /// What the URL says to the driver.
    pub(crate) driver: ConnectionString,
    login: Option<(String, String)>,
    /// In which database the user of [`Self::login`] is looked for.
    pub(crate) login_source: Option<String>,
    pub(crate) database: Box<str>,
    pub(crate) collection: Box<str>,
    pub(crate) deadline: Duration,
    pub(crate) limits: Limits,
    pub(crate) write_concern: WriteConcern,
    pub(crate) read_concern: Option<ReadConcern>,
}

impl Config {
    /// Reads a URL with its settings. Nothing is looked up; a `mongodb+srv` name is with the first
    /// call.
    ///
    /// # Errors
    /// [`ConfigError`] if the URL is none of MongoDB, a setting is unknown, or a value is out of
    /// range. It shows no password.
    pub fn new(url: &str) -> Result<Self, ConfigError> {
        url::read(url)
    }

    pub(crate) fn at(driver: ConnectionString) -> Self {
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
            database: "sessions".into(),
            collection: "sessions".into(),
            deadline: Duration::from_secs(2),
            limits: Limits::default(),
        }
    }

    /// The user and password, in place of those in the URL. The user is looked for in the URL's
    /// `authSource`, else in its database, else in `admin`.
    #[must_use]
    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.login = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// The database. The URL's by default, and `sessions` if that has none.
    #[must_use]
    pub fn database(mut self, name: &str) -> Self {
        self.database = name.into();
        self
    }

    /// The collection: the application's namespace. `sessions` by default.
    #[must_use]
    pub fn collection(mut self, name: &str) -> Self {
        self.collection = name.into();
        self
    }

    /// How long a call may take, waiting for a server and a connection included; then it is
    /// [`StoreError::Timeout`](session_core::StoreError::Timeout). 2 s by default.
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

    /// When a write counts as done. On a majority of the members, within the deadline, by default;
    /// with less an election can undo what was acknowledged.
    #[must_use]
    pub fn write_concern(mut self, concern: WriteConcern) -> Self {
        self.write_concern = concern;
        self
    }

    pub(crate) fn servers(&self) -> Servers {
        Servers(self.driver.host_info.clone())
    }

    /// Whether the URL leads to one server, whatever that is.
    pub(crate) fn is_direct(&self) -> bool {
        self.driver.direct_connection == Some(true)
    }

    /// The most connections of a client to a server: `maxPoolSize`, 10 by default.
    pub(crate) fn connections(&self) -> usize {
        self.driver.max_pool_size.unwrap_or(DRIVERS_CONNECTIONS) as usize
    }

    /// The driver's settings. Looks up the servers of a `mongodb+srv` name.
    pub(crate) async fn client_options(&self) -> Result<ClientOptions, ClientError> {
        let mut options = ClientOptions::parse(self.driver.clone()).await?;
        // A little less than the deadline, so that the error says which servers were not there.
        options.server_selection_timeout.get_or_insert(self.deadline * 9 / 10);
        options.connect_timeout.get_or_insert(self.deadline);
        // The driver clears the queue before a server that was silent once it hears of it again,
        // and until then serves who has given up.
        options.heartbeat_freq.get_or_insert(HEARTBEAT);
        let connections = *options.max_pool_size.get_or_insert(DRIVERS_CONNECTIONS);
        // All at once, if it comes to that: who has a turn is to have a connection.
        options.max_connecting.get_or_insert(connections);
        if let Some((user, password)) = &self.login {
            let credential = options.credential.get_or_insert_with(Credential::default);
            credential.username = Some(user.clone());
            credential.password = Some(password.clone());
            credential.source = credential.source.take().or_else(|| self.login_source.clone());
        }
        Ok(options)
    }

    /// Sets what a URL or a file names.
    pub(crate) fn set(&mut self, key: &str, text: &str) -> Result<(), ConfigError> {
        match key {
            "database" => self.database = text.into(),
            "collection" => self.collection = text.into(),
            "deadline_ms" => {
                self.deadline =
                    Duration::from_millis(number("deadline_ms", text, "a whole number above 0")?)
            }
            "data_bytes" => self.limits.data_bytes = number("data_bytes", text, "a whole number")?,
            _ => {
                return Err(ConfigError::UnknownKey {
                    key: if url::looks_like_one(key) { key.to_owned() } else { "…".to_owned() },
                });
            }
        }
        Ok(())
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if !(1..=63).contains(&self.database.len())
            || self.database.contains(|c: char| c.is_control() || "/\\. \"$*<>:|?".contains(c))
        {
            return Err(value(
                "database",
                &self.database,
                "1 to 63 bytes without any of / \\ . \" $ * < > : | ? and spaces",
            ));
        }
        let collection = &self.collection;
        if !(1..=100).contains(&collection.len())
            || collection.contains(|c: char| c.is_control() || c == '$')
        {
            return Err(value(
                "collection",
                collection,
                "1 to 100 bytes without dollar signs and control characters",
            ));
        }
        if collection.starts_with("system.")
            || collection.starts_with('.')
            || collection.ends_with('.')
            || collection.contains("..")
        {
            return Err(value(
                "collection",
                collection,
                "a name that does not begin with system. and has no empty part between dots",
            ));
        }
        if self.deadline.is_zero() {
            return Err(value("deadline_ms", "0", "a millisecond or more"));
        }
        if self.limits.data_bytes > MOST_DATA {
            return Err(value(
                "data_bytes",
                &self.limits.data_bytes.to_string(),
                "at most 1048576; keep large things elsewhere",
            ));
        }
        if self.write_concern.w == Some(mongodb::options::Acknowledgment::Nodes(0)) {
            return Err(ConfigError::Url {
                part: "setting w=0",
                usable: "a write that nobody acknowledges cannot be reported; use w=majority",
            });
        }
        if self.connections() == 0 || self.connections() > 1 << 20 {
            return Err(value("maxPoolSize", &self.connections().to_string(), "1 to 1048576"));
        }
        if self
            .driver
            .read_preference
            .as_ref()
            .is_some_and(|preference| *preference != ReadPreference::Primary)
        {
            return Err(ConfigError::Url {
                part: "setting readPreference",
                usable: "sessions are read from the primary, since a secondary may not have what was acknowledged; leave it out",
            });
        }
        Ok(())
    }
}

/// How many connections to a server the driver makes if nobody says otherwise.
const DRIVERS_CONNECTIONS: u32 = 10;

/// How often the driver asks each server how it is.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// So little that a document of it has less than the 16 MiB that it may have, whatever the names
/// are: a name can treble when it is escaped, and the shortest value takes ten bytes.
const MOST_DATA: usize = 1 << 20;

/// Shows where the servers are and how calls are bounded; passwords are masked.
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
            .field("database", &self.database)
            .field("collection", &self.collection)
            .field("deadline", &self.deadline)
            .field("connections", &self.connections())
            .field("limits", &self.limits)
            .field("write_concern", &self.write_concern)
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
}

impl TryFrom<File> for Config {
    type Error = ConfigError;

    fn try_from(file: File) -> Result<Self, ConfigError> {
        let mut config = Self::new(&file.url)?;
        for (key, value) in &file.settings {
            match value {
                Scalar::Text(text) => config.set(key, text)?,
                Scalar::Number(number) => config.set(key, &number.to_string())?,
            }
        }
        config.check()?;
        Ok(config)
    }
}

fn number<T: std::str::FromStr>(
    key: &'static str,
    text: &str,
    usable: &str,
) -> Result<T, ConfigError> {
    text.parse().map_err(|_| value(key, text, usable))
}

fn value(key: &'static str, value: &str, usable: &str) -> ConfigError {
    ConfigError::Value { key, value: value.to_owned(), usable: usable.to_owned() }
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
    fn a_majority_has_to_have_a_write_unless_the_url_says_otherwise() {
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

    #[tokio::test]
    async fn what_the_driver_waits_for_fits_into_the_deadline() {
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
