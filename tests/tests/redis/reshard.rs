//! A slot of a Cluster moves to another node while its sessions are in use.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use redis::from_redis_value;
use session_core::{Created, Outcome, SessionStore, StoreKey};
use store_redis::RedisStore;
use tests::{
    PATIENCE,
    service::{AnyRedis, Durability, PASSWORD, RedisCluster},
    wait,
};

use crate::session::{Session, connect, hash, listed, loaded, name, principal};

/// The number of sessions in the slot.
const SESSIONS: usize = 24;
/// How long after a move calls may still fail.
const SETTLED: Duration = Duration::from_secs(5);

/// A slot that moves from one primary to another.
pub(crate) struct Move<'c> {
    cluster: &'c RedisCluster,
    slot: String,
    from: u16,
    to: u16,
}

impl<'c> Move<'c> {
    /// A move of this session's slot to the primary of another shard.
    pub(crate) async fn of(cluster: &'c RedisCluster, session: &Session) -> Self {
        let primaries = cluster.primaries().await;
        let slot: u16 = from_redis_value(
            cluster
                .command(primaries[0], &["CLUSTER", "KEYSLOT", &hash(session, "session:")])
                .await
                .expect("the node answers"),
        )
        .expect("a slot");
        let shard = [5_460, 10_922, 16_383]
            .iter()
            .position(|last| slot <= *last)
            .expect("there are 16,384 slots");
        Self {
            cluster,
            slot: slot.to_string(),
            from: primaries[shard],
            to: primaries[(shard + 1) % 3],
        }
    }

    async fn ask(&self, port: u16, words: &[&str]) -> redis::Value {
        self.cluster.command(port, words).await.unwrap_or_else(|error| panic!("{error}: {words:?}"))
    }

    async fn id(&self, port: u16) -> String {
        from_redis_value(self.ask(port, &["CLUSTER", "MYID"]).await).expect("an id")
    }

    pub(crate) async fn begin(&self) {
        let (from, to) = (self.id(self.from).await, self.id(self.to).await);
        self.ask(self.to, &["CLUSTER", "SETSLOT", &self.slot, "IMPORTING", &from]).await;
        self.ask(self.from, &["CLUSTER", "SETSLOT", &self.slot, "MIGRATING", &to]).await;
    }

    async fn keys(&self) -> Vec<String> {
        from_redis_value(
            self.ask(self.from, &["CLUSTER", "GETKEYSINSLOT", &self.slot, "1000"]).await,
        )
        .expect("names")
    }

    pub(crate) async fn migrate(&self, key: &str) {
        // The command also succeeds if the key has ended or moved meanwhile.
        self.ask(
            self.from,
            &[
                "MIGRATE",
                "127.0.0.1",
                &self.to.to_string(),
                "",
                "0",
                "5000",
                "AUTH",
                PASSWORD,
                "KEYS",
                key,
            ],
        )
        .await;
    }

    /// Moves the remaining keys and assigns the slot to the new node.
    pub(crate) async fn complete(&self) {
        loop {
            let keys = self.keys().await;
            if keys.is_empty() {
                break;
            }
            for key in keys {
                self.migrate(&key).await;
            }
        }
        let to = self.id(self.to).await;
        for port in [self.to, self.from] {
            self.ask(port, &["CLUSTER", "SETSLOT", &self.slot, "NODE", &to]).await;
        }
    }
}

/// Creates sessions in one slot.
async fn sessions_in_one_slot(store: &RedisStore, count: usize) -> Vec<Session> {
    // Keys with the same hash tag are in the same slot.
    let tag = Session::new().key;
    let in_slot = |number| Session {
        key: StoreKey::from_text(format!("{{{}}}{number}", tag.as_str())),
        ..Session::new()
    };
    let sessions: Vec<_> = (0..count).map(in_slot).collect();
    for session in &sessions {
        let new = session.record().principal(principal("bob"));
        assert_eq!(store.create(&session.key, new).await.expect("an answer"), Created::New);
    }
    sessions
}

#[derive(Debug, Default)]
struct Tally {
    calls: AtomicU64,
    refused: AtomicU64,
    rotations: AtomicU64,
}

