//! Makes connections: connect, handshake, and the check of the server's version and mode.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, PushInfo, PushKind, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    cluster_routing::{RoutingInfo, SingleNodeRoutingInfo},
};

use super::{
    address::Servers,
    client::{self, Credentials},
    decode::field,
    sentinels::{Primary, Sentinels},
};
use crate::{
    config::Config,
    error::{ClientError, ConfigError, OLDEST, describe},
};

/// How long connecting to a primary may take that Sentinels name.
const PRIMARY_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Makes connections to the servers of one configuration.
pub(crate) struct Connector {
    topology: Topology,
    servers: Servers,
}

enum Topology {
    Node(Box<Client>),
    Sentinel { sentinels: Arc<Sentinels>, credentials: Box<Credentials> },
    Cluster(Box<ClusterClient>),
}

/// A connection that many calls share.
#[derive(Clone)]
pub(crate) enum Connection {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connector {
    /// Checks the settings as far as the driver does. It does not connect.
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        let certificates = client::certificates(config)?;
        let topology = match &config.servers {
            Servers::Node(host) => {
                let address = host.address(config.tls);
                Topology::Node(Box::new(client::node(config, address, certificates)?))
            }
            Servers::Socket(path) => {
                let address = redis::ConnectionAddr::Unix(path.clone());
                Topology::Node(Box::new(client::node(config, address, certificates)?))
            }
            Servers::Sentinel { sentinels, primary } => {
                let credentials = Credentials::new(config, certificates);
                let clients = sentinels
                    .iter()
                    .map(|host| Ok((host.clone(), credentials.sentinel(host)?)))
                    .collect::<Result<Vec<_>, ConfigError>>()?;
                Topology::Sentinel {
                    sentinels: Arc::new(Sentinels::new(primary, clients, config.deadline)),
                    credentials: Box::new(credentials),
                }
            }
            Servers::Cluster(hosts) => {
                let addresses = hosts.iter().map(|host| host.address(config.tls));
                Topology::Cluster(Box::new(client::cluster(config, addresses, certificates)?))
            }
        };
        Ok(Self { topology, servers: config.servers.clone() })
    }

    /// Connects and checks the server's version and mode.
    ///
    /// The driver sets `disconnected` as soon as it notices that the connection is lost. The second
    /// part of the result is the term of the primary, for [`has_successor`](Self::has_successor).
    pub(crate) async fn connect(
        &self,
        disconnected: &Arc<AtomicBool>,
    ) -> Result<(Connection, u64), ClientError> {
        let connection = match &self.topology {
            Topology::Node(client) => {
                let connected = connect(client, disconnected).await;
                Connection::Node(connected.map_err(|error| self.connect_error(&error))?)
            }
            Topology::Cluster(client) => {
                let connected = client.get_async_connection().await;
                Connection::Cluster(connected.map_err(|error| self.connect_error(&error))?)
            }
            Topology::Sentinel { sentinels, credentials } => {
                return self.connect_primary(sentinels, credentials, disconnected).await;
            }
        };
        Ok((self.handshake(connection).await?.0, 0))
    }

    async fn connect_primary(
        &self,
        sentinels: &Arc<Sentinels>,
        credentials: &Credentials,
        disconnected: &Arc<AtomicBool>,
    ) -> Result<(Connection, u64), ClientError> {
        let Primary { host, term } = sentinels.primary().await?;
        let unusable = |what: String| ClientError::Connect {
            server: self.servers.to_string(),
            why: format!("the Sentinels name {host}, which {what}"),
        };
        let connecting = tokio::time::timeout(PRIMARY_CONNECT_TIMEOUT, async {
            let connection = connect(&credentials.node(&host)?, disconnected)
                .await
                .map_err(|error| self.connect_error(&error))?;
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
        Ok((connection, hello))
    }

    /// The reason why there is no connection.
    fn connect_error(&self, error: &redis::RedisError) -> ClientError {
        match ClientError::from(error.clone()) {
            ClientError::Lost(_) | ClientError::Busy(_) => {
                ClientError::Connect { server: self.servers.to_string(), why: describe(error) }
            }
            // Redis 6.0 introduced `HELLO`.
            ClientError::Refused(why)
                if why.contains("unknown command") && why.contains("HELLO") =>
            {
                ClientError::TooOld { found: "a version without HELLO".to_owned() }
            }
            // A refused login and similar errors stay as they are.
            other => other,
        }
    }

    /// Whether the primary of this term has a successor, as far as the Sentinels have reported.
    pub(crate) async fn has_successor(&self, term: u64) -> bool {
        match &self.topology {
            Topology::Sentinel { sentinels, .. } => sentinels.has_successor(term).await,
            Topology::Node(_) | Topology::Cluster(_) => false,
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

async fn connect(
    client: &Client,
    disconnected: &Arc<AtomicBool>,
) -> redis::RedisResult<MultiplexedConnection> {
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
        .set_push_sender(watch);
    client.get_multiplexed_async_connection_with_config(&settings).await
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
