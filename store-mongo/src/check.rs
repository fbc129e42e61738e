//! The check of a server: whether it can be reached, what the user may do, and which of its
//! settings lose sessions.

use std::{
    future::Future,
    time::{Duration, Instant, SystemTime},
};

use futures_util::future::join_all;
use mongodb::{
    Client,
    bson::{Document, doc},
    options::{
        Acknowledgment, ClientOptions, ReadPreference, SelectionCriteria, ServerAddress, Tls,
    },
};
use session_core::{
    StoreError,
    report::{Check, CheckReport},
};
use store_support::check::{
    self, ClockSample, Encryption, Endpoint, FailedOperation, Operation, names, push_operations,
};
use tokio::time::timeout;

use crate::{
    config::Config,
    error::{ClientError, OLDEST_SERVER, STORE},
    index,
    store::MongoStore,
};

const TOPOLOGY: &str = "topology";
const WRITE_CONCERN: &str = "write concern";
const JOURNAL: &str = "journal";
const TTL_MONITOR: &str = "ttlMonitorEnabled";
const INDEXES: &str = "indexes";
/// All checks after those of the connection and of the login.
const OTHERS: [&str; 9] = [
    names::TLS,
    names::VERSION,
    names::OPERATIONS,
    names::CLOCK,
    TOPOLOGY,
    WRITE_CONCERN,
    JOURNAL,
    TTL_MONITOR,
    INDEXES,
];

/// The time limit of the trial, in deadlines.
const TRIAL: u32 = 3;

/// Connects once and reports whether the store can use the server, what its user may do, and which
/// settings lose sessions.
///
/// As the store does, this creates the indexes that are missing. The trial of the operations
/// creates a session and ends it. All of this takes at most twelve times [`Config::deadline`].
///
/// # Panics
/// Outside a tokio runtime.
pub async fn check(config: &Config) -> CheckReport {
    let mut report = CheckReport::new(STORE, config.servers().to_string());
    let Some(server) = Server::connect(config, &mut report).await else { return report };
    report.push(server.tls().await);
    report.push(server.version().await);
    let tried = match MongoStore::with_client(&server.client, config) {
        Ok(store) => check::try_operations(&store, STORE, config.deadline * TRIAL).await,
        Err(error) => Err(FailedOperation {
            operation: Operation::Create,
            error: StoreError::Other { store: STORE, source: error.into() },
        }),
    };
    push_operations(&mut report, &tried, |failed| server.remedy(failed));
    report.push(server.clock());
    report.push(topology(&server.kind, config.is_direct()));
    report.push(write_concern(&server.kind, config.write_concern.w.as_ref()));
    report.push(server.journal().await);
    report.push(server.ttl_monitor().await);
    report.push(server.indexes().await);
    report
}

/// What the servers are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Single,
    ReplicaSet { name: String, members: usize },
    Router,
}

/// The connection of one check.
struct Server<'c> {
    config: &'c Config,
    client: Client,
    options: ClientOptions,
    hello: Document,
    kind: Kind,
    asked_at: SystemTime,
    round_trip: Duration,
}