impl Tally {
    fn count<T>(&self, result: Result<T, session_core::StoreError>) -> Option<T> {
        self.calls.fetch_add(1, Relaxed);
        if let Err(error) = &result {
            assert!(error.is_transient(), "{error:?}");
            self.refused.fetch_add(1, Relaxed);
        }
        result.ok()
    }
}

/// Adds, loads and, with `rotates`, rotates until `stop` is set. Each call succeeds or fails with a
/// transient error, and the live session is never missing. Returns the key, the last acknowledged
/// sum, and the number of adds without an answer.
async fn work(
    store: RedisStore,
    mut session: Session,
    rotates: bool,
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
) -> (StoreKey, i64, i64) {
    let (mut sum, mut unanswered) = (0, 0);
    while !stop.load(Relaxed) {
        match tally.count(store.commit(&session.key, session.add("n", 1)).await) {
            Some(Outcome::Done(done)) => sum = done.added[&name("n")],
            Some(other) => panic!("the session is live: {other:?}"),
            None => unanswered += 1,
        }
        if let Some(record) = tally.count(store.load(&session.key).await) {
            let stored = record
                .expect("a live session")
                .into_record()
                .data
                .get("n")
                .and_then(session_core::Json::as_integer);
            assert!(stored >= Some(sum), "it holds {stored:?} after {sum}");
        }
        if rotates {
            let next = Session { key: session.key.clone(), ..session.rotated() };
            match tally.count(store.commit(&session.key, session.renew(&next)).await) {
                Some(Outcome::Done(_)) => {
                    tally.rotations.fetch_add(1, Relaxed);
                    session = next;
                }
                Some(other) => panic!("the session is live: {other:?}"),
                // The rotation may have been made. The record shows it.
                None => {
                    let secret = loop {
                        if let Some(record) = tally.count(store.load(&next.key).await) {
                            break record.expect("a live session").into_record().secret;
                        }
                    };
                    session = if secret == next.secret { next } else { session };
                }
            }
        }
    }
    (session.key, sum, unanswered)
}

