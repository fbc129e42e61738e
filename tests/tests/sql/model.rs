//! The store gives the same answers as the store in memory.

use std::time::Duration;

use session_core::{
    Attributes, Change, Claim, Commit, Guard, Json, MemoryStore, NewRecord, Persistence,
    PrincipalChange, Record, Rotation, SecretHash, SessionStore, ShortText, StoreError, StoreKey,
};
use tests::{
    service::AnySql,
    session::{name, principal},
};

use crate::locks::{PATIENT, connect};

/// The number of calls of each test.
const CALLS: usize = 3_000;

/// The time that can pass between the same call to two stores on a busy machine.
const TOLERANCE: Duration = Duration::from_secs(5);

on_all_databases!(c00_random_calls_match_the_memory_store);

async fn c00_random_calls_match_the_memory_store(sql: AnySql) {
    let seed = std::env::var("SEED")
        .map_or_else(|_| fastrand::u64(..), |text| text.parse().expect("a number"));
    eprintln!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let store = connect(&sql.url(&format!("{PATIENT}&data_bytes=300"))).await;
    let limits = session_core::Limits { data_bytes: 300 };
    let model = MemoryStore::builder().limits(limits).build();
    for call in 0..CALLS {
        let key = key(&mut random);
        let (actual, expected) = match random.u32(..100) {
            0..10 => {
                let new = new(&mut random);
                let actual = store.create(&key, new.clone()).await;
                (shown(actual), shown(model.create(&key, new).await))
            }
            10..70 => {
                let commit = commit(&mut random);
                let done = |answer: Result<session_core::Outcome, StoreError>| match answer {
                    Ok(session_core::Outcome::Done(mut done)) => {
                        let durations =
                            vec![done.age, done.ttl, done.authenticated.unwrap_or_default()];
                        (done.age, done.ttl) = Default::default();
                        done.authenticated = done.authenticated.map(|_| Duration::ZERO);
                        (format!("{done:?}"), durations)
                    }
                    other => shown(other),
                };
                let actual = store.commit(&key, commit.clone()).await;
                (done(actual), done(model.commit(&key, commit).await))
            }
            70..75 => {
                let claim =
                    if random.bool() { Claim::Any } else { Claim::Generation(random.u32(..4)) };
                (shown(store.delete(&key, claim).await), shown(model.delete(&key, claim).await))
            }
            75..80 => {
                let user = principal(USERS[random.usize(..USERS.len())]);
                let except = Some(&key).filter(|_| random.bool());
                (
                    shown(store.delete_all(&user, except).await),
                    shown(model.delete_all(&user, except).await),
                )
            }
            80..90 => {
                let user = principal(USERS[random.usize(..USERS.len())]);
                (listed(&store, &user, 1 + random.usize(..3)).await, listed(&model, &user, 9).await)
            }
            90 => {
                let everyone = async |store: &dyn SessionStore, limit| {
                    let (mut ended, mut after) = (0, None);
                    loop {
                        let page = store.delete_everyone(after, limit).await.expect("a page");
                        ended += page.ended;
                        let Some(next) = page.next else { return ended };
                        after = Some(next);
                    }
                };
                let actual = everyone(&store, 1 + random.usize(..3)).await;
                (shown(Ok(actual)), shown(Ok(everyone(&model, 9).await)))
            }
            _ => {
                let loaded = |answer: Result<Option<session_core::Stored>, StoreError>| match answer
                {
                    Ok(Some(stored)) => record(stored.into_record()),
                    other => shown(other),
                };
                (loaded(store.load(&key).await), loaded(model.load(&key).await))
            }
        };
        assert_eq!(actual.0, expected.0, "call {call} of seed {seed}, {}", sql.version());
        for (one, other) in actual.1.iter().zip(&expected.1) {
            assert!(
                one.abs_diff(*other) < TOLERANCE,
                "call {call} of seed {seed}: {:?} instead of {:?}",
                actual.1,
                expected.1
            );
        }
    }
}

const USERS: [&str; 3] = ["bob", "eve", "Bob"];

/// The text of an answer, and the durations in it.
type Answer = (String, Vec<Duration>);

fn shown<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> Answer {
    (answer.map_or_else(|error| error.to_string(), |actual| format!("{actual:?}")), Vec::new())
}

