//! Makes connections: connect, handshake, and the check of the server's version and mode.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, PushInfo, PushKind, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster_async::ClusterConnection,
    cluster_routing::{RoutingInfo, SingleNodeRoutingInfo},
};
use store_support::tls_failure::TlsFailure;

use super::{
    address::Servers,
    client::Clients,
    decode::field,
    sentinels::{Primary, Sentinels},
    tls,
};
use crate::{
    config::Config,
    error::{ClientError, ConfigError, OLDEST, describe},
};

/// How long connecting to a primary may take that Sentinels name.
const PRIMARY_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Makes connections to the servers of one configuration.
pub(crate) struct Connector {
    clients: Arc<Clients>,
    servers: Servers,
    /// `None` unless the servers are those of Sentinels.
    sentinels: Option<Arc<Sentinels>>,
    /// Whether a server has accepted the login at least once.
    has_logged_in: AtomicBool,
    /// A key of the application's namespace that does not exist. `None` if a server has executed a
    /// script that accesses it without declaring it, or if the scripts declare all keys.
    undeclared_key: Mutex<Option<String>>,
}

/// A connection that many calls share.
#[derive(Clone)]
pub(crate) enum Connection {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connector {
    /// Checks the settings as far as the driver does, and reads all files. It does not connect.
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        tls::check_system_authorities(config)?;
        let clients = Arc::new(Clients::new(config));
        let mut known_sentinels = None;
        match &config.servers {
            Servers::Node(host) => drop(clients.node(host.address(config.tls))?),
            Servers::Socket(path) => drop(clients.node(ConnectionAddr::Unix(path.clone()))?),
            Servers::Cluster(hosts) => drop(clients.cluster(hosts)?),
            Servers::Sentinel { sentinels, primary } => {
                for host in sentinels {
                    // The primary has the login of the servers.
                    drop((clients.sentinel(host)?, clients.node(host.address(config.tls))?));
                }
                let clients = Arc::clone(&clients);
                let sentinels = Sentinels::new(primary, sentinels, clients, config.deadline);
                known_sentinels = Some(Arc::new(sentinels));
            }
        }
        Ok(Self {
            clients,
            servers: config.servers.clone(),
            sentinels: known_sentinels,
            has_logged_in: AtomicBool::new(false),
            undeclared_key: Mutex::new(
                (!config.has_separate_index()).then(|| [&config.prefix, "undeclared"].concat()),
            ),
        })
    }

    /// Waits until the addresses of a server are known, or cannot be found.
    pub(crate) async fn prepare(&self) {
        self.clients.resolver().prepare(self.servers.hosts()).await;
    }

    /// Searches for a server of the settings that differs from the settings in its use of TLS.
    pub(crate) async fn find_tls_mismatch(&self) -> Option<TlsFailure> {
        tls::find_mismatch(self.servers.hosts(), self.clients.uses_tls()).await
    }

    /// Connects and checks the server's version and mode.
    ///
    /// The driver sets `disconnected` as soon as it notices that the connection is lost. The second
    /// part of the result is the term of the primary, for [`has_successor`](Self::has_successor).
    ///
    /// # Errors
    /// If the servers refuse the login and have never accepted it, the login is wrong. After they
    /// have accepted it once, the password is being changed: the error is [`ClientError::Connect`],
    /// and a later attempt reads the file of the password again.
    pub(crate) async fn connect(
        &self,
        disconnected: &Arc<AtomicBool>,
    ) -> Result<(Connection, u64), ClientError> {
        match self.connect_once(disconnected).await {
            Ok(connected) => {
                self.has_logged_in.store(true, Ordering::Relaxed);
                Ok(connected)
            }
            Err(error)
                if error.is_refused_login() && self.has_logged_in.load(Ordering::Relaxed) =>
            {
                Err(self.outage(&error))
            }
            Err(error) => Err(error),
        }
    }

    /// The error for a login that was accepted before and is refused now. Waiting helps, because
    /// passwords rotate.
    pub(crate) fn outage(&self, refused: &ClientError) -> ClientError {
        ClientError::Connect { server: self.servers.to_string(), why: refused.to_string() }
    }

