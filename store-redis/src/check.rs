//! The check of a server: whether it can be reached, what the user may do, and which of its
//! settings lose sessions.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use futures_util::future::join_all;
use redis::{
    Cmd, Value,
    cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo},
};
use session_core::{
    StoreError,
    report::{Check, CheckReport},
};
use store_support::check::{
    self, ClockSample, Encryption, Endpoint, FailedOperation, names, push_operations,
};
use tokio::time::timeout;

use crate::{
    config::Config,
    connect::{
        address::Servers,
        connector::{Connection, Connector},
        decode,
    },
    error::{ClientError, ConfigError, STORE},
    store::RedisStore,
};

const POLICY: &str = "maxmemory-policy";
const PERSISTENCE: &str = "persistence";
const REPLICAS: &str = "replicas";
const MIN_REPLICAS: &str = "min-replicas-to-write";
/// The checks of settings.
const SETTINGS: [&str; 4] = [POLICY, PERSISTENCE, REPLICAS, MIN_REPLICAS];

/// The settings that are asked for with `CONFIG GET`, one by one, because Redis 6.2 knows only one
/// name for each command.
const ASKED: [&str; 4] = ["maxmemory-policy", "appendfsync", "save", "min-replicas-to-write"];

/// The time limit of the trial, in deadlines.
const TRIAL: u32 = 3;

/// Connects once and reports whether the store can use the server, what its user may do, and which
/// settings of the server lose sessions.
///
/// The trial of the operations creates a session and ends it. All of this takes at most ten times
/// [`Config::deadline`]. If the URL names Sentinels, the server is the primary. In a Cluster the
/// settings of all primaries are checked, and the report shows the most serious result.
///
/// # Panics
/// Outside a tokio runtime.
pub async fn check(config: &Config) -> CheckReport {
    let mut report = CheckReport::new(STORE, config.servers.to_string());
    let server = match connect(config, &mut report).await {
        Ok(connection) => Server { config, connection },
        Err(reason) => {
            let rest = [names::TLS, names::OPERATIONS, names::CLOCK];
            report.push_not_checked(&rest, reason);
            report.push_not_checked(&SETTINGS, reason);
            return report;
        }
    };
    report.push(tls(config).await);
    let nodes = server.nodes().await;
    report.push(version(&nodes));
    let tried = match RedisStore::new(config) {
        Ok(store) => check::try_operations(&store, STORE, config.deadline * TRIAL).await,
        Err(error) => Err(FailedOperation {
            operation: check::Operation::Create,
            error: StoreError::Other { store: STORE, source: error.into() },
        }),
    };
    push_operations(&mut report, &tried, |failed| remedy(config, failed));
    report.push(server.clock().await);
    match nodes {
        Ok(nodes) => {
            let mut push = |check: fn(&Config, &Node) -> Check| {
                report.checks.extend(check::worst(nodes.iter().map(|node| {
                    let mut check = check(config, node);
                    if nodes.len() > 1 {
                        check.found = format!("{}: {}", node.address, check.found);
                    }
                    check
                })));
            };
            push(policy);
            push(persistence);
            push(replicas);
            push(min_replicas);
        }
        Err(reason) => report.push_not_checked(&SETTINGS, &format!("INFO failed: {reason}")),
    }
    report
}