impl<'c> Server<'c> {
    /// Connects, and adds the checks of the connection and of the login. If there is no connection,
    /// the other checks are added as not made.
    async fn connect(config: &'c Config, report: &mut CheckReport) -> Option<Self> {
        let begun = Instant::now();
        let opened = async {
            let options = config.client_options().await?;
            Ok((Client::with_options(options.clone())?, options))
        };
        let (client, options) = match within(config.deadline, opened).await {
            Ok(opened) => opened,
            Err(error) => {
                let remedy = "correct the host in the URL; `dig SRV _mongodb._tcp.<host>` shows \
                              the servers of a mongodb+srv URL";
                report.push(Check::failed(names::CONNECTION, error.to_string(), remedy));
                report.push_not_checked(&[names::LOGIN], "there is no connection");
                report.push_not_checked(&OTHERS, "there is no connection");
                return None;
            }
        };
        // The first question also makes the connection, so it does not measure the clock.
        let hello = within(config.deadline, hello(&client, config)).await;
        let user = options.credential.as_ref().and_then(|login| login.username.as_deref());
        let Err(error) = hello else {
            let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let took = Duration::from_millis(took);
            report.push(Check::ok(names::CONNECTION, format!("connected in {took:?}")));
            report.push(Check::ok(
                names::LOGIN,
                match user {
                    Some(user) => format!("accepted, as user {user}"),
                    None => "the URL has no login".to_owned(),
                },
            ));
            let (asked_at, begun) = (SystemTime::now(), Instant::now());
            match within(config.deadline, self::hello(&client, config)).await {
                Ok(hello) => {
                    let (kind, round_trip) = (kind(&hello), begun.elapsed());
                    return Some(Self {
                        config,
                        client,
                        options,
                        hello,
                        kind,
                        asked_at,
                        round_trip,
                    });
                }
                Err(error) => {
                    report.push_not_checked(&OTHERS, &error.to_string());
                    return None;
                }
            }
        };
        if let ClientError::Login = error {
            let (user, source) = (user.unwrap_or("<user>"), source(&options));
            report.push(Check::ok(names::CONNECTION, "the server answers"));
            report.push(Check::failed(
                names::LOGIN,
                error.to_string(),
                format!(
                    "write authSource=<the database of the user> into the URL, or as an \
                     administrator: db.getSiblingDB({source:?}).changeUserPassword({user:?}, \
                     passwordPrompt())"
                ),
            ));
        } else {
            report.push(unreachable(config, &options, &error).await);
            report.push_not_checked(&[names::LOGIN], "there is no connection");
        }
        report.push_not_checked(&OTHERS, "there is no connection");
        None
    }

    async fn tls(&self) -> Check {
        let encryption = match &self.options.tls {
            Some(Tls::Enabled(tls)) if tls.allow_invalid_certificates == Some(true) => {
                Encryption::Unverified
            }
            Some(Tls::Enabled(_)) => Encryption::Verified,
            _ => Encryption::None,
        };
        let endpoints = endpoints(&self.options);
        let local = endpoints.iter().map(|endpoint| endpoint.is_local(self.config.deadline));
        let is_local = join_all(local).await.into_iter().all(|is_local| is_local);
        let remedy = "write tls=true and tlsCAFile=/path/ca.pem into the URL, and let the server \
                      accept TLS: net.tls.mode: requireTLS in mongod.conf";
        check::tls(encryption, is_local, remedy)
    }

    async fn version(&self) -> Check {
        let wire = self.hello.get_i32("maxWireVersion").unwrap_or(0);
        let version = match self.command("admin", doc! { "buildInfo": 1 }).await {
            Ok(built) => built.get_str("version").map_or_else(|_| "?".to_owned(), str::to_owned),
            Err(_) => format!("with version {wire} of the wire protocol"),
        };
        supported(wire, &version)
    }

    fn clock(&self) -> Check {
        let millis = self.hello.get_datetime("localTime").map(|time| time.timestamp_millis());
        match millis.map(u64::try_from) {
            Ok(Ok(millis)) => check::clock(&ClockSample {
                asked_at: self.asked_at,
                round_trip: self.round_trip,
                server_micros: millis.saturating_mul(1_000),
            }),
            _ => Check::not_checked(names::CLOCK, "the server does not tell its time"),
        }
    }

    async fn journal(&self) -> Check {
        let told = match &self.kind {
            Kind::ReplicaSet { .. } => {
                let asked = self.command("admin", doc! { "replSetGetConfig": 1 }).await;
                asked.map(|answer| {
                    let config = answer.get_document("config").cloned().unwrap_or_default();
                    config.get_bool("writeConcernMajorityJournalDefault").unwrap_or(true)
                })
            }
            Kind::Single | Kind::Router => Ok(true),
        };
        let concern = &self.config.write_concern;
        let is_majority = matches!(concern.w, None | Some(Acknowledgment::Majority));
        journal(concern.journal, is_majority, told.map_err(|error| error.to_string()))
    }

