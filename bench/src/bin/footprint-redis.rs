//! Measures the memory of a session in Redis and compares it with the layouts of two other
//! libraries. Also measures whether a call takes longer with a million sessions than with a
//! thousand.
//!
//! `cargo run --release -p bench --bin footprint-redis [-- SESSIONS]`. The program starts servers,
//! at most two at the same time. They need about 500 MB for a million sessions.
#![expect(clippy::print_stdout, reason = "a program that prints measurements")]
#![expect(clippy::cast_precision_loss, reason = "the numbers are far below 2^52")]

use std::{
    error::Error,
    time::{Duration, Instant},
};

use bench::{RedisServer, SideBySide, expect_done, micros_per_call};
use futures_util::{StreamExt, TryStreamExt, stream};
use redis::{Cmd, aio::MultiplexedConnection, cmd};
use session_core::{
    Change, Commit, Data, Json, Name, NewRecord, Principal, SecretHash, SessionId, SessionStore,
    StoreKey,
};
use store_redis::{Config, RedisStore};

type BoxError = Box<dyn Error>;

const FEW: usize = 1_000;
const SAMPLES: usize = 1_000;
const CONCURRENT_CALLS: usize = 256;
/// Calls in flight in a measured round, as in a busy worker.
const IN_FLIGHT: usize = 64;
/// Calls in a measured round.
const ROUND: usize = 64 * IN_FLIGHT;
const ROUNDS: usize = 30;
const DAY: Duration = Duration::from_hours(24);
/// All sessions have the same secret. The size of a session does not depend on it.
const SECRET: SecretHash = SecretHash::from_bytes([0xa5; SecretHash::BYTES]);
const USER: &str = r#""0123456789""#;

fn main() -> Result<(), BoxError> {
    let sessions = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(sessions))
}