/// Connects, and adds the checks of the connection and of the login. The error is the reason why
/// nothing else can be checked.
async fn connect(config: &Config, report: &mut CheckReport) -> Result<Connection, &'static str> {
    const NO_CONNECTION: &str = "there is no connection";
    let connector = match Connector::new(config) {
        Ok(connector) => connector,
        Err(error) => {
            let remedy = match &error {
                ConfigError::File { key, .. } => {
                    format!("correct {key} in the URL, or let this user read the file")
                }
                _ => "correct the URL".to_owned(),
            };
            report.push(Check::failed(names::CONNECTION, error.to_string(), remedy));
            report.push_not_checked(&[names::LOGIN], NO_CONNECTION);
            return Err(NO_CONNECTION);
        }
    };
    let begun = Instant::now();
    let disconnected = Arc::default();
    let error = match timeout(config.deadline, connector.connect(&disconnected)).await {
        Ok(Ok((connection, _))) => {
            let took =
                Duration::from_millis(u64::try_from(begun.elapsed().as_millis()).unwrap_or(0));
            report.push(Check::ok(names::CONNECTION, format!("connected in {took:?}")));
            report.push(Check::ok(names::LOGIN, user(config)));
            return Ok(connection);
        }
        Ok(Err(error)) => error,
        Err(_) => ClientError::Connect {
            server: config.servers.to_string(),
            why: format!("no answer within {:?}", config.deadline),
        },
    };
    let found = error.to_string();
    match error {
        ClientError::LoginRequired | ClientError::WrongLogin => {
            report.push(Check::ok(names::CONNECTION, "the server answers"));
            let remedy = "write user and password into the URL, redis://user:password@host, or \
                          redis://:password@host for requirepass; as an administrator: ACL \
                          SETUSER <user> on ><password>";
            report.push(Check::failed(names::LOGIN, found, remedy));
            Err("the server refuses the login")
        }
        ClientError::SentinelLogin { .. } => {
            report.push(Check::ok(names::CONNECTION, "the Sentinels answer"));
            let remedy = "write sentinel_user and sentinel_password into the URL; sentinel.conf \
                          has them as requirepass, or as a user with +hello +sentinel";
            report.push(Check::failed(names::LOGIN, found, remedy));
            Err("a Sentinel refuses the login")
        }
        error => {
            report.push(unreachable(config, &error, found).await);
            report.push_not_checked(&[names::LOGIN], NO_CONNECTION);
            Err(NO_CONNECTION)
        }
    }
}

fn user(config: &Config) -> String {
    match (&config.username, &config.password) {
        (Some(user), _) => format!("accepted, as user {user}"),
        (None, Some(_)) => "accepted, as the default user with a password".to_owned(),
        (None, None) => "accepted, without a password".to_owned(),
    }
}

/// The check of a connection that failed with this error.
async fn unreachable(config: &Config, error: &ClientError, found: String) -> Check {
    let remedy = match error {
        ClientError::NoPrimary { .. } => {
            "write the name from `sentinel monitor <name> …` in sentinel.conf to the end of the URL"
        }
        ClientError::TooOld { .. } => "install Redis 6.2 or later, or Valkey",
        ClientError::WrongMode { .. } => "write the scheme that the message names into the URL",
        ClientError::NoPermission(_) => "ACL SETUSER <user> +hello",
        // The text of these errors has the remedy after what was found.
        ClientError::Tls(_) | ClientError::Protected => {
            let (found, remedy) = found.split_once("; ").unwrap_or((&found, "correct the URL"));
            return Check::failed(names::CONNECTION, found, remedy);
        }
        _ => {
            let endpoints = endpoints(config);
            let asked = endpoints
                .iter()
                .map(|endpoint| endpoint.why_unreachable(config.deadline, "bind in redis.conf"));
            let mut reasons: Vec<_> = join_all(asked).await;
            // One reachable server is enough for the store, so its failure has another reason.
            if reasons.iter().all(Option::is_some)
                && let Some(Some(first)) = reasons.drain(..).next()
            {
                return first;
            }
            match &config.servers {
                Servers::Sentinel { .. } => {
                    "this machine must reach the primary at the address that the Sentinels name; \
                     set it with `replica-announce-ip` in redis.conf"
                }
                Servers::Cluster(_) => {
                    "this machine must reach all nodes at the addresses that CLUSTER SHARDS names; \
                     set them with `cluster-announce-ip` in redis.conf; a server that is not a \
                     Cluster needs redis://"
                }
                _ if config.tls => {
                    "the server must accept TLS at this port (`tls-port` in redis.conf); without \
                     TLS write redis://"
                }
                _ => {
                    "the server accepts connections and does not answer: it is stopped or \
                     overloaded, or it expects TLS, for which the URL begins with rediss://"
                }
            }
        }
    };
    Check::failed(names::CONNECTION, found, remedy)
}

fn endpoints(config: &Config) -> Vec<Endpoint<'_>> {
    match &config.servers {
        Servers::Node(host) => vec![Endpoint::Tcp(&host.name, host.port)],
        Servers::Socket(path) => vec![Endpoint::Socket(path)],
        Servers::Sentinel { sentinels: hosts, .. } | Servers::Cluster(hosts) => {
            hosts.iter().map(|host| Endpoint::Tcp(&host.name, host.port)).collect()
        }
    }
}

