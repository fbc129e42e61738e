//! Making connections.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, TlsCertificates, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    cluster_routing::{RoutingInfo, SingleNodeRoutingInfo},
    io::tcp::{TcpSettings, socket2},
};

use crate::{
    address::{Host, Servers},
    answer::field,
    config::Config,
    error::{ClientError, ConfigError, OLDEST, described},
    sentinels::{Primary, Sentinels},
};

/// How long it may take to connect to the primary that Sentinels name.
const CONNECTS_WITHIN: Duration = Duration::from_secs(1);

/// Makes connections to the servers of one configuration.
pub(crate) struct Opener {
    way: Way,
    servers: Servers,
}

enum Way {
    Node(Box<Client>),
    Sentinel { sentinels: Arc<Sentinels>, primary: Box<Logins> },
    Cluster(Box<ClusterClient>),
}

/// How servers are spoken to whose addresses others tell.
struct Logins {
    config: Config,
    certificates: Option<TlsCertificates>,
}

/// A connection that many calls share.
#[derive(Clone)]
pub(crate) enum Connection {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Opener {
    /// Checks the settings as far as the driver does. Connects to nothing.
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        let certificates = if config.tls { Some(certificates(config)?) } else { None };
        let way = match &config.servers {
            Servers::Node(host) => {
                Way::Node(Box::new(node(config, host.address(config.tls), certificates)?))
            }
            Servers::Socket(path) => {
                Way::Node(Box::new(node(config, ConnectionAddr::Unix(path.clone()), certificates)?))
            }
            Servers::Sentinel { sentinels, primary } => {
                let logins = Logins { config: config.clone(), certificates };
                let all = sentinels
                    .iter()
                    .map(|host| Ok((host.clone(), logins.sentinel(host)?)))
                    .collect::<Result<Vec<_>, _>>()?;
                Way::Sentinel {
                    sentinels: Arc::new(Sentinels::new(primary, all, config.deadline)),
                    primary: Box::new(logins),
                }
            }
            Servers::Cluster(hosts) => {
                let addresses = hosts.iter().map(|host| host.address(config.tls));
                Way::Cluster(Box::new(cluster(config, addresses, certificates)?))
            }
        };
        Ok(Self { way, servers: config.servers.clone() })
    }

    /// Connects and sees that the server is new enough. `gone` becomes true when the connection is
    /// lost, as soon as the driver notices. With it comes the term of the primary, for
    /// [`is_over`](Self::is_over).
    pub(crate) async fn open(
        &self,
        gone: &Arc<AtomicBool>,
    ) -> Result<(Connection, u64), ClientError> {
        let connection = match &self.way {
            Way::Node(client) => {
                Connection::Node(connect(client, gone).await.map_err(|error| self.failed(&error))?)
            }
            Way::Cluster(client) => Connection::Cluster(
                client.get_async_connection().await.map_err(|error| self.failed(&error))?,
            ),
            Way::Sentinel { sentinels, primary } => {
                return self.open_primary(sentinels, primary, gone).await;
            }
        };
        Ok((self.greet(connection).await?.0, 0))
    }

    async fn open_primary(
        &self,
        sentinels: &Arc<Sentinels>,
        logins: &Logins,
        gone: &Arc<AtomicBool>,
    ) -> Result<(Connection, u64), ClientError> {
        let Primary { host, term } = sentinels.primary().await?;
        let named = |what: String| ClientError::Connect {
            server: self.servers.to_string(),
            why: format!("they name {host}, which {what}"),
        };
        let connected = tokio::time::timeout(CONNECTS_WITHIN, async {
            let connection =
                connect(&logins.node(&host)?, gone).await.map_err(|error| self.failed(&error))?;
            self.greet(Connection::Node(connection)).await
        });
        // One that stands still has a successor soon, so the next attempt asks again.
        let Ok(connected) = connected.await else {
            return Err(named(format!("did not answer within {CONNECTS_WITHIN:?}")));
        };
        let (connection, hello) = connected?;
        if field(&hello, "role") == Some("master") {
            Ok((connection, term))
        } else {
            Err(named("is a replica".to_owned()))
        }
    }

