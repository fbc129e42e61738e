//! `wait_replicas`: the store acknowledges ends, sign-ins and rotations once replicas have them.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use redis::{Value, from_redis_value};
use session_core::{Claim, Created, Deleted, Outcome, SessionStore, StoreError};
use store_redis::RedisStore;
use tests::{
    PATIENCE,
    service::{ExternalServer, RedisCluster, RedisSentinel},
    wait,
};

use crate::session::{Session, connect, hash, is_done, loaded, principal, with};

/// The deadline of calls, and some time for a busy machine.
const MAX_DURATION: Duration = Duration::from_millis(2_800);

/// A primary and its two replicas, which the test can freeze.
struct Primary {
    servers: RedisSentinel,
    port: u16,
    replicas: Vec<u16>,
}

impl Primary {
    async fn start() -> Option<Self> {
        let servers = RedisSentinel::start().await?;
        let port = servers.primary_port().await;
        let replicas = replicas_of(
            &servers.command(port, &["INFO", "replication"]).await.expect("the primary answers"),
        );
        Some(Self { servers, port, replicas })
    }

    fn url(&self, settings: &str) -> String {
        with(&self.servers.url(), settings)
    }

    async fn freeze(&self) -> Result<(), ExternalServer> {
        for port in &self.replicas {
            self.servers.freeze(*port).await?;
        }
        Ok(())
    }

    async fn thaw(&self) -> Result<(), ExternalServer> {
        for port in &self.replicas {
            self.servers.thaw(*port).await?;
        }
        Ok(())
    }

    /// The stored session on a node.
    async fn stored(&self, port: u16, session: &Session) -> Value {
        self.servers
            .command(port, &["DUMP", &hash(session, "session:")])
            .await
            .expect("the node answers")
    }

    async fn offset(&self) -> u64 {
        offset(
            &self
                .servers
                .command(self.port, &["INFO", "replication"])
                .await
                .expect("the primary answers"),
        )
    }
}

/// The ports of the replicas in the answer of `INFO replication`.
pub(crate) fn replicas_of(info: &Value) -> Vec<u16> {
    let text: String = from_redis_value(info.clone()).expect("a text");
    let port = |line: &str| line.split_once("port=")?.1.split(',').next()?.parse().ok();
    text.lines().filter(|line| line.starts_with("slave")).filter_map(port).collect()
}

/// The replication offset of a primary: how many bytes it has written.
fn offset(info: &Value) -> u64 {
    let text: String = from_redis_value(info.clone()).expect("a text");
    let digits =
        text.lines().find_map(|line| line.strip_prefix("master_repl_offset:")).expect("an offset");
    digits.trim().parse().expect("a number")
}

/// Whether a primary wrote a change between two offsets. The pings to replicas take a few bytes as
/// well.
fn wrote(before: u64, after: u64) -> bool {
    after - before > 100
}

/// Awaits a call and checks its duration.
async fn timed<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let begun = Instant::now();
    let result = call.await;
    assert!(begun.elapsed() < MAX_DURATION, "an answer took {:?}", begun.elapsed());
    result
}

/// Whether the call failed because too few replicas acknowledged the change.
fn lacks_replicas<T: std::fmt::Debug>(result: &Result<T, StoreError>) -> bool {
    match result {
        Err(StoreError::Unavailable { source, .. }) => {
            source.to_string().contains("replicas acknowledged the change")
        }
        _ => false,
    }
}

/// The changes that must be as durable as the settings ask for before `Ok` (law 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DurableChange {
    Delete,
    DeleteAll,
    Rotation,
    SignIn,
    Creation,
}

impl DurableChange {
    const ALL: [Self; 5] =
        [Self::Delete, Self::DeleteAll, Self::Rotation, Self::SignIn, Self::Creation];