async fn tls(config: &Config) -> Check {
    let encryption = if config.tls { Encryption::Verified } else { Encryption::None };
    let endpoints = endpoints(config);
    let local = endpoints.iter().map(|endpoint| endpoint.is_local(config.deadline));
    let is_local = join_all(local).await.into_iter().all(|is_local| is_local);
    let remedy = "begin the URL with rediss://, and let the server accept TLS: `tls-port`, \
                  `tls-cert-file` and `tls-key-file` in redis.conf";
    check::tls(encryption, is_local, remedy)
}

/// What to do about an operation that failed.
fn remedy(config: &Config, failed: &FailedOperation) -> String {
    let error = match &failed.error {
        StoreError::Unavailable { source, .. } | StoreError::Other { source, .. } => {
            source.downcast_ref::<ClientError>()
        }
        StoreError::Rejected(_) => {
            return "raise maxmemory: CONFIG SET maxmemory <bytes>, and the line in redis.conf"
                .to_owned();
        }
        _ => None,
    };
    match error {
        Some(ClientError::NoPermission(_)) => {
            let mut rights =
                "+hello +ping +evalsha +eval +hgetall +hmget +hget +hkeys +hset +hdel \
                              +exists +type +pexpireat +pttl +unlink +time +scan +zadd +zrem \
                              +zrange +zremrangebylex"
                    .to_owned();
            for (is_needed, more) in [
                (config.database != 0, " +select"),
                (config.servers.is_cluster(), " +cluster +asking"),
                (config.wait_replicas.is_some(), " +wait +set"),
            ] {
                if is_needed {
                    rights.push_str(more);
                }
            }
            let user = config.username.as_deref().unwrap_or("default");
            format!("as an administrator: ACL SETUSER {user} ~{}* {rights}", config.prefix)
        }
        Some(ClientError::Demoted(_)) => {
            "name the primary in the URL, or Sentinels with redis-sentinel://".to_owned()
        }
        Some(ClientError::NotReplicated { .. }) => {
            "connect a replica (`replicaof <host> <port>` in its redis.conf), raise wait_ms, or \
             remove wait_replicas from the URL"
                .to_owned()
        }
        Some(ClientError::Busy(why)) if why.contains("MISCONF") => {
            "give the server disk space and write access to its `dir`; its log has the reason"
                .to_owned()
        }
        Some(ClientError::Busy(why)) if why.contains("NOREPLICAS") => {
            "connect replicas, or lower `min-replicas-to-write`".to_owned()
        }
        _ => "the log of the server has the reason; if the server is slow, raise deadline_ms in \
              the URL"
            .to_owned(),
    }
}

/// A server with its settings.
struct Node {
    address: String,
    info: BTreeMap<String, String>,
    /// What `CONFIG GET` tells, or why it does not.
    config: Result<BTreeMap<String, String>, String>,
}

/// The connection of one check.
struct Server<'c> {
    config: &'c Config,
    connection: Connection,
}