fn record(mut record: Record) -> Answer {
    let mut durations =
        vec![record.age, record.rotated, record.ttl, record.authenticated.unwrap_or_default()];
    (record.age, record.rotated, record.ttl) = Default::default();
    record.authenticated = record.authenticated.map(|_| Duration::ZERO);
    let secrets = [Some(record.secret), record.grace.map(|grace| grace.secret)]
        .map(|hash| hash.map(|hash| hash.as_bytes()[0]));
    if let Some(grace) = &mut record.grace {
        durations.push(std::mem::take(&mut grace.left));
    }
    (format!("{record:?} {secrets:?}"), durations)
}

async fn listed(store: &dyn SessionStore, user: &session_core::Principal, limit: usize) -> Answer {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(user, after, limit).await.expect("a list");
        assert!(page.sessions.len() <= limit);
        all.extend(page.sessions);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    all.sort_by(|one, other| one.key.as_str().cmp(other.key.as_str()));
    let durations = all.iter().flat_map(|one| [one.age, one.authenticated, one.ttl]).collect();
    (
        format!("{:?}", all.iter().map(|one| (&one.key, &one.attributes)).collect::<Vec<_>>()),
        durations,
    )
}

/// One of a few keys that only a collation would equate.
fn key(random: &mut fastrand::Rng) -> StoreKey {
    StoreKey::from_text(["key", "KEY", "key ", "k\u{e9}y"][random.usize(..4)])
}

fn secret(random: &mut fastrand::Rng) -> SecretHash {
    SecretHash::from_bytes([random.u8(..3); 32])
}

fn attributes(random: &mut fastrand::Rng) -> Attributes {
    let mut attributes = Attributes::default();
    if random.bool() {
        attributes.idle_timeout = Some(Duration::from_millis(random.u64(1..100_000)));
        attributes.persistence = Some(Persistence::Persistent);
    }
    if random.bool() {
        attributes.label = Some(ShortText::new("Firefox \u{fc}\u{1f980} ").expect("a label"));
    }
    attributes
}

fn json(random: &mut fastrand::Rng) -> Json {
    let texts =
        ["1", " 41\n", "-0", "1.5", "\"text\"", "9223372036854775807", "null", "[1, 2]", "\"12\""];
    let long = format!("\"{}\"", "x".repeat(random.usize(..150)));
    Json::from_text(if random.u8(..3) == 0 {
        long
    } else {
        texts[random.usize(..texts.len())].to_owned()
    })
    .expect("JSON")
}

fn new(random: &mut fastrand::Rng) -> NewRecord {
    let mut new = NewRecord::new(secret(random), ttl(random));
    new.data = (0..random.usize(..3)).map(|n| (name(&format!("v{n}")), json(random))).collect();
    new.generation = random.u32(..4);
    new.version = random.u64(1..5);
    new.age = Duration::from_secs(random.u64(..1_000_000));
    new.attributes = attributes(random);
    if random.bool() {
        new.principal = Some(principal(USERS[random.usize(..USERS.len())]));
        new.authenticated = Some(new.age / 2);
        new.since = random.u32(..=new.generation);
    }
    new
}

fn ttl(random: &mut fastrand::Rng) -> Duration {
    Duration::from_secs(random.u64(1_000..1_000_000))
}

fn commit(random: &mut fastrand::Rng) -> Commit {
    let mut commit = Commit::new(secret(random));
    if random.u8(..4) == 0 {
        commit.guard = Guard::Version(random.u64(1..12));
    }
    commit.clear = random.u8(..12) == 0;
    for n in 0..if random.u8(..10) == 0 { 20 } else { random.usize(..3) } {
        let change = match random.u8(..3) {
            0 => Change::Set(json(random)),
            1 => Change::Remove,
            _ => Change::Add([1, -1, i64::MAX, i64::MIN][random.usize(..4)]),
        };
        commit.changes.insert(name(&format!("v{n}")), change);
    }
    if random.bool() {
        let grace = Some(Duration::from_secs(random.u64(20..60))).filter(|_| random.bool());
        commit.rotate =
            Some(Rotation { secret: secret(random), generation: random.u32(..6), grace });
    }
    match random.u8(..8) {
        0 | 1 => {
            commit.principal = PrincipalChange::Set(principal(USERS[random.usize(..USERS.len())]));
        }
        2 => commit.principal = PrincipalChange::Unset,
        3 => commit.authenticated = true,
        _ => {}
    }
    commit.attributes = Some(attributes(random)).filter(|_| random.u8(..8) == 0);
    commit.ttl = Some(ttl(random)).filter(|_| random.u8(..4) == 0);
    commit
}