    async fn make(self, store: &RedisStore, session: &Session) -> Result<(), StoreError> {
        let done = |outcome| assert!(matches!(outcome, Outcome::Done(_)), "{self:?}: {outcome:?}");
        match self {
            Self::Delete => store
                .delete(&session.key, Claim::Any)
                .await
                .map(|deleted| assert_eq!(deleted, Deleted::Ended)),
            Self::DeleteAll => {
                store.delete_all(&principal("bob"), None).await.map(|ended| assert_eq!(ended, 1))
            }
            Self::Rotation => {
                store.commit(&session.key, session.renew(&session.rotated())).await.map(done)
            }
            Self::SignIn => store
                .commit(&session.key, session.sign_in("carol", &session.rotated()))
                .await
                .map(done),
            Self::Creation => store
                .create(&session.key, session.record().principal(principal("dave")))
                .await
                .map(|made| assert_eq!(made, Created::New)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durable_changes_are_on_all_requested_replicas() {
    let Some(primary) = Primary::start().await else { return };
    let store = connect(&primary.url("wait_replicas=2&wait_ms=1900")).await;
    for change in DurableChange::ALL {
        let session = match change {
            DurableChange::DeleteAll => Session::signed_in(&store, "bob").await,
            DurableChange::Creation => Session::new(),
            _ => Session::anonymous(&store).await,
        };
        let before = primary.stored(primary.port, &session).await;
        wait::until("the replicas to have the session", PATIENCE, async || {
            let (one, other) = (
                primary.stored(primary.replicas[0], &session).await,
                primary.stored(primary.replicas[1], &session).await,
            );
            (one == before && other == before).then_some(())
        })
        .await;
        ours!(primary.freeze().await);
        let call = tokio::spawn({
            let (store, session) = (store.clone(), session.clone());
            async move { change.make(&store, &session).await.expect("the replicas have it") }
        });
        let changed =
            async || (primary.stored(primary.port, &session).await != before).then_some(());
        wait::until("the change on the primary", PATIENCE, changed).await;
        assert!(!call.is_finished(), "{change:?} was acknowledged before the replicas had it");
        ours!(primary.thaw().await);
        call.await.expect("the call did not panic");
        let now = primary.stored(primary.port, &session).await;
        for replica in &primary.replicas {
            assert_eq!(
                primary.stored(*replica, &session).await,
                now,
                "{change:?}: the replica on port {replica}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_replicas_fail_durable_changes_and_delay_no_others() {
    let Some(primary) = Primary::start().await else { return };
    let store = connect(&primary.url("wait_replicas=1")).await;
    let stays = Session::anonymous(&store).await;
    let (ended, all) = (Session::anonymous(&store).await, Session::signed_in(&store, "bob").await);
    let (renewed, signing) = (Session::anonymous(&store).await, Session::anonymous(&store).await);
    let next = renewed.rotated();
    ours!(primary.freeze().await);

    let mut slowest = Duration::ZERO;
    let mut others = 0_u32;
    let refused = async {
        assert!(lacks_replicas(&timed(store.delete(&ended.key, Claim::Any)).await), "a delete");
        assert!(
            lacks_replicas(&timed(store.delete_all(&principal("bob"), None)).await),
            "a delete of all"
        );
        assert!(
            lacks_replicas(&timed(store.commit(&renewed.key, renewed.renew(&next))).await),
            "a rotation"
        );
        assert!(
            lacks_replicas(
                &timed(store.commit(&signing.key, signing.sign_in("carol", &signing.rotated())))
                    .await
            ),
            "a sign-in"
        );
        // The primary has made the changes. Still no repeated call may succeed.
        let before = primary.offset().await;
        assert!(
            lacks_replicas(&timed(store.delete(&ended.key, Claim::Any)).await),
            "a delete of a missing session"
        );
        let between = primary.offset().await;
        assert!(
            lacks_replicas(&timed(store.delete_all(&principal("bob"), None)).await),
            "a delete of all without sessions"
        );
        let after = primary.offset().await;
        assert!(
            wrote(before, between) && wrote(between, after),
            "WAIT waits for a write of its connection, so each call has to write"
        );
        let again = timed(store.commit(&renewed.key, renewed.renew(&renewed.rotated()))).await;
        assert!(
            matches!(again, Ok(Outcome::Superseded)) || lacks_replicas(&again),
            "a rotation with a superseded secret: {again:?}"
        );
    };
    tokio::pin!(refused);
    loop {
        let begun = Instant::now();
        tokio::select! {
            () = &mut refused => break,
            record = store.load(&stays.key) => {
                assert!(record.expect("a load is not delayed").is_some());
            }
        }
        assert!(
            is_done(&store.commit(&stays.key, stays.set("n", "1")).await),
            "a commit is not delayed"
        );
        let fresh = Session::new();
        assert_eq!(
            store.create(&fresh.key, fresh.record()).await.expect("a create is not delayed"),
            Created::New
        );
        slowest = slowest.max(begun.elapsed());
        others += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    eprintln!(
        "{others} times a load, a commit and a create during waits for replicas: the slowest three \
         took {slowest:?}"
    );
    assert!(
        others > 100 && slowest < Duration::from_millis(400),
        "a call that does not wait for replicas was delayed: {slowest:?}"
    );

    ours!(primary.thaw().await);
    assert_eq!(
        timed(store.delete(&ended.key, Claim::Any)).await.expect("the replicas have it"),
        Deleted::Missing
    );
    assert_eq!(
        timed(store.delete_all(&principal("bob"), None)).await.expect("the replicas have it"),
        0
    );
    assert!(store.load(&all.key).await.expect("an answer").is_none());
    let record = loaded(&store, &renewed.key).await;
    assert!(record.secret == next.secret, "the primary made the rotation whose call failed");
}

/// `WAIT` blocks its connection. A call that gives up before its permit must not leave a command in
/// the server's queue. The server would execute it late, and the queue would grow while the
/// replicas are away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletes_that_time_out_before_their_permit_do_nothing() {
    const DELETES: usize = 64;
    let Some(primary) = Primary::start().await else { return };
    let store =
        connect(&primary.url("wait_replicas=1&wait_ms=500&deadline_ms=1600&connections=1")).await;
    let sessions = join_all((0..DELETES).map(|_| Session::anonymous(&store))).await;
    ours!(primary.freeze().await);
    let results =
        join_all(sessions.iter().map(|session| timed(store.delete(&session.key, Claim::Any))))
            .await;
    let executed = results.iter().filter(|result| lacks_replicas(result)).count();
    ours!(primary.thaw().await);
    let last = Session::anonymous(&store).await;
    assert_eq!(
        timed(store.delete(&last.key, Claim::Any)).await.expect("the replicas are back"),
        Deleted::Ended,
        "a later delete"
    );
    let left = join_all(sessions.iter().map(|session| store.load(&session.key))).await;
    let left = left.into_iter().filter(|record| record.as_ref().is_ok_and(Option::is_some)).count();
    eprintln!(
        "{DELETES} deletes at once without replicas: {executed} failed for lack of replicas, \
         {left} sessions are still live"
    );
    assert!(executed >= 2, "a call with a permit is executed");
    // Two calls may have been in flight at their timeout.
    assert!(
        left + executed + 2 >= DELETES,
        "{} deletes were executed after their timeout",
        DELETES - left - executed
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_delete_all_in_a_cluster_waits_again() {
    let Some(cluster) = RedisCluster::start().await else { return };
    let store = connect(&with(&cluster.url(), "wait_replicas=1")).await;
    let mut sessions = Vec::new();
    for _ in 0..6 {
        sessions.push(Session::signed_in(&store, "bob").await);
    }
    let primaries = cluster.primaries().await;
    let mut replicas = Vec::new();
    for port in &primaries {
        replicas.extend(replicas_of(
            &cluster.command(*port, &["INFO", "replication"]).await.expect("the primary answers"),
        ));
    }
    assert_eq!(replicas.len(), 3, "{replicas:?}");
    for port in &replicas {
        ours!(cluster.freeze(*port).await);
    }
    let offsets = async || {
        let mut offsets = Vec::new();
        for port in &primaries {
            offsets.push(offset(
                &cluster
                    .command(*port, &["INFO", "replication"])
                    .await
                    .expect("the primary answers"),
            ));
        }
        offsets
    };
    // Repeat until no session is left on the primaries.
    let mut calls = 0;
    wait::until("the end of all sessions on the primaries", PATIENCE, async || {
        assert!(
            timed(store.delete_all(&principal("bob"), None)).await.is_err(),
            "no replica has the change"
        );
        calls += 1;
        let left = join_all(sessions.iter().map(|session| store.load(&session.key))).await;
        left.into_iter().all(|record| record.expect("an answer").is_none()).then_some(())
    })
    .await;
    let shards: HashSet<u16> = join_all(sessions.iter().map(async |session| {
        let slot = cluster
            .command(primaries[0], &["CLUSTER", "KEYSLOT", &hash(session, "session:")])
            .await
            .expect("the node answers");
        from_redis_value::<u16>(slot).expect("a slot") / 5_462
    }))
    .await
    .into_iter()
    .collect();
    let before = offsets().await;
    let again = timed(store.delete_all(&principal("bob"), None)).await;
    let after = offsets().await;
    eprintln!(
        "{calls} calls ended 6 sessions on {} shards without replicas; another call: {again:?}; \
         offsets of the primaries before it {before:?}, after it {after:?}",
        shards.len()
    );
    assert!(again.is_err(), "no replica has the change yet: {again:?}");
    assert!(
        before.iter().zip(&after).any(|(before, after)| wrote(*before, *after)),
        "WAIT waits for a write of its connection, so a delete of a missing session has to write"
    );
    for port in &replicas {
        ours!(cluster.thaw(*port).await);
    }
    assert_eq!(
        timed(store.delete_all(&principal("bob"), None)).await.expect("the replicas have it"),
        0
    );
}