    /// Sees that the server can be used, and what it says of itself.
    async fn greet(&self, mut connection: Connection) -> Result<(Connection, Value), ClientError> {
        let hello = connection.hello().await.map_err(|error| self.failed(&error))?;
        check(&hello, self.servers.is_cluster())?;
        Ok((connection, hello))
    }

    /// Why there is no connection.
    fn failed(&self, error: &redis::RedisError) -> ClientError {
        match ClientError::from(error.clone()) {
            ClientError::Lost(_) | ClientError::Busy(_) => {
                ClientError::Connect { server: self.servers.to_string(), why: described(error) }
            }
            // It came with Redis 6.0.
            ClientError::Refused(why)
                if why.contains("unknown command") && why.contains("HELLO") =>
            {
                ClientError::TooOld { found: "a version that does not know HELLO".to_owned() }
            }
            // A wrong password and the like stays what it is.
            refused => refused,
        }
    }

    /// Whether a connection leads to a primary that has a successor, as far as Sentinels have said.
    pub(crate) async fn is_over(&self, term: u64) -> bool {
        match &self.way {
            Way::Sentinel { sentinels, .. } => sentinels.is_over(term).await,
            Way::Node(_) | Way::Cluster(_) => false,
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

    /// One command, one answer.
    pub(crate) async fn send(&mut self, command: &Cmd) -> redis::RedisResult<Value> {
        self.send_plainly(command).await?.extract_error()
    }

    /// The same, where a refusal is an answer too.
    pub(crate) async fn send_plainly(&mut self, command: &Cmd) -> redis::RedisResult<Value> {
        match self {
            Self::Node(connection) => connection.req_packed_command(command).await,
            Self::Cluster(connection) => connection.req_packed_command(command).await,
        }
    }

    /// `count` commands in one round trip. An answer can be an error.
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
    gone: &Arc<AtomicBool>,
) -> redis::RedisResult<MultiplexedConnection> {
    let gone = Arc::clone(gone);
    let watch = move |push: PushInfo| {
        if push.kind == PushKind::Disconnection {
            gone.store(true, Ordering::Relaxed);
        }
        Ok::<_, redis::aio::SendError>(())
    };
    // What opens it and what calls over it have limits of their own.
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_push_sender(watch);
    client.get_multiplexed_async_connection_with_config(&settings).await
}

impl Logins {
    fn node(&self, host: &Host) -> Result<Client, ClientError> {
        let client = node(&self.config, host.address(self.config.tls), self.certificates.clone());
        client.map_err(|error| ClientError::Refused(error.to_string()))
    }

    fn sentinel(&self, host: &Host) -> Result<Client, ConfigError> {
        let config = &self.config;
        let address = host.address(config.tls);
        let info = info(
            address,
            config.sentinel_username.as_deref(),
            config.sentinel_password.as_deref(),
            0,
        )?;
        client(info, self.certificates.clone())
    }
}

fn node(
    config: &Config,
    address: ConnectionAddr,
    certificates: Option<TlsCertificates>,
) -> Result<Client, ConfigError> {
    client(
        info(address, config.username.as_deref(), config.password.as_deref(), config.database)?,
        certificates,
    )
}

fn client(
    info: ConnectionInfo,
    certificates: Option<TlsCertificates>,
) -> Result<Client, ConfigError> {
    match certificates {
        Some(certificates) => Client::build_with_tls(info, certificates),
        None => Client::open(info),
    }
    .map_err(|error| refused(&error))
}

fn cluster(
    config: &Config,
    addresses: impl Iterator<Item = ConnectionAddr>,
    certificates: Option<TlsCertificates>,
) -> Result<ClusterClient, ConfigError> {
    let nodes = addresses
        .map(|address| info(address, config.username.as_deref(), config.password.as_deref(), 0));
    let mut builder = ClusterClientBuilder::new(nodes.collect::<Result<Vec<_>, _>>()?)
        .use_protocol(ProtocolVersion::RESP3)
        .tcp_settings(tcp(config.deadline))
        // Twice it waits for a node that is silent: for the nodes it was given, and for those that
        // they name.
        .connection_timeout((config.deadline / 4).min(Duration::from_secs(1)))
        .response_timeout(config.deadline)
        .overall_response_timeout(None)
        // The driver would repeat a command whose answer was lost, and add twice. What may be
        // repeated is repeated by `Links`.
        .retries(0);
    if let Some(certificates) = certificates {
        builder = builder.certs(certificates);
    }
    builder.build().map_err(|error| refused(&error))
}

fn info(
    address: ConnectionAddr,
    user: Option<&str>,
    password: Option<&str>,
    database: i64,
) -> Result<ConnectionInfo, ConfigError> {
    let mut settings =
        RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_db(database);
    if let Some(user) = user {
        settings = settings.set_username(user);
    }
    if let Some(password) = password {
        settings = settings.set_password(password);
    }
    let info = address.into_connection_info().map_err(|error| refused(&error))?;
    Ok(info.set_redis_settings(settings).set_tcp_settings(tcp(Duration::from_secs(2))))
}

/// A peer that vanished without a word is noticed by the kernel as well, where no call waits for
/// it.
fn tcp(deadline: Duration) -> TcpSettings {
    let probes = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(probes)
        .set_user_timeout(deadline.max(Duration::from_secs(1)) * 5)
}

fn certificates(config: &Config) -> Result<TlsCertificates, ConfigError> {
    // The application's choice counts; without one rustls cannot start.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error says that another thread was faster, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let read = |key, path: &Option<std::path::PathBuf>| match path {
        None => Ok(None),
        Some(path) => {
            let why = |error: std::io::Error| ConfigError::File {
                key,
                path: path.display().to_string(),
                why: error.to_string(),
            };
            fs::read(path).map(Some).map_err(why)
        }
    };
    let client_tls = match (read("tls_cert", &config.tls_cert)?, read("tls_key", &config.tls_key)?)
    {
        (Some(client_cert), Some(client_key)) => {
            Some(redis::ClientTlsConfig { client_cert, client_key })
        }
        _ => None,
    };
    Ok(TlsCertificates { client_tls, root_cert: read("tls_ca", &config.tls_ca)? })
}

fn refused(error: &redis::RedisError) -> ConfigError {
    ConfigError::Driver { why: described(error) }
}

/// Reads out of what `HELLO` says whether the server can be used, and is what the URL's scheme
/// says.
fn check(hello: &Value, clustered: bool) -> Result<(), ClientError> {
    if !matches!(hello, Value::Map(_)) {
        return Err(ClientError::Answer("HELLO answers with a map"));
    }
    let field = |wanted| field(hello, wanted).unwrap_or_default();
    let (server, version) = (field("server"), field("version"));
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < OLDEST {
        return Err(ClientError::TooOld { found: format!("{server} {version}") });
    }
    match field("mode") {
        "cluster" if !clustered => {
            Err(ClientError::Mode { found: "a node of a Cluster", usable: "redis-cluster://" })
        }
        "sentinel" => Err(ClientError::Mode {
            found: "a Sentinel",
            usable: "redis-sentinel://host1,host2,host3/name",
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_too_old_is_named() {
        let hello = |version: &str| {
            let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
            Value::Map(vec![(text("server"), text("redis")), (text("version"), text(version))])
        };
        for version in ["6.2.0", "7.0.15", "8.2.1", "10.0.0"] {
            assert!(check(&hello(version), false).is_ok(), "{version}");
        }
        let error = check(&hello("6.0.16"), false).unwrap_err().to_string();
        assert_eq!(error, "the server speaks redis 6.0.16; Redis 6.2 or Valkey is needed");
        assert!(check(&Value::Okay, false).is_err());
    }

    #[test]
    fn a_server_that_is_not_what_the_scheme_says_is_named() {
        let hello = |mode: &str| {
            let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
            Value::Map(vec![(text("version"), text("7.0.15")), (text("mode"), text(mode))])
        };
        assert!(
            check(&hello("cluster"), true).is_ok() && check(&hello("standalone"), false).is_ok()
        );
        let error = check(&hello("cluster"), false).unwrap_err().to_string();
        assert_eq!(
            error,
            "the server is a node of a Cluster; the URL for that begins with redis-cluster://"
        );
        assert!(check(&hello("sentinel"), false).is_err());
    }

    #[test]
    fn files_that_cannot_be_read_are_named() {
        let config = Config::new("rediss://host?tls_ca=/nowhere/ca.pem").unwrap();
        let error = Opener::new(&config).err().unwrap().to_string();
        assert!(error.contains("tls_ca") && error.contains("/nowhere/ca.pem"), "{error}");
    }
}