    async fn ttl_monitor(&self) -> Check {
        if self.kind == Kind::Router {
            let reason = "the router does not tell the settings of the shards";
            return Check::not_checked(TTL_MONITOR, reason);
        }
        let question = doc! { "getParameter": 1, "ttlMonitorEnabled": 1 };
        let told = self.command("admin", question).await;
        ttl_monitor(
            told.map_err(|error| error.to_string())
                .map(|answer| answer.get_bool("ttlMonitorEnabled").unwrap_or(true)),
        )
    }

    async fn indexes(&self) -> Check {
        let sessions =
            self.client.database(&self.config.database).collection(&self.config.collection);
        match within(self.config.deadline, index::missing_names(&sessions)).await {
            Ok(missing) if missing.is_empty() => Check::ok(INDEXES, "present"),
            Ok(missing) => Check::failed(
                INDEXES,
                format!("missing: {}", missing.join(", ")),
                "give the user the privilege createIndex (role readWrite); the store creates them",
            ),
            Err(error) => Check::not_checked(INDEXES, error.to_string()),
        }
    }

    /// What to do about an operation that failed.
    fn remedy(&self, failed: &FailedOperation) -> String {
        let error = match &failed.error {
            StoreError::Unavailable { source, .. } | StoreError::Other { source, .. } => {
                source.downcast_ref::<ClientError>()
            }
            _ => None,
        };
        let Config { database, collection, .. } = self.config;
        let login = self.options.credential.as_ref();
        match (error, login.and_then(|login| login.username.as_deref())) {
            (Some(ClientError::MissingPrivilege(_)), Some(user)) => format!(
                "as an administrator: db.getSiblingDB({:?}).grantRolesToUser({user:?}, [{{ role: \
                 \"readWrite\", db: {database:?} }}])",
                source(&self.options)
            ),
            (Some(ClientError::MissingPrivilege(_)), None) => {
                "write user and password into the URL: mongodb://user:password@host/database"
                    .to_owned()
            }
            (
                Some(
                    ClientError::ConflictingIndex(_)
                    | ClientError::UniqueIndex(_)
                    | ClientError::Collation
                    | ClientError::ShardKey
                    | ClientError::DuplicateKey,
                ),
                _,
            ) => format!(
                "write collection=<another name> into the URL, or remove the data: \
                 db.getSiblingDB({database:?}).getCollection({collection:?}).drop()"
            ),
            (Some(ClientError::Unacknowledged(_)), _) => {
                "rs.status() shows the members that are down; start them".to_owned()
            }
            (Some(ClientError::Full(_)), _) => "free disk space at the server".to_owned(),
            (Some(ClientError::DirectConnection), _) => {
                "write replicaSet=<name> instead of directConnection=true into the URL".to_owned()
            }
            _ => "the log of the server has the reason; if the server is slow, raise deadline_ms \
                  in the URL"
                .to_owned(),
        }
    }

    async fn command(&self, database: &str, command: Document) -> Result<Document, ClientError> {
        let asked = async { Ok(self.client.database(database).run_command(command).await?) };
        within(self.config.deadline, asked).await
    }
}

async fn hello(client: &Client, config: &Config) -> Result<Document, ClientError> {
    let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
    let database = client.database(&config.database);
    Ok(database.run_command(doc! { "hello": 1 }).selection_criteria(primary).await?)
}

/// Runs a question within this time.
async fn within<T>(
    limit: Duration,
    asked: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    match timeout(limit, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(ClientError::Unreachable(format!("no answer within {limit:?}"))),
    }
}

/// The database of the user.
fn source(options: &ClientOptions) -> &str {
    let source = options.credential.as_ref().and_then(|login| login.source.as_deref());
    source.or(options.default_database.as_deref()).unwrap_or("admin")
}

fn endpoints(options: &ClientOptions) -> Vec<Endpoint<'_>> {
    let endpoint = |address| match address {
        &ServerAddress::Tcp { ref host, port } => Some(Endpoint::Tcp(host, port.unwrap_or(27017))),
        ServerAddress::Unix { path } => Some(Endpoint::Socket(path)),
        _ => None,
    };
    options.hosts.iter().filter_map(endpoint).collect()
}