/// The keys of one complete scan. A page that fails is requested again.
async fn scanned(store: &RedisStore) -> HashSet<StoreKey> {
    let (mut visited, mut after) = (HashSet::new(), None);
    loop {
        let page = match store.scan(after.clone(), 7).await {
            Ok(page) => page,
            Err(error) => {
                assert!(error.is_transient(), "{error:?}");
                continue;
            }
        };
        visited.extend(page.records.into_iter().map(|(key, _)| key));
        let Some(next) = page.next else { return visited };
        after = Some(next);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slot_move_under_load_loses_and_doubles_nothing() {
    let Some(AnyRedis::Cluster(cluster)) = AnyRedis::own_cluster(Durability::None).await else {
        return;
    };
    let store = connect(&cluster.url()).await;
    let sessions = sessions_in_one_slot(&store, SESSIONS).await;
    let moving = Move::of(&cluster, &sessions[0]).await;
    let (tally, stop) = (Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)));
    let stay: HashSet<StoreKey> =
        sessions.iter().skip(SESSIONS / 3).map(|session| session.key.clone()).collect();
    let tasks: Vec<_> = sessions
        .into_iter()
        .enumerate()
        .map(|(number, session)| {
            tokio::spawn(work(
                store.clone(),
                session,
                number < SESSIONS / 3,
                Arc::clone(&tally),
                Arc::clone(&stop),
            ))
        })
        .collect();
    let progress = async |what: &str| {
        let from = tally.calls.load(Relaxed);
        wait::until(what, PATIENCE, async || {
            assert!(tasks.iter().all(|task| !task.is_finished()), "a task has ended early");
            (tally.calls.load(Relaxed) > from + 500).then_some(())
        })
        .await;
    };
    progress("calls before the move").await;
    assert_eq!(tally.refused.load(Relaxed), 0, "no call fails while no slot moves");

    let begun = Instant::now();
    let scanning = tokio::spawn({
        let (store, stop) = (store.clone(), Arc::clone(&stop));
        async move {
            let mut scans = 0;
            while !stop.load(Relaxed) {
                let visited = scanned(&store).await;
                assert_eq!(
                    stay.difference(&visited).count(),
                    0,
                    "a scan missed a session that existed throughout"
                );
                scans += 1;
            }
            scans
        }
    });
    moving.begin().await;
    progress("calls before the first key moves").await;
    let keys = moving.keys().await;
    for key in &keys[..keys.len() / 2] {
        moving.migrate(key).await;
    }
    let half = Instant::now();
    progress("calls while the slot is on both nodes").await;
    let both = half.elapsed();
    moving.complete().await;
    let moved = begun.elapsed();
    progress("calls after the move").await;
    // A busy node learns of the move later than the others. After a while no call fails any more.
    let complete = Instant::now();
    let refused = loop {
        let refused = tally.refused.load(Relaxed);
        progress("calls long after the move").await;
        if tally.refused.load(Relaxed) == refused {
            break refused;
        }
        assert!(complete.elapsed() < SETTLED, "calls fail long after the move");
    };
    stop.store(true, Relaxed);
    let scans = scanning.await.expect("no scan missed a session");
    let (mut lost, mut doubled, mut sums) = (0, 0, 0);
    for ended in join_all(tasks).await {
        let (key, sum, unanswered) = ended.expect("the task did not panic");
        let record = loaded(&store, &key).await;
        let stored = record.data.get("n").and_then(session_core::Json::as_integer).unwrap_or(0);
        lost += (sum - stored).max(0);
        doubled += (stored - sum - unanswered).max(0);
        sums += sum;
    }
    eprintln!(
        "a slot moved in {moved:?}, of which it was on both nodes for {both:?}: {} calls, \
         {refused} failed; {} rotations, {sums} adds, {lost} lost, {doubled} doubled; \
         {scans} scans meanwhile",
        tally.calls.load(Relaxed),
        tally.rotations.load(Relaxed),
    );
    assert_eq!((lost, doubled), (0, 0));
    assert_eq!(listed(&store, "bob").await.len(), SESSIONS, "all sessions are still signed in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_find_all_sessions_of_a_moving_slot() {
    let Some(AnyRedis::Cluster(cluster)) = AnyRedis::own_cluster(Durability::None).await else {
        return;
    };
    let (writer, reader) = (connect(&cluster.url()).await, connect(&cluster.url()).await);
    let sessions = sessions_in_one_slot(&writer, 4).await;
    let moving = Move::of(&cluster, &sessions[0]).await;
    assert!(reader.load(&sessions[0].key).await.expect("an answer").is_some());
    moving.begin().await;
    for session in &sessions[..2] {
        moving.migrate(&hash(session, "session:")).await;
    }
    for session in &sessions {
        assert!(reader.load(&session.key).await.expect("half of the slot has moved").is_some());
        assert_eq!(listed(&reader, "bob").await.len(), 4);
    }
    assert_eq!(scanned(&reader).await.len(), 4, "a scan visits both nodes");
    moving.complete().await;
    for session in &sessions {
        assert!(reader.load(&session.key).await.expect("the slot has moved").is_some());
    }
    assert_eq!(listed(&reader, "bob").await.len(), 4);
    assert_eq!(scanned(&reader).await.len(), 4);
    // The driver knows the new node by now.
    let begun = Instant::now();
    for _ in 0..20 {
        assert!(reader.load(&sessions[0].key).await.expect("the slot has moved").is_some());
    }
    eprintln!("20 loads of a session whose slot has moved: {:?}", begun.elapsed());
}

/// A rotation uses one key, so it works while its slot is on two nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_works_in_a_moving_slot() {
    let Some(AnyRedis::Cluster(cluster)) = AnyRedis::own_cluster(Durability::None).await else {
        return;
    };
    let store = connect(&cluster.url()).await;
    let sessions = sessions_in_one_slot(&store, 2).await;
    let moving = Move::of(&cluster, &sessions[0]).await;
    moving.begin().await;
    moving.migrate(&hash(&sessions[0], "session:")).await;
    for session in &sessions {
        let rotated = store.commit(&session.key, session.renew(&session.rotated())).await;
        assert!(matches!(rotated, Ok(Outcome::Done(_))), "{rotated:?}");
        let late = store.commit(&session.key, session.add("n", 1)).await;
        assert!(matches!(late, Ok(Outcome::Superseded)), "{late:?}");
    }
    moving.complete().await;
}