impl Server<'_> {
    /// The answers of all primaries to a command, each with the address.
    async fn ask(&self, command: Cmd) -> Result<Vec<(String, Value)>, String> {
        let mut connection = self.connection.clone();
        let asking = async move {
            match &mut connection {
                node @ Connection::Node(_) => Ok(vec![(String::new(), node.send(&command).await?)]),
                Connection::Cluster(cluster) => {
                    let all = MultipleNodeRoutingInfo::AllMasters;
                    let routing = RoutingInfo::MultiNode((all, None));
                    match cluster.route_command(command, routing).await?.extract_error()? {
                        Value::Map(answers) => Ok(answers
                            .into_iter()
                            .map(|(address, answer)| (text(&address).to_owned(), answer))
                            .collect()),
                        answer => Ok(vec![(String::new(), answer)]),
                    }
                }
            }
        };
        within(self.config.deadline, asking).await
    }

    async fn nodes(&self) -> Result<Vec<Node>, String> {
        let infos = self.ask(redis::cmd("INFO")).await?;
        let mut nodes: Vec<_> = infos
            .into_iter()
            .map(|(address, info)| Node {
                address,
                info: text(&info)
                    .lines()
                    .filter_map(|line| line.split_once(':'))
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect(),
                config: Ok(BTreeMap::new()),
            })
            .collect();
        let asked = ASKED.map(|name| {
            let mut command = redis::cmd("CONFIG");
            command.arg("GET").arg(name);
            self.ask(command)
        });
        for (name, answers) in ASKED.iter().zip(join_all(asked).await) {
            for node in &mut nodes {
                let told = match &answers {
                    Ok(answers) => {
                        answers.iter().find(|(address, _)| *address == node.address).map_or_else(
                            || Err("a node did not answer CONFIG GET".to_owned()),
                            |(_, answer)| Ok(decode::field(answer, name)),
                        )
                    }
                    Err(reason) => Err(reason.clone()),
                };
                match (told, &mut node.config) {
                    (Ok(Some(value)), Ok(config)) => {
                        config.insert((*name).to_owned(), value.to_owned());
                    }
                    (Err(reason), config) => *config = Err(reason),
                    (Ok(_), _) => {}
                }
            }
        }
        Ok(nodes)
    }

    /// The check of the clocks of all servers.
    async fn clock(&self) -> Check {
        let (asked_at, begun) = (SystemTime::now(), Instant::now());
        let answers = match self.ask(redis::cmd("TIME")).await {
            Ok(answers) => answers,
            Err(reason) => {
                return Check::not_checked(names::CLOCK, format!("TIME failed: {reason}"));
            }
        };
        let round_trip = begun.elapsed();
        let checks = answers
            .iter()
            .filter_map(|(_, answer)| decode::time(answer))
            .map(|time| check::clock(&ClockSample { asked_at, round_trip, server_micros: time }));
        let unreadable = || Check::not_checked(names::CLOCK, "the answer of TIME is not a time");
        check::worst(checks).unwrap_or_else(unreadable)
    }
}

/// Runs a question within this time. The error is the reason why there is no answer.
async fn within<T>(
    limit: Duration,
    asking: impl Future<Output = Result<T, redis::RedisError>>,
) -> Result<T, String> {
    match timeout(limit, asking).await {
        Ok(answer) => answer.map_err(|error| ClientError::from(error).to_string()),
        Err(_) => Err(format!("no answer within {limit:?}")),
    }
}

/// The text of an answer. `INFO` answers with a verbatim string.
fn text(value: &Value) -> &str {
    match value {
        Value::VerbatimString { text, .. } => text,
        value => decode::text(value).unwrap_or_default(),
    }
}

impl Node {
    fn info(&self, name: &str) -> &str {
        self.info.get(name).map_or("", |value| value.trim_end())
    }

    fn number(&self, name: &str) -> u64 {
        self.info(name).parse().unwrap_or(0)
    }

    /// A setting from `CONFIG GET`, or the check that says why it is not known.
    fn setting(&self, check: &'static str, name: &str) -> Result<&str, Check> {
        let reason = match &self.config {
            Ok(config) => match config.get(name) {
                Some(value) => return Ok(value),
                None => format!("the server does not tell {name}"),
            },
            Err(reason) => format!("the server does not tell {name}: {reason}"),
        };
        Err(Check::not_checked(check, reason).remedy(format!(
            "as an administrator: CONFIG GET {name}; or look for {name} in the console of the \
             provider"
        )))
    }

    fn product(&self) -> String {
        match (self.info("valkey_version"), self.info("redis_version")) {
            ("", "") => "unknown".to_owned(),
            ("", redis) => format!("Redis {redis}"),
            (valkey, _) => format!("Valkey {valkey}"),
        }
    }
}

/// The version of the servers. The handshake has refused one that is too old.
fn version(nodes: &Result<Vec<Node>, String>) -> Check {
    match nodes {
        Ok(nodes) => {
            let mut products: Vec<_> = nodes.iter().map(Node::product).collect();
            products.sort_unstable();
            products.dedup();
            let servers = match nodes.len() {
                1 => String::new(),
                count => format!(", {count} primaries"),
            };
            Check::ok(names::VERSION, format!("{}{servers}", products.join(" and ")))
        }
        Err(_) => Check::ok(names::VERSION, "supported; the server does not tell it with INFO"),
    }
}