/// The check of a connection that failed with this error.
async fn unreachable(config: &Config, options: &ClientOptions, error: &ClientError) -> Check {
    let found = error.to_string();
    let endpoints = endpoints(options);
    let asked = endpoints
        .iter()
        .map(|endpoint| endpoint.why_unreachable(config.deadline, "net.bindIp in mongod.conf"));
    let mut reasons: Vec<_> = join_all(asked).await;
    // The driver needs one server to find the others, so with one that answers it failed for
    // another reason.
    if reasons.iter().all(Option::is_some)
        && let Some(Some(first)) = reasons.drain(..).next()
    {
        return first;
    }
    let remedy = if options.tls.is_some() {
        "the server must accept TLS (net.tls.mode in mongod.conf) with a certificate for the host \
         in the URL; write tlsCAFile=/path/ca.pem into the URL for its authority"
    } else {
        "rs.status() must show a primary, replicaSet in the URL must be the name of the set, and \
         this machine must reach the members at the addresses in rs.conf(); a server that demands \
         TLS needs tls=true in the URL"
    };
    Check::failed(names::CONNECTION, found, remedy)
}

fn kind(hello: &Document) -> Kind {
    if matches!(hello.get_str("msg"), Ok("isdbgrid")) {
        return Kind::Router;
    }
    match hello.get_str("setName") {
        Ok(name) => Kind::ReplicaSet {
            name: name.to_owned(),
            members: hello.get_array("hosts").map_or(1, Vec::len),
        },
        Err(_) => Kind::Single,
    }
}

fn supported(wire: i32, version: &str) -> Check {
    let (oldest, oldest_wire) = OLDEST_SERVER;
    if wire < oldest_wire {
        return Check::failed(
            names::VERSION,
            format!("MongoDB {version} is too old"),
            format!("install MongoDB {oldest} or later"),
        );
    }
    Check::ok(names::VERSION, format!("MongoDB {version}"))
}

fn topology(kind: &Kind, is_direct: bool) -> Check {
    match kind {
        Kind::ReplicaSet { name, .. } if is_direct => Check::failed(
            TOPOLOGY,
            "directConnection=true leads to one member of a replica set, which can become a \
             secondary",
            format!("write replicaSet={name} instead of directConnection=true into the URL"),
        ),
        Kind::ReplicaSet { name, members } => {
            Check::ok(TOPOLOGY, format!("replica set {name} with {members} members"))
        }
        Kind::Router => Check::ok(TOPOLOGY, "sharded cluster"),
        Kind::Single => Check::ok(TOPOLOGY, "single server, without a failover"),
    }
}

fn write_concern(kind: &Kind, w: Option<&Acknowledgment>) -> Check {
    let members = match kind {
        Kind::Single => return Check::ok(WRITE_CONCERN, "a single server acknowledges itself"),
        Kind::ReplicaSet { members, .. } => Some(*members),
        Kind::Router => None,
    };
    match w {
        None | Some(Acknowledgment::Majority) => Check::ok(WRITE_CONCERN, "majority"),
        Some(Acknowledgment::Nodes(nodes))
            if members.is_some_and(|members| *nodes as usize > members / 2) =>
        {
            Check::ok(WRITE_CONCERN, format!("w={nodes}, a majority of the members"))
        }
        Some(Acknowledgment::Nodes(nodes)) => Check::warning(
            WRITE_CONCERN,
            format!("w={nodes}: an election can undo acknowledged changes, also sign-outs"),
            "write w=majority into the URL, or remove w",
        ),
        Some(_) => Check::not_checked(WRITE_CONCERN, "the write concern has a name of the server"),
    }
}