    async fn connect_once(
        &self,
        disconnected: &Arc<AtomicBool>,
    ) -> Result<(Connection, u64), ClientError> {
        let connection = match (&self.servers, &self.sentinels) {
            (Servers::Node(host), _) => {
                let address = host.address(self.clients.uses_tls());
                Connection::Node(self.connect_node(address, disconnected).await?)
            }
            (Servers::Socket(path), _) => {
                let address = ConnectionAddr::Unix(path.clone());
                Connection::Node(self.connect_node(address, disconnected).await?)
            }
            (Servers::Cluster(hosts), _) => {
                let client = self.clients.cluster(hosts).map_err(|error| self.unusable(&error))?;
                let connected = client.get_async_connection().await;
                Connection::Cluster(connected.map_err(|error| self.connect_error(&error))?)
            }
            (Servers::Sentinel { .. }, Some(sentinels)) => {
                return self.connect_primary(sentinels, disconnected).await;
            }
            (Servers::Sentinel { .. }, None) => unreachable!("`new` makes the Sentinels"),
        };
        Ok((self.handshake(connection).await?.0, 0))
    }

    async fn connect_node(
        &self,
        address: ConnectionAddr,
        disconnected: &Arc<AtomicBool>,
    ) -> Result<MultiplexedConnection, ClientError> {
        let client = self.clients.node(address).map_err(|error| self.unusable(&error))?;
        let disconnected = Arc::clone(disconnected);
        let watch = move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                disconnected.store(true, Ordering::Relaxed);
            }
            Ok::<_, redis::aio::SendError>(())
        };
        // The connection attempt and each call have their own timeouts.
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_dns_resolver(self.clients.resolver().clone())
            .set_push_sender(watch);
        let connected = client.get_multiplexed_async_connection_with_config(&settings).await;
        connected.map_err(|error| self.connect_error(&error))
    }

    /// A file of the settings was usable at the start and is not usable any more. It may be in the
    /// middle of its replacement.
    fn unusable(&self, error: &ConfigError) -> ClientError {
        ClientError::Connect { server: self.servers.to_string(), why: error.to_string() }
    }

    async fn connect_primary(
        &self,
        sentinels: &Arc<Sentinels>,
        disconnected: &Arc<AtomicBool>,
    ) -> Result<(Connection, u64), ClientError> {
        let Primary { host, term } = sentinels.primary().await?;
        let unusable = |what: String| ClientError::Connect {
            server: self.servers.to_string(),
            why: format!("the Sentinels name {host}, which {what}"),
        };
        let connecting = tokio::time::timeout(PRIMARY_CONNECT_TIMEOUT, async {
            let address = host.address(self.clients.uses_tls());
            let connection = self.connect_node(address, disconnected).await?;
            self.handshake(Connection::Node(connection)).await
        });
        // A primary that does not answer has a successor soon. The next attempt asks the Sentinels
        // again.
        let Ok(connected) = connecting.await else {
            return Err(unusable(format!("did not answer within {PRIMARY_CONNECT_TIMEOUT:?}")));
        };
        let (connection, hello) = connected?;
        if field(&hello, "role") == Some("master") {
            Ok((connection, term))
        } else {
            Err(unusable("is a replica".to_owned()))
        }
    }

    /// Sends `HELLO` and checks the answer.
    async fn handshake(
        &self,
        mut connection: Connection,
    ) -> Result<(Connection, Value), ClientError> {
        let hello = connection.hello().await.map_err(|error| self.connect_error(&error))?;
        check(&hello, self.servers.is_cluster())?;
        self.check_scripts(&mut connection).await?;
        Ok((connection, hello))
    }

    /// Checks once that a script may access keys that its command does not declare. Without the
    /// check, such a server would refuse the first sign-in.
    async fn check_scripts(&self, connection: &mut Connection) -> Result<(), ClientError> {
        let Some(key) = self.undeclared_key.lock().clone() else { return Ok(()) };
        let mut script = redis::cmd("EVAL");
        script.arg("return redis.call('EXISTS', ARGV[1])").arg(0).arg(key);
        match connection.send(&script).await.map_err(ClientError::from) {
            Ok(_) => *self.undeclared_key.lock() = None,
            Err(ClientError::UndeclaredKeys) => return Err(ClientError::UndeclaredKeys),
            // The call that needs the connection reports any other error.
            Err(_) => {}
        }
        Ok(())
    }

    /// The reason why there is no connection.
    fn connect_error(&self, error: &redis::RedisError) -> ClientError {
        match ClientError::from(error.clone()) {
            // The driver reports the refusal of all nodes of a Cluster as a failed connection.
            ClientError::Lost(why) if why.contains("WRONGPASS") => ClientError::WrongLogin,
            ClientError::Lost(why) if why.contains("NOAUTH") => ClientError::LoginRequired,
            ClientError::Lost(_) | ClientError::Busy(_) => {
                ClientError::Connect { server: self.servers.to_string(), why: describe(error) }
            }
            // Redis 6.0 introduced `HELLO`.
            ClientError::NoCommand(why) if why.contains("HELLO") => {
                ClientError::TooOld { found: "a version without HELLO".to_owned() }
            }
            // A refused login and similar errors stay as they are.
            other => other,
        }
    }

    /// Whether the primary of this term has a successor, as far as the Sentinels have reported.
    pub(crate) async fn has_successor(&self, term: u64) -> bool {
        match &self.sentinels {
            Some(sentinels) => sentinels.has_successor(term).await,
            None => false,
        }
    }

    pub(crate) fn servers(&self) -> &Servers {
        &self.servers
    }
}

