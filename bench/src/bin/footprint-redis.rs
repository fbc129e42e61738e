//! The memory that a session takes in Redis, beside what two other libraries would take for the
//! same data; and whether a session among a million costs more than one among a thousand.
//!
//! `cargo run --release -p bench --bin footprint-redis [-- SESSIONS]`. Starts servers of its own,
//! one after the other, which need about 500 MB for a million sessions.
#![expect(clippy::print_stdout, reason = "a program that prints measurements")]
#![expect(clippy::cast_precision_loss, reason = "the numbers are far below 2^52")]

use std::{error::Error, time::Duration, time::Instant};

use bench::{Beside, RedisServer, time_of_each};
use futures_util::{StreamExt, TryStreamExt, stream};
use redis::{Cmd, aio::MultiplexedConnection, cmd};
use session_core::{
    Change, Commit, Data, Json, Name, NewRecord, Outcome, Principal, SecretHash, SessionId,
    SessionStore, StoreKey,
};
use store_redis::{Config, RedisStore};

type Failure = Box<dyn Error>;

const FEW: usize = 1_000;
const SAMPLES: usize = 1_000;
const AT_ONCE: usize = 256;
/// Calls in flight of one measured round, as of a busy worker, and how many make one.
const IN_FLIGHT: usize = 64;
const ROUND: usize = 64 * IN_FLIGHT;
const ROUNDS: usize = 30;
const DAY: Duration = Duration::from_hours(24);
/// All sessions have one secret: its bytes weigh the same in each.
const SECRET: SecretHash = SecretHash::from_bytes([0xa5; SecretHash::BYTES]);
const USER: &str = r#""0123456789""#;

fn main() -> Result<(), Failure> {
    let sessions = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(sessions))
}

async fn measure(sessions: usize) -> Result<(), Failure> {
    println!(
        "{sessions} sessions that hold {{\"user\":{USER},\"n\":1}}, expiring after a day; bytes of Redis for each"
    );
    println!("{:<16} {:>12} {:>12} {:>10}", "", "MEMORY USAGE", "used_memory", "seconds");
    weigh("actix-session", sessions, || actix_session(sessions)).await?;
    weigh("connect-redis", sessions, || connect_redis(sessions)).await?;
    let signed_in = Population::new(sessions, Kind::SignedIn).await?;
    println!(
        "{:<16} {:>12.1} {:>12.1} {:>10.1}",
        "  and signed in", signed_in.usage, signed_in.growth, signed_in.seconds
    );
    drop(signed_in);
    let many = Population::new(sessions, Kind::Anonymous).await?;
    println!(
        "{:<16} {:>12.1} {:>12.1} {:>10.1}",
        "store-redis", many.usage, many.growth, many.seconds
    );

    let few = Population::new(FEW, Kind::Anonymous).await?;
    println!("us a call        {FEW:>12} {sessions:>12} {:>10}", "ratio");
    report("load", &few, &many, async |population| {
        population.round(async |key| population.load(key).await).await
    })
    .await?;
    let name = Name::new("n")?;
    let add = || Commit::new(SECRET).change(name.clone(), Change::Add(1));
    report("add", &few, &many, async |population| {
        population.round(async |key| population.commit(key, add()).await).await
    })
    .await?;
    let touch = || Commit::new(SECRET).ttl(DAY);
    report("touch", &few, &many, async |population| {
        population.round(async |key| population.commit(key, touch()).await).await
    })
    .await
}

/// Fills a server of its own by these commands and prints what they take.
async fn weigh<C: Iterator<Item = Cmd>>(
    layout: &str,
    sessions: usize,
    commands: impl FnOnce() -> C,
) -> Result<(), Failure> {
    let server = RedisServer::start()?;
    let connection = redis::Client::open(server.url())?.get_multiplexed_async_connection().await?;
    let (before, start) = (used_memory(&mut connection.clone()).await?, Instant::now());
    let set = |command: Cmd| {
        let mut connection = connection.clone();
        async move { command.exec_async(&mut connection).await }
    };
    stream::iter(commands().map(set))
        .buffer_unordered(AT_ONCE)
        .try_for_each(async |()| Ok(()))
        .await?;
    let seconds = start.elapsed().as_secs_f64();
    let growth = (used_memory(&mut connection.clone()).await? - before) / sessions as f64;
    println!(
        "{layout:<16} {:>12.1} {growth:>12.1} {seconds:>10.1}",
        usage(&mut connection.clone()).await?
    );
    Ok(())
}