/// `journal` is the setting in the URL. `is_default` is whether a majority acknowledges only what
/// is in the journal.
fn journal(journal: Option<bool>, is_majority: bool, is_default: Result<bool, String>) -> Check {
    const LOST: &str = "a crash loses up to 100 ms of acknowledged changes";
    let add = "write journal=true into the URL";
    match (journal, is_majority, is_default) {
        (Some(true), ..) => Check::ok(JOURNAL, "journal=true"),
        (Some(false), ..) => Check::warning(JOURNAL, format!("journal=false: {LOST}"), add),
        (None, false, _) => {
            Check::warning(JOURNAL, format!("not waited for with this w: {LOST}"), add)
        }
        (None, true, Ok(true)) => Check::ok(JOURNAL, "a majority has each change in its journal"),
        (None, true, Ok(false)) => Check::warning(
            JOURNAL,
            format!("writeConcernMajorityJournalDefault is false: {LOST}"),
            add,
        ),
        (None, true, Err(reason)) => {
            Check::not_checked(JOURNAL, format!("replSetGetConfig: {reason}")).remedy(
                "as an administrator: rs.conf().writeConcernMajorityJournalDefault must be true; \
                 or write journal=true into the URL",
            )
        }
    }
}

fn ttl_monitor(is_enabled: Result<bool, String>) -> Check {
    match is_enabled {
        Ok(true) => Check::ok(TTL_MONITOR, "true"),
        Ok(false) => Check::warning(
            TTL_MONITOR,
            "false: the server does not delete expired sessions",
            "as an administrator: db.adminCommand({ setParameter: 1, ttlMonitorEnabled: true }), \
             and in mongod.conf setParameter: { ttlMonitorEnabled: true }",
        ),
        Err(reason) => Check::not_checked(TTL_MONITOR, format!("getParameter: {reason}")).remedy(
            "as an administrator: db.adminCommand({ getParameter: 1, ttlMonitorEnabled: 1 }) \
                 must be true",
        ),
    }
}

#[cfg(test)]
mod tests {
    use session_core::report::Outcome;

    use super::*;

    fn set() -> Kind {
        Kind::ReplicaSet { name: "rs".to_owned(), members: 3 }
    }

    #[test]
    fn settings_that_lose_data_have_a_remedy() {
        let refused = || Err("not authorized".to_owned());
        for (check, expected, remedy) in [
            (topology(&Kind::Single, true), Outcome::Ok, ""),
            (topology(&set(), false), Outcome::Ok, ""),
            (topology(&set(), true), Outcome::Failed, "replicaSet=rs"),
            (write_concern(&set(), None), Outcome::Ok, ""),
            (write_concern(&set(), Some(&Acknowledgment::Nodes(2))), Outcome::Ok, ""),
            (
                write_concern(&set(), Some(&Acknowledgment::Nodes(1))),
                Outcome::Warning,
                "w=majority",
            ),
            (write_concern(&Kind::Single, Some(&Acknowledgment::Nodes(1))), Outcome::Ok, ""),
            (journal(Some(true), false, Ok(false)), Outcome::Ok, ""),
            (journal(Some(false), true, Ok(true)), Outcome::Warning, "journal=true"),
            (journal(None, false, Ok(true)), Outcome::Warning, "journal=true"),
            (journal(None, true, Ok(true)), Outcome::Ok, ""),
            (journal(None, true, Ok(false)), Outcome::Warning, "journal=true"),
            (journal(None, true, refused()), Outcome::NotChecked, "rs.conf()"),
            (ttl_monitor(Ok(true)), Outcome::Ok, ""),
            (ttl_monitor(Ok(false)), Outcome::Warning, "ttlMonitorEnabled: true"),
            (ttl_monitor(refused()), Outcome::NotChecked, "getParameter"),
            (supported(12, "4.4"), Outcome::Failed, "MongoDB 5.0"),
            (supported(13, "5.0.1"), Outcome::Ok, ""),
        ] {
            assert_eq!(check.outcome, expected, "{check:?}");
            assert!(check.remedy.clone().unwrap_or_default().contains(remedy), "{check:?}");
        }
    }

    #[test]
    fn kind_is_read_from_hello() {
        assert_eq!(kind(&doc! { "msg": "isdbgrid" }), Kind::Router);
        assert_eq!(kind(&doc! { "isWritablePrimary": true }), Kind::Single);
        assert_eq!(kind(&doc! { "setName": "rs", "hosts": ["a", "b", "c"] }), set());
    }
}