fn policy(_: &Config, node: &Node) -> Check {
    let policy = match (node.info("maxmemory_policy"), node.setting(POLICY, POLICY)) {
        ("", Err(unknown)) => return unknown,
        ("", Ok(policy)) | (policy, _) => policy,
    };
    let remedy = "CONFIG SET maxmemory-policy noeviction, and in redis.conf the line \
                  `maxmemory-policy noeviction`";
    match (policy, node.number("maxmemory")) {
        ("noeviction", 0) => Check::ok(POLICY, "noeviction, without maxmemory"),
        ("noeviction", bytes) => Check::ok(POLICY, format!("noeviction, maxmemory {bytes} bytes")),
        (policy, 0) => Check::warning(
            POLICY,
            format!("{policy}: as soon as maxmemory is set, a full server ends sessions"),
            remedy,
        ),
        (policy, bytes) => Check::failed(
            POLICY,
            format!("{policy}: a server that reaches maxmemory ({bytes} bytes) ends sessions"),
            remedy,
        ),
    }
}

fn persistence(_: &Config, node: &Node) -> Check {
    let enable = "CONFIG SET appendonly yes, and in redis.conf the lines `appendonly yes` and \
                  `appendfsync everysec`";
    if node.info("aof_enabled") != "1" {
        let found = match node.setting(PERSISTENCE, "save") {
            Ok("") => "appendonly no, save \"\": a restart loses all sessions".to_owned(),
            Ok(save) => format!(
                "appendonly no, save {save:?}: a crash loses the changes since the last snapshot"
            ),
            Err(_) => "appendonly no: a crash loses at least the changes since the last snapshot"
                .to_owned(),
        };
        return Check::warning(PERSISTENCE, found, enable);
    }
    match node.setting(PERSISTENCE, "appendfsync") {
        Ok("always") => {
            Check::ok(PERSISTENCE, "appendonly yes, appendfsync always: a crash loses no change")
        }
        Ok("no") => Check::warning(
            PERSISTENCE,
            "appendonly yes, appendfsync no: a power failure loses up to 30 s of changes",
            "CONFIG SET appendfsync everysec, and in redis.conf the line `appendfsync everysec`",
        ),
        Ok(fsync) => Check::ok(
            PERSISTENCE,
            format!("appendonly yes, appendfsync {fsync}: a crash loses about 1 s of changes"),
        ),
        Err(unknown) => unknown,
    }
}

fn replicas(config: &Config, node: &Node) -> Check {
    let connected = node.number("connected_slaves");
    if node.info("role") == "slave" {
        return Check::failed(
            REPLICAS,
            "the server is a replica, which refuses changes",
            format!(
                "name the primary in the URL, which is {}:{}",
                node.info("master_host"),
                node.info("master_port")
            ),
        );
    }
    let is_replicated = matches!(config.servers, Servers::Sentinel { .. } | Servers::Cluster(_));
    match (config.wait_replicas.map_or(0, |wanted| wanted.get() as u64), connected) {
        (wanted, connected) if connected < wanted => Check::failed(
            REPLICAS,
            format!(
                "{connected} connected, and wait_replicas={wanted}: each sign-in, rotation and end \
                 of a session fails"
            ),
            "connect a replica (`replicaof <host> <port>` in its redis.conf), or lower \
             wait_replicas in the URL",
        ),
        (0, 0) if is_replicated => Check::warning(
            REPLICAS,
            "none: no server can take over, and a failure of this one ends its sessions",
            "connect a replica: `replicaof <host> <port>` in its redis.conf; in a Cluster \
             `redis-cli --cluster add-node <new> <old> --cluster-slave`",
        ),
        (0, 0) => Check::ok(REPLICAS, "none"),
        (0, connected) => Check::warning(
            REPLICAS,
            format!(
                "{connected} connected, and the store does not wait for them: a failover can undo \
                 a sign-out or a rotation"
            ),
            "add wait_replicas=1 to the URL",
        ),
        (wanted, connected) => {
            Check::ok(REPLICAS, format!("{connected} connected, wait_replicas={wanted}"))
        }
    }
}

fn min_replicas(_: &Config, node: &Node) -> Check {
    let connected = node.number("connected_slaves");
    let least = match node.setting(MIN_REPLICAS, MIN_REPLICAS) {
        Ok(least) => least.parse::<u64>().unwrap_or(0),
        Err(unknown) => return unknown,
    };
    if least > connected {
        return Check::failed(
            MIN_REPLICAS,
            format!("{least}, and {connected} replicas are connected: the server refuses changes"),
            format!("connect replicas, or CONFIG SET min-replicas-to-write {connected}"),
        );
    }
    if least == 0 && connected > 0 {
        return Check::warning(
            MIN_REPLICAS,
            "0: a primary that is cut off from its replicas accepts changes that are lost later",
            "CONFIG SET min-replicas-to-write 1, and in redis.conf the lines \
             `min-replicas-to-write 1` and `min-replicas-max-lag 10`",
        );
    }
    Check::ok(MIN_REPLICAS, format!("{least}, and {connected} replicas are connected"))
}