/// A random key of 64 characters; a JSON object whose values are the values' JSON texts, as
/// strings.
fn actix_session(sessions: usize) -> impl Iterator<Item = Cmd> {
    let value = format!(r#"{{"n":"1","user":"\"{}\""}}"#, USER.trim_matches('"'));
    (0..sessions).map(move |_| set(random_text(64), &value))
}

/// `sess:` and an id of 32 characters; a JSON object of the cookie's settings and the values.
fn connect_redis(sessions: usize) -> impl Iterator<Item = Cmd> {
    let cookie = r#"{"originalMaxAge":86400000,"expires":"2026-11-26T08:00:00.000Z","httpOnly":true,"path":"/"}"#;
    let value = format!(r#"{{"cookie":{cookie},"user":{USER},"n":1}}"#);
    (0..sessions).map(move |_| set(["sess:", &random_text(32)].concat(), &value))
}

fn set(key: String, value: &str) -> Cmd {
    let mut set = cmd("SET");
    set.arg(key).arg(value).arg("EX").arg(DAY.as_secs());
    set
}

fn random_text(length: usize) -> String {
    (0..length).map(|_| fastrand::alphanumeric()).collect()
}

/// Whose the sessions are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Anonymous,
    /// Each of another user, so each with an index. `used_memory` counts that as well.
    SignedIn,
}

/// So many sessions in a server of their own.
struct Population {
    keys: Vec<StoreKey>,
    store: RedisStore,
    /// Bytes of a session, as `MEMORY USAGE` says of some, and as the server's memory grew.
    usage: f64,
    growth: f64,
    /// How long it took to make them.
    seconds: f64,
    /// Runs as long as it lives.
    _server: RedisServer,
}

impl Population {
    async fn new(sessions: usize, kind: Kind) -> Result<Self, Failure> {
        let server = RedisServer::start()?;
        let store = RedisStore::connect(&Config::new(server.url())?).await?;
        let mut connection =
            redis::Client::open(server.url())?.get_multiplexed_async_connection().await?;
        let data: Data =
            [(Name::new("user")?, Json::from_text(USER)?), (Name::new("n")?, Json::integer(1))]
                .into_iter()
                .collect();
        let (before, start) = (used_memory(&mut connection).await?, Instant::now());
        let create = async |number: usize| {
            let key = SessionId::random()?.key();
            let mut new = NewRecord::new(SECRET, DAY).data(data.clone());
            if kind == Kind::SignedIn {
                new = new.principal(Principal::new(format!("{number:010}"))?);
            }
            let _ = store.create(&key, new).await?;
            Ok::<_, Failure>(key)
        };
        let keys: Vec<StoreKey> =
            stream::iter((0..sessions).map(create)).buffer_unordered(AT_ONCE).try_collect().await?;
        let seconds = start.elapsed().as_secs_f64();
        let growth = (used_memory(&mut connection).await? - before) / sessions as f64;
        let usage = usage(&mut connection).await?;
        Ok(Self { keys, store, usage, growth, seconds, _server: server })
    }

    async fn load(&self, key: &StoreKey) -> Result<(), Failure> {
        self.store.load(key).await?.map(drop).ok_or_else(|| "a session is gone".into())
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<(), Failure> {
        match self.store.commit(key, commit).await? {
            Outcome::Done(_) => Ok(()),
            other => Err(format!("a session is {other:?}").into()),
        }
    }

    /// The microseconds that one of many calls takes.
    async fn round(
        &self,
        call: impl AsyncFn(&StoreKey) -> Result<(), Failure>,
    ) -> Result<f64, Failure> {
        let drawn: Vec<&StoreKey> =
            (0..ROUND).map(|_| &self.keys[fastrand::usize(..self.keys.len())]).collect();
        time_of_each(&drawn, IN_FLIGHT, async |key| call(key).await).await
    }
}

/// Prints what `measure` says of both.
async fn report(
    name: &str,
    few: &Population,
    many: &Population,
    measure: impl AsyncFn(&Population) -> Result<f64, Failure>,
) -> Result<(), Failure> {
    let Beside { few, many, ratio } = Beside::measured(ROUNDS, few, many, measure).await?;
    println!("{name:<16} {few:>12.2} {many:>12.2} {ratio:>10.2}");
    Ok(())
}

/// The mean of what `MEMORY USAGE` says of keys drawn at random.
async fn usage(connection: &mut MultiplexedConnection) -> Result<f64, Failure> {
    let mut sum = 0.0;
    for _ in 0..SAMPLES {
        let key = loop {
            let key: String = cmd("RANDOMKEY").query_async(connection).await?;
            // A user's index is not a session.
            if !key.contains("u}") {
                break key;
            }
        };
        sum += cmd("MEMORY").arg("USAGE").arg(key).query_async::<f64>(connection).await?;
    }
    Ok(sum / SAMPLES as f64)
}

async fn used_memory(connection: &mut MultiplexedConnection) -> Result<f64, Failure> {
    let info: String = cmd("INFO").arg("memory").query_async(connection).await?;
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    Ok(line.ok_or("no used_memory in INFO")?.trim().parse()?)
}
