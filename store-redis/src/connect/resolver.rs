//! Finds the addresses of host names, beside the attempts to connect.
//!
//! An attempt to connect has a timeout, and a name server can take longer than that. Therefore a
//! lookup runs in its own thread. It goes on after an attempt has given up, and the next attempt
//! uses its answer. The driver connects to all addresses of an answer side by side, so an address
//! that drops packets does not delay the others (RFC 8305).

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, select_ok},
};
use parking_lot::Mutex;
use redis::{RedisError, io::AsyncDNSResolver};
use tokio::sync::oneshot;

use super::address::Host;

/// The age up to which an answer is used without a new lookup. The connections of several threads
/// share one lookup.
const FRESH: Duration = Duration::from_secs(1);
/// The greatest age of an answer that is used while a new lookup is slow or has failed. After that
/// an address can belong to another server.
const MAX_AGE: Duration = Duration::from_secs(60);
/// How long an attempt waits for a new answer if it has such an older one.
const MAX_WAIT: Duration = Duration::from_millis(100);

/// How a lookup finds addresses. It may block the thread.
type Lookup = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;
type Addresses = Arc<[SocketAddr]>;
/// The text is the reason why there are no addresses.
type Answer = Result<Addresses, String>;

/// The resolver of one store. Clones share the answers.
#[derive(Clone)]
pub(super) struct Resolver(Arc<Inner>);

struct Inner {
    lookup: Lookup,
    names: Mutex<HashMap<Host, Name>>,
    max_wait: Duration,
}

/// What is known about a name.
#[derive(Default)]
struct Name {
    /// The last answer with addresses, and when it came.
    known: Option<(Instant, Addresses)>,
    /// The lookup that is under way.
    running: Option<Shared<BoxFuture<'static, Answer>>>,
}

impl Resolver {
    /// A resolver for calls with this deadline.
    pub(super) fn new(deadline: Duration) -> Self {
        Self::with_lookup(deadline, |host, port| Ok((host, port).to_socket_addrs()?.collect()))
    }

    fn with_lookup(deadline: Duration, lookup: Lookup) -> Self {
        // The driver's timeout for a node of a Cluster is a quarter of the deadline.
        let max_wait = MAX_WAIT.min(deadline / 16);
        Self(Arc::new(Inner { lookup, names: Mutex::default(), max_wait }))
    }

    /// Waits until one of these hosts has addresses, or until all lookups have failed. The timeout
    /// of an attempt to connect begins after that.
    pub(super) async fn prepare(&self, hosts: &[Host]) {
        let lookups: Vec<_> = hosts.iter().map(|host| self.addresses(host).boxed()).collect();
        if !lookups.is_empty() {
            // The driver reports the failure of a lookup.
            let _ = select_ok(lookups).await;
        }
    }

    async fn addresses(&self, host: &Host) -> Answer {
        if let Ok(address) = host.name.parse::<IpAddr>() {
            return Ok(Arc::new([SocketAddr::new(address, host.port)]));
        }
        let (known, running) = {
            let mut names = self.0.names.lock();
            let name = names.entry(host.clone()).or_default();
            let age = name.known.as_ref().map(|(answered_at, _)| answered_at.elapsed());
            name.known.take_if(|_| age.is_some_and(|age| age > MAX_AGE));
            let known = name.known.as_ref().map(|(_, addresses)| Arc::clone(addresses));
            if let (Some(known), Some(true)) = (&known, age.map(|age| age <= FRESH)) {
                return Ok(Arc::clone(known));
            }
            // A thread that could not start, or that panicked, has not removed its lookup.
            name.running.take_if(|running| running.peek().is_some());
            let running = name.running.get_or_insert_with(|| self.start(host)).clone();
            (known, running)
        };
        match known {
            None => running.await,
            Some(known) => match tokio::time::timeout(self.0.max_wait, running).await {
                Ok(Ok(addresses)) => Ok(addresses),
                // The name server is slow or out of order.
                Ok(Err(_)) | Err(_) => Ok(known),
            },
        }
    }

