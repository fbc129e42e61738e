//! The driver's clients, made from a configuration: addresses, logins, TLS, TCP settings.

use std::time::Duration;

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo,
    cluster::{ClusterClient, ClusterClientBuilder},
    io::tcp::{TcpSettings, socket2},
};

use super::{address::Host, login::Login, resolver::Resolver, tls::certificates};
use crate::{
    config::Config,
    error::{ConfigError, describe},
};

/// Makes the driver's clients. Each connect makes a new one, because the files of passwords and
/// certificates can have changed.
pub(super) struct Clients {
    config: Config,
    login: Login,
    sentinel_login: Login,
    resolver: Resolver,
}

impl Clients {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            login: Login::of_servers(config),
            sentinel_login: Login::of_sentinels(config),
            resolver: Resolver::new(config.deadline),
        }
    }

    /// Finds the addresses of all hosts.
    pub(super) fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// Whether all connections use TLS.
    pub(super) fn uses_tls(&self) -> bool {
        self.config.tls
    }

    /// The client for one server.
    pub(super) fn node(&self, address: ConnectionAddr) -> Result<Client, ConfigError> {
        self.client(address, &self.login, self.config.database)
    }

    /// The client for a Sentinel.
    pub(super) fn sentinel(&self, host: &Host) -> Result<Client, ConfigError> {
        self.client(host.address(self.config.tls), &self.sentinel_login, 0)
    }

    /// The client for a Cluster.
    pub(super) fn cluster(&self, hosts: &[Host]) -> Result<ClusterClient, ConfigError> {
        let config = &self.config;
        let nodes = hosts.iter().map(|host| info(host.address(config.tls), &self.login, 0));
        let mut builder = ClusterClientBuilder::new(nodes.collect::<Result<Vec<_>, _>>()?)
            .use_protocol(ProtocolVersion::RESP3)
            .tcp_settings(tcp(config.deadline))
            .async_dns_resolver(self.resolver.clone())
            // The driver can wait twice for a silent node: once for the configured nodes, and once
            // for the nodes that those name.
            .connection_timeout((config.deadline / 4).min(Duration::from_secs(1)))
            .response_timeout(config.deadline)
            .overall_response_timeout(None)
            // The driver would send a command again whose answer was lost, and so add twice.
            // `Connections` repeats the commands that may be repeated.
            .retries(0);
        if let Some(certificates) = certificates(config)? {
            builder = builder.certs(certificates);
        }
        builder.build().map_err(|error| driver_error(&error))
    }

    fn client(
        &self,
        address: ConnectionAddr,
        login: &Login,
        database: i64,
    ) -> Result<Client, ConfigError> {
        let info = info(address, login, database)?;
        match certificates(&self.config)? {
            Some(certificates) => Client::build_with_tls(info, certificates),
            None => Client::open(info),
        }
        .map_err(|error| driver_error(&error))
    }
}

fn info(
    address: ConnectionAddr,
    login: &Login,
    database: i64,
) -> Result<ConnectionInfo, ConfigError> {
    let settings =
        RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_db(database);
    let settings = login.add_to(settings)?;
    let info = address.into_connection_info().map_err(|error| driver_error(&error))?;
    Ok(info.set_redis_settings(settings).set_tcp_settings(tcp(Duration::from_secs(2))))
}

/// TCP settings with keepalive: the kernel ends an idle connection whose peer has vanished.
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

fn driver_error(error: &redis::RedisError) -> ConfigError {
    ConfigError::Driver { why: describe(error) }
}