#[cfg(test)]
mod tests {
    use session_core::report::Outcome;
    use store_support::tls_failure::TlsFailure;

    use super::*;

    fn node(info: &[(&str, &str)], config: &[(&str, &str)]) -> Node {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        Node { address: String::new(), info: map(info), config: Ok(map(config)) }
    }

    fn config(url: &str) -> Config {
        Config::new(url).unwrap()
    }

    #[test]
    fn eviction_fails_only_with_a_limit_of_memory() {
        let config = config("redis://localhost");
        for (name, maxmemory, expected) in [
            ("noeviction", "0", Outcome::Ok),
            ("noeviction", "1000", Outcome::Ok),
            ("allkeys-lru", "0", Outcome::Warning),
            ("volatile-ttl", "1000", Outcome::Failed),
        ] {
            let node = node(&[("maxmemory_policy", name), ("maxmemory", maxmemory)], &[]);
            assert_eq!(policy(&config, &node).outcome, expected, "{name} {maxmemory}");
        }
    }

    #[test]
    fn persistence_names_what_a_crash_loses() {
        let config = config("redis://localhost");
        for (aof, fsync, save, expected, words) in [
            ("1", "everysec", "", Outcome::Ok, "about 1 s"),
            ("1", "always", "", Outcome::Ok, "no change"),
            ("1", "no", "", Outcome::Warning, "30 s"),
            ("0", "everysec", "3600 1", Outcome::Warning, "last snapshot"),
            ("0", "everysec", "", Outcome::Warning, "all sessions"),
        ] {
            let node = node(&[("aof_enabled", aof)], &[("appendfsync", fsync), ("save", save)]);
            let check = persistence(&config, &node);
            assert_eq!(check.outcome, expected, "{check:?}");
            assert!(check.found.contains(words), "{check:?}");
        }
    }

    #[test]
    fn replicas_are_compared_with_the_url_and_the_setting() {
        let one = config("redis://localhost");
        let waiting = config("redis://localhost?wait_replicas=1");
        let sentinel = config("redis-sentinel://a/main");
        for (config, role, connected, least, expected) in [
            (&one, "master", "0", "0", [Outcome::Ok, Outcome::Ok]),
            (&one, "master", "1", "0", [Outcome::Warning, Outcome::Warning]),
            (&waiting, "master", "1", "1", [Outcome::Ok, Outcome::Ok]),
            (&waiting, "master", "0", "0", [Outcome::Failed, Outcome::Ok]),
            (&one, "slave", "0", "0", [Outcome::Failed, Outcome::Ok]),
            (&sentinel, "master", "0", "1", [Outcome::Warning, Outcome::Failed]),
        ] {
            let node =
                node(&[("role", role), ("connected_slaves", connected)], &[(MIN_REPLICAS, least)]);
            let found = [replicas(config, &node).outcome, min_replicas(config, &node).outcome];
            assert_eq!(found, expected, "{config:?} {role} {connected} {least}");
        }
    }

    #[tokio::test]
    async fn remedy_of_tls_follows_what_was_found() {
        let error = ClientError::Tls(TlsFailure::NotSpoken { without_tls: "redis://" });
        let check = unreachable(&config("rediss://localhost"), &error, error.to_string()).await;
        let found = "the server does not speak TLS at this port";
        assert_eq!((check.found.as_str(), check.outcome), (found, Outcome::Failed));
        assert!(check.remedy.is_some_and(|remedy| remedy.ends_with("or write redis://")));
    }

    #[test]
    fn refused_config_is_not_checked() {
        let config = config("redis://localhost");
        let refused = Node {
            address: String::new(),
            info: BTreeMap::from([("aof_enabled".to_owned(), "1".to_owned())]),
            config: Err("ERR unknown command 'config'".to_owned()),
        };
        for check in [policy, persistence, min_replicas].map(|check| check(&config, &refused)) {
            assert_eq!(check.outcome, Outcome::NotChecked, "{check:?}");
            assert!(check.found.contains("unknown command"), "{check:?}");
        }
    }
}