    /// Starts a lookup in its own thread. A blocking task of a runtime would delay the end of that
    /// runtime.
    fn start(&self, host: &Host) -> Shared<BoxFuture<'static, Answer>> {
        let (sender, receiver) = oneshot::channel();
        let (resolver, host) = (self.clone(), host.clone());
        let started = thread::Builder::new().name("redis-lookup".to_owned()).spawn(move || {
            let answer = resolver.look_up(&host);
            let mut names = resolver.0.names.lock();
            let name = names.entry(host).or_default();
            name.running = None;
            if let Ok(addresses) = &answer {
                name.known = Some((Instant::now(), Arc::clone(addresses)));
            }
            drop(names);
            // All attempts may have given up.
            let _ = sender.send(answer);
        });
        let answer = async move {
            started.map_err(|error| format!("cannot start a thread: {error}"))?;
            receiver.await.unwrap_or_else(|_| Err("the lookup panicked".to_owned()))
        };
        answer.boxed().shared()
    }

    fn look_up(&self, host: &Host) -> Answer {
        match (self.0.lookup)(&host.name, host.port) {
            Ok(addresses) if addresses.is_empty() => Err("the name has no address".to_owned()),
            Ok(addresses) => Ok(addresses.into()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl AsyncDNSResolver for Resolver {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        host: &'b str,
        port: u16,
    ) -> redis::RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        let host = Host { name: host.to_owned(), port };
        Box::pin(async move {
            let addresses = self.addresses(&host).await.map_err(|why| {
                let why = format!("cannot find the address of {:?}: {why}", host.name);
                RedisError::from(io::Error::new(io::ErrorKind::NotFound, why))
            })?;
            let addresses: Vec<_> = addresses.to_vec();
            Ok(Box::new(addresses.into_iter()) as Box<dyn Iterator<Item = SocketAddr> + Send>)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn host() -> Host {
        Host { name: "redis.test".to_owned(), port: 7 }
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 7))
    }

    #[tokio::test]
    async fn d07_answer_of_a_slow_name_server_is_kept_for_the_next() {
        static LOOKUPS: AtomicUsize = AtomicUsize::new(0);
        let resolver = Resolver::with_lookup(Duration::from_secs(2), |_, port| {
            LOOKUPS.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(200));
            Ok(vec![SocketAddr::from(([10, 0, 0, 1], port))])
        });
        for _ in 0..5 {
            let host = host();
            let attempt =
                tokio::time::timeout(Duration::from_millis(20), resolver.addresses(&host));
            assert!(attempt.await.is_err(), "no answer within 20 ms");
        }
        assert_eq!(*resolver.addresses(&host()).await.unwrap(), [address(1)]);
        assert_eq!(*resolver.addresses(&host()).await.unwrap(), [address(1)]);
        assert_eq!(LOOKUPS.load(Ordering::Relaxed), 1, "all attempts share one lookup");
    }

    #[tokio::test]
    async fn d07_older_answer_is_used_while_a_lookup_is_slow_or_fails() {
        for lookup in [
            (|_, _| {
                thread::sleep(Duration::from_millis(500));
                Ok(vec![SocketAddr::from(([10, 0, 0, 2], 7))])
            }) as Lookup,
            |_, _| Err(io::Error::other("no name server")),
        ] {
            let resolver = Resolver::with_lookup(Duration::from_secs(2), lookup);
            let known = |age: Duration| {
                let answered_at = Instant::now().checked_sub(age).unwrap();
                let addresses = Arc::from([address(1)]);
                let name = Name { known: Some((answered_at, addresses)), running: None };
                resolver.0.names.lock().insert(host(), name);
            };
            known(FRESH * 2);
            assert_eq!(*resolver.addresses(&host()).await.unwrap(), [address(1)]);
        }
    }

    #[tokio::test]
    async fn d07_answer_of_a_minute_ago_is_not_used() {
        let resolver = Resolver::with_lookup(Duration::from_secs(2), |_, _| {
            Err(io::Error::other("no name server"))
        });
        let answered_at = Instant::now().checked_sub(MAX_AGE + FRESH).unwrap();
        let name = Name { known: Some((answered_at, Arc::from([address(1)]))), running: None };
        resolver.0.names.lock().insert(host(), name);
        assert_eq!(resolver.addresses(&host()).await.unwrap_err(), "no name server");
        let found: Vec<_> = resolver.resolve("::1", 7).await.unwrap().collect();
        assert_eq!(found, ["[::1]:7".parse().unwrap()], "an address needs no lookup");
    }
}
