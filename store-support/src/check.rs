//! The parts of a store's check that do not depend on the database: why a server cannot be reached,
//! whether the connection is encrypted, the difference of the clocks, and a trial of all operations
//! on a session that exists only for this purpose.

use std::{
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use session_core::{
    BoxError, Change, Claim, Commit, Created, Deleted, Json, Name, NewRecord, Opened, Outcome,
    Principal, PrincipalChange, Rotation, SessionId, SessionStore, StoreError,
    report::{self, Check, CheckReport},
};
use tokio::{
    net::{TcpStream, UnixStream, lookup_host},
    time::timeout,
};

/// The names of the checks that all stores have.
pub mod names {
    /// The server can be reached.
    pub const CONNECTION: &str = "connection";
    /// The server accepts user and password.
    pub const LOGIN: &str = "login";
    /// The store supports the version of the server.
    pub const VERSION: &str = "version";
    /// The connection is encrypted.
    pub const TLS: &str = "tls";
    /// The user may do what sessions need.
    pub const OPERATIONS: &str = "operations";
    /// The clocks of this machine and of the server agree.
    pub const CLOCK: &str = "clock";
}

/// The greatest difference of two clocks that is not reported.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(5);

/// The lifetime of the session of a trial, which ends it if the trial cannot.
const TRIAL_TTL: Duration = Duration::from_secs(60);

/// Where a server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint<'a> {
    /// A TCP port.
    Tcp(&'a str, u16),
    /// A Unix-domain socket.
    Socket(&'a Path),
}

impl Endpoint<'_> {
    /// Whether no other machine is between this process and the server. The lookup of a name takes
    /// at most `limit`, and a name that is not found counts as another machine.
    pub async fn is_local(&self, limit: Duration) -> bool {
        let &Self::Tcp(host, port) = self else { return true };
        if let Ok(address) = host.parse::<IpAddr>() {
            return address.to_canonical().is_loopback();
        }
        match timeout(limit, lookup_host((host, port))).await {
            Ok(Ok(addresses)) => {
                let mut addresses = addresses.peekable();
                addresses.peek().is_some()
                    && addresses.all(|address| address.ip().to_canonical().is_loopback())
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Why the server cannot be reached, as the check of the connection. `None` if the server
    /// accepts connections, so the reason is another one.
    ///
    /// The lookup of the name and the attempts to connect take at most `limit` each. `setting` is
    /// the server's setting with the addresses at which it listens.
    pub async fn why_unreachable(&self, limit: Duration, setting: &str) -> Option<Check> {
        match *self {
            Self::Socket(path) => why_no_socket(path, limit).await,
            Self::Tcp(host, port) => {
                let addresses: Vec<SocketAddr> =
                    match timeout(limit, lookup_host((host, port))).await {
                        Ok(Ok(addresses)) => addresses.collect(),
                        Ok(Err(error)) => {
                            return Some(Check::failed(
                                names::CONNECTION,
                                format!("the name {host} cannot be resolved: {error}"),
                                format!(
                                    "correct the host in the URL, or add it to DNS or /etc/hosts; \
                                     `getent hosts {host}` shows its addresses"
                                ),
                            ));
                        }
                        Err(_) => {
                            return Some(Check::failed(
                                names::CONNECTION,
                                format!("the DNS lookup of {host} takes longer than {limit:?}"),
                                "correct the DNS servers in /etc/resolv.conf, or write the \
                                 address into the URL",
                            ));
                        }
                    };
                let mut refusal = None;
                // One limit for all addresses.
                let connecting = timeout(limit, async {
                    for address in &addresses {
                        match TcpStream::connect(address).await {
                            Ok(_) => return true,
                            Err(error) => refusal = Some((*address, error)),
                        }
                    }
                    false
                });
                match connecting.await {
                    Ok(true) => None,
                    Ok(false) => Some(refused(host, port, refusal, setting)),
                    Err(_) => Some(Check::failed(
                        names::CONNECTION,
                        format!("no answer from {host} at port {port} within {limit:?}"),
                        format!(
                            "let the firewall (security group, network policy) of {host} pass \
                             TCP port {port} from this machine, or correct the host in the URL"
                        ),
                    )),
                }
            }
        }
    }
}

fn refused(
    host: &str,
    port: u16,
    refusal: Option<(SocketAddr, io::Error)>,
    setting: &str,
) -> Check {
    let (found, remedy) = match refusal {
        None => (
            format!("the name {host} has no address"),
            "correct the host in the URL, or add its address to DNS".to_owned(),
        ),
        Some((address, error)) if error.kind() == io::ErrorKind::ConnectionRefused => (
            format!("{address} refuses the connection: no program listens there"),
            format!(
                "start the server, or correct host and port in the URL; {setting} must include \
                 this address; `ss -ltn 'sport = {port}'` on the server shows where it listens"
            ),
        ),
        Some((address, error)) => (
            format!("cannot connect to {address}: {error}"),
            format!("correct the network between this machine and {host}"),
        ),
    };
    Check::failed(names::CONNECTION, found, remedy)
}

/// Why no server listens at this socket. `None` if one does.
async fn why_no_socket(path: &Path, limit: Duration) -> Option<Check> {
    let connected = match timeout(limit, UnixStream::connect(path)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    let (found, remedy) = match connected {
        Ok(_) => return None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => (
            format!("the socket {} does not exist", path.display()),
            "start the server, or correct the path in the URL".to_owned(),
        ),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => (
            format!("this user may not use the socket {}", path.display()),
            format!("run this program as a user that `ls -l {}` lists", path.display()),
        ),
        // The queue of new connections is full.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
        {
            return None;
        }
        Err(error) => (
            format!("no program listens at the socket {}: {error}", path.display()),
            "start the server, or correct the path in the URL".to_owned(),
        ),
    };
    Some(Check::failed(names::CONNECTION, found, remedy))
}

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// It is encrypted, and the certificate of the server is checked.
    Verified,
    /// It is encrypted, and any certificate is accepted.
    Unverified,
    /// It is not encrypted.
    None,
}

/// The check of the encryption. `remedy` is the setting of the URL that encrypts the connection and
/// checks the certificate.
#[must_use]
pub fn tls(encryption: Encryption, is_local: bool, remedy: &str) -> Check {
    match (encryption, is_local) {
        (Encryption::Verified, _) => {
            Check::ok(names::TLS, "encrypted, and the certificate of the server is checked")
        }
        (Encryption::Unverified, true) => Check::ok(names::TLS, "encrypted, on this machine"),
        (Encryption::None, true) => {
            Check::ok(names::TLS, "not encrypted; the connection does not leave this machine")
        }
        (Encryption::Unverified, false) => Check::warning(
            names::TLS,
            "encrypted, but any certificate is accepted: a machine in between can read the \
             sessions",
            remedy,
        ),
        (Encryption::None, false) => Check::warning(
            names::TLS,
            "not encrypted: machines on the way can read the sessions and the password",
            remedy,
        ),
    }
}

/// A time of the server, and when it was asked for.
#[derive(Debug, Clone, Copy)]
pub struct ClockSample {
    /// This machine's time when the question was sent.
    pub asked_at: SystemTime,
    /// The time until the answer.
    pub round_trip: Duration,
    /// The server's time since 1970, in microseconds.
    pub server_micros: u64,
}

impl ClockSample {
    /// The difference of the clocks, and whether the server is ahead. It assumes that the server
    /// read its clock in the middle of the round trip.
    fn difference(&self) -> (Duration, bool) {
        let here = self
            .asked_at
            .checked_add(self.round_trip / 2)
            .and_then(|here| here.duration_since(UNIX_EPOCH).ok())
            .unwrap_or_default();
        let server = Duration::from_micros(self.server_micros);
        (here.abs_diff(server), server > here)
    }
}

/// The check of the clocks.
///
/// The deadlines of sessions depend on the server's clock only. The times of cookies and logs
/// depend on this machine's clock.
#[must_use]
pub fn clock(sample: &ClockSample) -> Check {
    let (difference, is_ahead) = sample.difference();
    let shown = Duration::from_millis(u64::try_from(difference.as_millis()).unwrap_or(u64::MAX));
    if shown.is_zero() {
        return Check::ok(names::CLOCK, "the clocks differ by less than 1ms");
    }
    let direction = if is_ahead { "ahead of" } else { "behind" };
    if difference <= MAX_CLOCK_DIFFERENCE {
        return Check::ok(
            names::CLOCK,
            format!("the server is {shown:?} {direction} this machine"),
        );
    }
    Check::warning(
        names::CLOCK,
        format!("the server is {shown:?} {direction} this machine"),
        "synchronize both machines, for example with chrony: `systemctl enable --now chronyd`; \
         `chronyc tracking` shows the difference",
    )
}

/// The check of clocks for a store on this machine.
#[must_use]
pub fn same_clock() -> Check {
    Check::ok(names::CLOCK, "the sessions are on this machine")
}

/// The check with the most serious result. For checks of several servers.
#[must_use]
pub fn worst(checks: impl IntoIterator<Item = Check>) -> Option<Check> {
    let severity = |check: &Check| match check.outcome {
        report::Outcome::Ok => 0,
        report::Outcome::Warning => 2,
        report::Outcome::Failed => 3,
        _ => 1,
    };
    // The first of equals.
    checks.into_iter().reduce(
        |worst, check| {
            if severity(&check) > severity(&worst) { check } else { worst }
        },
    )
}

/// The text of an error without the name of the store: that of its source, if it has one.
#[must_use]
pub fn reason(error: &StoreError) -> String {
    let mut text = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    let mut source = error.source().and_then(Error::source);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// An operation of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `create`.
    Create,
    /// `load`.
    Load,
    /// `commit` that sets a value.
    Commit,
    /// `commit` that signs a user in and rotates the secret.
    Rotate,
    /// `list`.
    List,
    /// `delete`.
    Delete,
}

impl Operation {
    /// What the operation does, for `cannot …`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create a session",
            Self::Load => "load a session",
            Self::Commit => "commit a change",
            Self::Rotate => "rotate the secret at a sign-in",
            Self::List => "list the sessions of a user",
            Self::Delete => "delete a session",
        }
    }
}

/// The first operation of a trial that failed.
#[derive(Debug)]
pub struct FailedOperation {
    /// The operation.
    pub operation: Operation,
    /// The error of the store.
    pub error: StoreError,
}

impl FailedOperation {
    /// What the report says.
    #[must_use]
    pub fn found(&self) -> String {
        format!("cannot {}: {}", self.operation.name(), reason(&self.error))
    }
}

/// Adds the check of the operations. `remedy` says what to do about a failed one.
pub fn push_operations(
    report: &mut CheckReport,
    tried: &Result<(), FailedOperation>,
    remedy: impl FnOnce(&FailedOperation) -> String,
) {
    report.push(match tried {
        Ok(()) => {
            Check::ok(names::OPERATIONS, "create, load, commit, rotate, list and delete work")
        }
        Err(failed) => Check::failed(names::OPERATIONS, failed.found(), remedy(failed)),
    });
}

/// Tries all operations of a session on a new one, and ends it.
///
/// Takes at most `limit` for the operations, and once more for the end of the session. If that
/// fails too, the session expires after a minute.
///
/// # Errors
/// [`FailedOperation`] for the first operation that failed.
pub async fn try_operations(
    store: &dyn SessionStore,
    name: &'static str,
    limit: Duration,
) -> Result<(), FailedOperation> {
    let mut operation = Operation::Create;
    let id = match SessionId::random() {
        Ok(id) => id,
        Err(error) => return Err(FailedOperation { operation, error: other(name, error) }),
    };
    let tried = match timeout(limit, operations(store, name, &id, &mut operation)).await {
        Ok(tried) => tried,
        Err(_) => Err(StoreError::Timeout { store: name, after: limit }),
    };
    if tried.is_err() {
        // The result does not matter: the session also expires.
        let _ = timeout(limit, store.delete(&id.key(), Claim::Any)).await;
    }
    tried.map_err(|error| FailedOperation { operation, error })
}

async fn operations(
    store: &dyn SessionStore,
    name: &'static str,
    id: &SessionId,
    operation: &mut Operation,
) -> Result<(), StoreError> {
    let unexpected = |what: &'static str| Err(other(name, what));
    let (key, secret) = (id.key(), id.secret_hash());
    // The handle is public, and no other session has it.
    let user = Principal::new(format!("store-check-{}", key.handle()))
        .map_err(|error| other(name, error))?;
    let value = Name::new("check").map_err(|error| other(name, error))?;
    let rotated = id.rotated().map_err(|error| other(name, error))?;

    match store.create(&key, NewRecord::new(secret, TRIAL_TTL)).await? {
        Created::New => {}
        Created::Taken => return unexpected("a new session already exists"),
    }
    *operation = Operation::Load;
    match store.load(&key).await?.map(|stored| stored.open(&secret)) {
        Some(Opened::Current(_)) => {}
        _ => return unexpected("the store does not return the session that it has just created"),
    }
    *operation = Operation::Commit;
    let change = Commit::new(secret).change(value, Change::Set(Json::integer(1)));
    match store.commit(&key, change).await? {
        Outcome::Done(_) => {}
        _ => return unexpected("the session that was just created is gone"),
    }
    *operation = Operation::Rotate;
    let rotation =
        Rotation { secret: rotated.secret_hash(), generation: rotated.generation(), grace: None };
    let sign_in = Commit::new(secret)
        .principal(PrincipalChange::Set(user.clone()))
        .rotate(rotation)
        .ttl(TRIAL_TTL);
    match store.commit(&key, sign_in).await? {
        Outcome::Done(_) => {}
        _ => return unexpected("the session that was just changed is gone"),
    }
    *operation = Operation::List;
    let listed = store.list(&user, None, 10).await?;
    if !listed.sessions.iter().any(|session| session.key == key) {
        return unexpected("the list of a user lacks the session that was just signed in");
    }
    *operation = Operation::Delete;
    match store.delete(&key, Claim::Any).await? {
        Deleted::Ended => {}
        Deleted::Missing | Deleted::Superseded => {
            return unexpected("the session that was just listed is gone");
        }
    }
    match store.load(&key).await? {
        None => Ok(()),
        Some(_) => unexpected("the session still exists after its end"),
    }
}

fn other(store: &'static str, source: impl Into<BoxError>) -> StoreError {
    StoreError::Other { store, source: source.into() }
}

#[cfg(test)]
mod tests {
    use session_core::MemoryStore;

    use super::*;

    #[tokio::test]
    async fn trial_leaves_no_session_behind() {
        let store = MemoryStore::new();
        try_operations(&store, "memory", Duration::from_secs(2)).await.unwrap();
        assert!(store.scan(None, 10).await.unwrap().records.is_empty());
    }

    #[tokio::test]
    async fn check_names_the_refused_operation_and_its_remedy() {
        let full = MemoryStore::builder().max_bytes(1).build();
        let tried = try_operations(&full, "memory", Duration::from_secs(2)).await;
        let mut report = CheckReport::new("memory", "this process");
        push_operations(&mut report, &tried, |failed| format!("{:?}", failed.operation));
        let check = &report.checks[0];
        assert!(check.found.starts_with("cannot create a session: "), "{}", check.found);
        assert_eq!(check.remedy.as_deref(), Some("Create"));
    }

    #[tokio::test]
    async fn only_loopback_addresses_and_sockets_are_local() {
        let limit = Duration::from_secs(5);
        for (endpoint, expected) in [
            (Endpoint::Tcp("127.0.0.1", 1), true),
            (Endpoint::Tcp("::1", 1), true),
            (Endpoint::Tcp("::ffff:127.0.0.1", 1), true),
            (Endpoint::Tcp("localhost", 1), true),
            (Endpoint::Tcp("10.0.0.1", 1), false),
            (Endpoint::Socket(Path::new("/run/s.sock")), true),
        ] {
            assert_eq!(endpoint.is_local(limit).await, expected, "{endpoint:?}");
        }
    }

    #[tokio::test]
    async fn reason_names_the_stage_that_failed() {
        let limit = Duration::from_secs(5);
        let folder = tempfile::tempdir().unwrap();
        let (file, socket) = (folder.path().join("file"), folder.path().join("socket"));
        std::fs::write(&file, "").unwrap();
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let missing = folder.path().join("missing");
        for (endpoint, expected) in [
            (Endpoint::Socket(&socket), None),
            (Endpoint::Socket(&missing), Some("does not exist")),
            (Endpoint::Socket(&file), Some("no program listens")),
            (Endpoint::Tcp("127.0.0.1", port), None),
            (Endpoint::Tcp("127.0.0.1", 1), Some("127.0.0.1:1 refuses the connection")),
            (Endpoint::Tcp("host.invalid", 1), Some("host.invalid cannot be resolved")),
        ] {
            let check = endpoint.why_unreachable(limit, "bind").await;
            let found = check.map(|check| check.found);
            assert_eq!(found.is_some(), expected.is_some(), "{found:?}");
            assert!(found.unwrap_or_default().contains(expected.unwrap_or_default()));
        }
        drop(listener);
    }

    #[test]
    fn clock_difference_leaves_half_of_the_round_trip_out() {
        let asked_at = UNIX_EPOCH + Duration::from_secs(1_000);
        let check = |server_millis: u64| {
            clock(&ClockSample {
                asked_at,
                round_trip: Duration::from_secs(4),
                server_micros: server_millis * 1_000,
            })
        };
        let ahead = check(1_002_020);
        assert_eq!(ahead, Check::ok("clock", "the server is 20ms ahead of this machine"));
        let behind = check(996_900);
        assert_eq!(behind.outcome, report::Outcome::Warning);
        assert_eq!(behind.found, "the server is 5.1s behind this machine");
        assert!(behind.remedy.is_some_and(|remedy| remedy.contains("chronyc tracking")));
    }

    #[test]
    fn unencrypted_connection_to_another_machine_is_a_warning() {
        for (encryption, is_local, expected) in [
            (Encryption::Verified, false, report::Outcome::Ok),
            (Encryption::Unverified, true, report::Outcome::Ok),
            (Encryption::None, true, report::Outcome::Ok),
            (Encryption::Unverified, false, report::Outcome::Warning),
            (Encryption::None, false, report::Outcome::Warning),
        ] {
            let check = tls(encryption, is_local, "use rediss://");
            assert_eq!(check.outcome, expected, "{encryption:?} {is_local}");
            let remedy = (expected == report::Outcome::Warning).then_some("use rediss://");
            assert_eq!(check.remedy.as_deref(), remedy);
        }
    }

    #[test]
    fn worst_check_is_the_first_of_the_most_serious() {
        let checks = || {
            [
                Check::ok("eviction", "a"),
                Check::warning("eviction", "b", "do"),
                Check::failed("eviction", "c", "do"),
                Check::failed("eviction", "d", "do"),
            ]
        };
        assert_eq!(worst(checks()).map(|check| check.found).as_deref(), Some("c"));
        assert!(worst([]).is_none());
    }
}