async fn measure(sessions: usize) -> Result<(), BoxError> {
    println!(
        "{sessions} sessions with {{\"user\":{USER},\"n\":1}} that expire after a day: \
         bytes of Redis per session"
    );
    println!("{:<16} {:>12} {:>12} {:>10}", "", "MEMORY USAGE", "used_memory", "seconds");
    measure_layout("actix-session", sessions, || actix_session(sessions)).await?;
    measure_layout("connect-redis", sessions, || connect_redis(sessions)).await?;
    let signed_in = Population::new(sessions, Users::SignedIn).await?;
    println!(
        "{:<16} {:>12.1} {:>12.1} {:>10.1}",
        "  and signed in", signed_in.usage, signed_in.growth, signed_in.seconds
    );
    drop(signed_in);
    let many = Population::new(sessions, Users::Anonymous).await?;
    println!(
        "{:<16} {:>12.1} {:>12.1} {:>10.1}",
        "store-redis", many.usage, many.growth, many.seconds
    );

    let few = Population::new(FEW, Users::Anonymous).await?;
    println!("us per call        {FEW:>12} {sessions:>12} {:>10}", "ratio");
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

/// Starts a server, runs the commands and prints the memory per session.
async fn measure_layout<C: Iterator<Item = Cmd>>(
    layout: &str,
    sessions: usize,
    commands: impl FnOnce() -> C,
) -> Result<(), BoxError> {
    let server = RedisServer::start()?;
    let connection = redis::Client::open(server.url())?.get_multiplexed_async_connection().await?;
    let (before, start) = (used_memory(&mut connection.clone()).await?, Instant::now());
    let set = |command: Cmd| {
        let mut connection = connection.clone();
        async move { command.exec_async(&mut connection).await }
    };
    stream::iter(commands().map(set))
        .buffer_unordered(CONCURRENT_CALLS)
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

/// A random key of 64 characters. The value is a JSON object. Each value in it is a string with the
/// JSON text of the session's value.
fn actix_session(sessions: usize) -> impl Iterator<Item = Cmd> {
    let value = format!(r#"{{"n":"1","user":"\"{}\""}}"#, USER.trim_matches('"'));
    (0..sessions).map(move |_| set(random_text(64), &value))
}

/// `sess:` and an id of 32 characters. The value is a JSON object of the cookie's settings and the
/// values.
fn connect_redis(sessions: usize) -> impl Iterator<Item = Cmd> {
    let cookie = concat!(
        r#"{"originalMaxAge":86400000,"expires":"2026-11-26T08:00:00.000Z","#,
        r#""httpOnly":true,"path":"/"}"#,
    );
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

/// The users of the sessions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Users {
    Anonymous,
    /// Each session has its own user, and each user has an index. `used_memory` includes the index.
    SignedIn,
}

/// A server with sessions.
struct Population {
    keys: Vec<StoreKey>,
    store: RedisStore,
    /// Bytes per session: the mean of `MEMORY USAGE` for a sample.
    usage: f64,
    /// Bytes per session: the growth of `used_memory`.
    growth: f64,
    /// The seconds that it took to create the sessions.
    seconds: f64,
    /// Dropping it kills the server.
    _server: RedisServer,
}

impl Population {
    async fn new(sessions: usize, users: Users) -> Result<Self, BoxError> {
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
            if users == Users::SignedIn {
                new = new.principal(Principal::new(format!("{number:010}"))?);
            }
            let _ = store.create(&key, new).await?;
            Ok::<_, BoxError>(key)
        };
        let keys: Vec<StoreKey> = stream::iter((0..sessions).map(create))
            .buffer_unordered(CONCURRENT_CALLS)
            .try_collect()
            .await?;
        let seconds = start.elapsed().as_secs_f64();
        let growth = (used_memory(&mut connection).await? - before) / sessions as f64;
        let usage = usage(&mut connection).await?;
        Ok(Self { keys, store, usage, growth, seconds, _server: server })
    }

    async fn load(&self, key: &StoreKey) -> Result<(), BoxError> {
        self.store.load(key).await?.map(drop).ok_or_else(|| "a session is missing".into())
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<(), BoxError> {
        expect_done(self.store.commit(key, commit).await?)
    }

    /// The time of a call in microseconds.
    async fn round(
        &self,
        call: impl AsyncFn(&StoreKey) -> Result<(), BoxError>,
    ) -> Result<f64, BoxError> {
        let drawn: Vec<&StoreKey> =
            (0..ROUND).map(|_| &self.keys[fastrand::usize(..self.keys.len())]).collect();
        micros_per_call(&drawn, IN_FLIGHT, async |key| call(key).await).await
    }
}

/// Measures both populations and prints the result.
async fn report(
    name: &str,
    few: &Population,
    many: &Population,
    measure: impl AsyncFn(&Population) -> Result<f64, BoxError>,
) -> Result<(), BoxError> {
    let SideBySide { few, many, ratio } = SideBySide::measure(ROUNDS, few, many, measure).await?;
    println!("{name:<16} {few:>12.2} {many:>12.2} {ratio:>10.2}");
    Ok(())
}

/// The mean of `MEMORY USAGE` for random keys.
async fn usage(connection: &mut MultiplexedConnection) -> Result<f64, BoxError> {
    let mut sum = 0.0;
    for _ in 0..SAMPLES {
        let key = loop {
            let key: String = cmd("RANDOMKEY").query_async(connection).await?;
            // Skips the indexes of users.
            if !key.contains("u}") {
                break key;
            }
        };
        sum += cmd("MEMORY").arg("USAGE").arg(key).query_async::<f64>(connection).await?;
    }
    Ok(sum / SAMPLES as f64)
}

async fn used_memory(connection: &mut MultiplexedConnection) -> Result<f64, BoxError> {
    let info: String = cmd("INFO").arg("memory").query_async(connection).await?;
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    Ok(line.ok_or("no used_memory in INFO")?.trim().parse()?)
}
