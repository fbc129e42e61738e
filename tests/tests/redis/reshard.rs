//! A slot of a Cluster moves to another node, with sessions in it that are in use.

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

use crate::session::{Session, connect, hash, listed, name, principal};

/// How many sessions share the slot.
const SESSIONS: usize = 24;
/// How long after a move calls may still be refused.
const SETTLED: Duration = Duration::from_secs(5);

/// A slot on its way.
pub(crate) struct Move<'c> {
    cluster: &'c RedisCluster,
    slot: String,
    from: u16,
    to: u16,
}

impl<'c> Move<'c> {
    /// The slot in which this session lies, and the primary of another shard.
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

    pub(crate) async fn carry(&self, key: &str) {
        // Fine if it has ended or moved meanwhile.
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

    /// Moves what is left, and makes the new node the slot's own.
    pub(crate) async fn complete(&self) {
        loop {
            let keys = self.keys().await;
            if keys.is_empty() {
                break;
            }
            for key in keys {
                self.carry(&key).await;
            }
        }
        let to = self.id(self.to).await;
        for port in [self.to, self.from] {
            self.ask(port, &["CLUSTER", "SETSLOT", &self.slot, "NODE", &to]).await;
        }
    }
}

/// Sessions that share a slot.
async fn neighbours(store: &RedisStore, count: usize) -> Vec<Session> {
    // Keys that have a hash tag share the slot of that.
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

/// Adds, loads and, if it may, rotates until told to stop. Every call is answered or a transient
/// error; a session that is there is never missing. Returns where the session is, the last sum that
/// was acknowledged, and the adds without an answer.
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
            Some(other) => panic!("a live session: {other:?}"),
            None => unanswered += 1,
        }
        if let Some(record) = tally.count(store.load(&session.key).await) {
            let stored = record
                .expect("a live session is there")
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
                Some(other) => panic!("a live session: {other:?}"),
                // It may have been made. The record says so.
                None => {
                    let secret = loop {
                        if let Some(record) = tally.count(store.load(&next.key).await) {
                            break record.expect("a live session is there").into_record().secret;
                        }
                    };
                    session = if secret == next.secret { next } else { session };
                }
            }
        }
    }
    (session.key, sum, unanswered)
}

/// All that one scan visits; a page that is refused is asked for again.
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
async fn a_slot_moves_under_load_and_nothing_is_lost_or_done_twice() {
    let Some(AnyRedis::Cluster(cluster)) = AnyRedis::own_cluster(Durability::None).await else {
        return;
    };
    let store = connect(&cluster.url()).await;
    let sessions = neighbours(&store, SESSIONS).await;
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
            assert!(tasks.iter().all(|task| !task.is_finished()), "a task gave up");
            (tally.calls.load(Relaxed) > from + 500).then_some(())
        })
        .await;
    };
    progress("calls before the move").await;
    assert_eq!(tally.refused.load(Relaxed), 0, "nothing is refused while nothing moves");

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
                    "a scan missed what was there throughout"
                );
                scans += 1;
            }
            scans
        }
    });
    moving.begin().await;
    progress("calls while nothing has moved yet").await;
    let keys = moving.keys().await;
    for key in &keys[..keys.len() / 2] {
        moving.carry(key).await;
    }
    let half = Instant::now();
    progress("calls while the slot is on both nodes").await;
    let both = half.elapsed();
    moving.complete().await;
    let moved = begun.elapsed();
    progress("calls after the move").await;
    // A node that is kept waiting learns of the move later than the others. From some call on none
    // is refused.
    let complete = Instant::now();
    let refused = loop {
        let refused = tally.refused.load(Relaxed);
        progress("calls long after the move").await;
        if tally.refused.load(Relaxed) == refused {
            break refused;
        }
        assert!(complete.elapsed() < SETTLED, "calls are refused long after the move");
    };
    stop.store(true, Relaxed);
    let scans = scanning.await.expect("no scan missed anything");
    let (mut lost, mut doubled, mut sums) = (0, 0, 0);
    for ended in join_all(tasks).await {
        let (key, sum, unanswered) = ended.expect("no task met what may not be");
        let record =
            store.load(&key).await.expect("an answer").expect("a live session").into_record();
        let stored = record.data.get("n").and_then(session_core::Json::as_integer).unwrap_or(0);
        lost += (sum - stored).max(0);
        doubled += (stored - sum - unanswered).max(0);
        sums += sum;
    }
    eprintln!(
        "a slot moved in {moved:?}, {both:?} of them on both nodes: {} calls, {refused} refused; {} rotations, {sums} adds, {lost} lost, \
         {doubled} doubled; {scans} scans meanwhile",
        tally.calls.load(Relaxed),
        tally.rotations.load(Relaxed),
    );
    assert_eq!((lost, doubled), (0, 0));
    assert_eq!(listed(&store, "bob").await.len(), SESSIONS, "everybody is still signed in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_find_both_halves_of_a_slot_that_moves_and_all_of_it_afterwards() {
    let Some(AnyRedis::Cluster(cluster)) = AnyRedis::own_cluster(Durability::None).await else {
        return;
    };
    let (writer, reader) = (connect(&cluster.url()).await, connect(&cluster.url()).await);
    let sessions = neighbours(&writer, 4).await;
    let moving = Move::of(&cluster, &sessions[0]).await;
    assert!(reader.load(&sessions[0].key).await.expect("an answer").is_some());
    moving.begin().await;
    for session in &sessions[..2] {
        moving.carry(&hash(session, "session:")).await;
    }
    for session in &sessions {
        assert!(reader.load(&session.key).await.expect("half of the slot has moved").is_some());
        assert_eq!(listed(&reader, "bob").await.len(), 4);
    }
    assert_eq!(scanned(&reader).await.len(), 4, "a scan visits both halves");
    moving.complete().await;
    for session in &sessions {
        assert!(reader.load(&session.key).await.expect("the slot has moved").is_some());
    }
    assert_eq!(listed(&reader, "bob").await.len(), 4);
    assert_eq!(scanned(&reader).await.len(), 4);
    // The way is known by now, and need not be asked for again.
    let begun = Instant::now();
    for _ in 0..20 {
        assert!(reader.load(&sessions[0].key).await.expect("the slot has moved").is_some());
    }
    eprintln!("20 loads of a session whose slot has moved: {:?}", begun.elapsed());
}

/// A rotation names one key, so it goes on while its slot is on two nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_in_a_moving_slot_is_made_at_once() {
    let Some(AnyRedis::Cluster(cluster)) = AnyRedis::own_cluster(Durability::None).await else {
        return;
    };
    let store = connect(&cluster.url()).await;
    let sessions = neighbours(&store, 2).await;
    let moving = Move::of(&cluster, &sessions[0]).await;
    moving.begin().await;
    moving.carry(&hash(&sessions[0], "session:")).await;
    for session in &sessions {
        let rotated = store.commit(&session.key, session.renew(&session.rotated())).await;
        assert!(matches!(rotated, Ok(Outcome::Done(_))), "{rotated:?}");
        let late = store.commit(&session.key, session.add("n", 1)).await;
        assert!(matches!(late, Ok(Outcome::Superseded)), "{late:?}");
    }
    moving.complete().await;
}