impl Connection {
    async fn hello(&mut self) -> redis::RedisResult<Value> {
        let hello = redis::cmd("HELLO");
        match self {
            Self::Node(connection) => connection.req_packed_command(&hello).await,
            Self::Cluster(connection) => {
                connection
                    .route_command(
                        hello,
                        RoutingInfo::SingleNode(SingleNodeRoutingInfo::RandomPrimary),
                    )
                    .await
            }
        }
    }

    /// Sends one command. An error of the server becomes the error of the call.
    pub(crate) async fn send(&mut self, command: &Cmd) -> redis::RedisResult<Value> {
        self.send_raw(command).await?.extract_error()
    }

    /// Sends one command. An error of the server is a value.
    pub(crate) async fn send_raw(&mut self, command: &Cmd) -> redis::RedisResult<Value> {
        match self {
            Self::Node(connection) => connection.req_packed_command(command).await,
            Self::Cluster(connection) => connection.req_packed_command(command).await,
        }
    }

    /// Sends `count` commands in one round trip. An answer can be an error.
    pub(crate) async fn send_all(
        &mut self,
        commands: &redis::Pipeline,
        count: usize,
    ) -> redis::RedisResult<Vec<Value>> {
        match self {
            Self::Node(connection) => connection.req_packed_commands(commands, 0, count).await,
            Self::Cluster(connection) => connection.req_packed_commands(commands, 0, count).await,
        }
    }
}

/// Checks in the answer of `HELLO` that the server is new enough and has the mode that the URL's
/// scheme names.
fn check(hello: &Value, expects_cluster: bool) -> Result<(), ClientError> {
    if !matches!(hello, Value::Map(_)) {
        return Err(ClientError::UnexpectedAnswer("expected a map from HELLO"));
    }
    let field = |wanted| field(hello, wanted).unwrap_or_default();
    let (server, version) = (field("server"), field("version"));
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < OLDEST {
        return Err(ClientError::TooOld { found: format!("{server} {version}") });
    }
    match field("mode") {
        "cluster" if !expects_cluster => {
            Err(ClientError::WrongMode { found: "a node of a Cluster", scheme: "redis-cluster://" })
        }
        "sentinel" => Err(ClientError::WrongMode {
            found: "a Sentinel",
            scheme: "redis-sentinel://host1,host2,host3/name",
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_the_version_of_an_old_server() {
        let hello = |version: &str| {
            let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
            Value::Map(vec![(text("server"), text("redis")), (text("version"), text(version))])
        };
        for version in ["6.2.0", "7.0.15", "8.2.1", "10.0.0"] {
            assert!(check(&hello(version), false).is_ok(), "{version}");
        }
        let error = check(&hello("6.0.16"), false).unwrap_err().to_string();
        assert_eq!(
            error,
            "the server is too old (redis 6.0.16); use Redis 6.2 or later, or Valkey"
        );
        assert!(check(&Value::Okay, false).is_err());
    }

    #[test]
    fn error_names_the_scheme_for_the_mode_of_the_server() {
        let hello = |mode: &str| {
            let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
            Value::Map(vec![(text("version"), text("7.0.15")), (text("mode"), text(mode))])
        };
        assert!(
            check(&hello("cluster"), true).is_ok() && check(&hello("standalone"), false).is_ok()
        );
        let error = check(&hello("cluster"), false).unwrap_err().to_string();
        assert_eq!(error, "the server is a node of a Cluster; use a URL with redis-cluster://");
        assert!(check(&hello("sentinel"), false).is_err());
    }

    #[test]
    fn error_names_an_unreadable_file() {
        let config = Config::new("rediss://host?tls_ca=/nowhere/ca.pem").unwrap();
        let error = Connector::new(&config).err().unwrap().to_string();
        assert!(error.contains("tls_ca") && error.contains("/nowhere/ca.pem"), "{error}");
    }
}
