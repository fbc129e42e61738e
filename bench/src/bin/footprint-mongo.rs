//! Measures the size of a session in MongoDB and compares it with two other layouts of the same
//! data. Also measures whether a call takes longer with a million sessions than with a thousand.
//!
//! `cargo run --release -p bench --bin footprint-mongo [-- SESSIONS]`. The program starts four
//! servers, two of them at the same time. For a million sessions they need about 2 GB of memory and
//! 1 GB in the temporary folder.
#![expect(clippy::print_stdout, reason = "a program that prints measurements")]
#![expect(clippy::cast_precision_loss, reason = "the numbers are far below 2^52")]

use std::{
    cell::Cell,
    error::Error,
    time::{Duration, Instant},
};

use bench::{MongoServer, SideBySide, expect_done, micros_per_call};
use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::{
    Client, IndexModel,
    bson::{DateTime, Document, doc},
    options::IndexOptions,
};
use session_core::{
    Change, Commit, Data, Json, Name, NewRecord, Rotation, SecretHash, SessionId, SessionStore,
    StoreKey,
};
use store_mongo::{Config, MongoStore};

type BoxError = Box<dyn Error>;

const FEW: usize = 1_000;
const CONCURRENT_CALLS: usize = 64;
const ROUNDS: usize = 30;
const DAY: Duration = Duration::from_hours(24);
const USER: &str = "0123456789";

fn main() -> Result<(), BoxError> {
    let sessions = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(sessions))
}

async fn measure(sessions: usize) -> Result<(), BoxError> {
    println!(
        "{sessions} sessions with {{\"user\":\"{USER}\",\"n\":1}} that expire after a day: \
         bytes per session, and seconds to create all"
    );
    println!(
        "{:<14} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "document", "file", "indexes", "memory", "seconds"
    );
    measure_layout("by hand", sessions, by_hand).await?;
    measure_layout("connect-mongo", sessions, connect_mongo).await?;
    let many = Population::new(sessions).await?;
    println!("{:<14} {} {:>9.1}", "store-mongo", many.footprint, many.seconds);
    let few = Population::new(FEW).await?;

    println!(
        "{:<38} {:>9} {:>9} {:>7} {:>9} {:>9} {:>7}",
        "us per call", FEW, sessions, "ratio", FEW, sessions, "ratio"
    );
    let name = Name::new("n")?;
    for in_flight in [CONCURRENT_CALLS, 1] {
        report("load", in_flight, &few, &many, load).await?;
        let add =
            |session: &Session| Commit::new(session.secret).change(name.clone(), Change::Add(1));
        report("add", in_flight, &few, &many, async |store, session| {
            commit(store, session, add(session)).await
        })
        .await?;
        let touch = |session: &Session| Commit::new(session.secret).ttl(DAY);
        report("touch", in_flight, &few, &many, async |store, session| {
            commit(store, session, touch(session)).await
        })
        .await?;
        // The new secret is the same one, so the next call still knows the current secret.
        let rotation =
            |session: &Session| Rotation { secret: session.secret, generation: 1, grace: None };
        let rotate = |session: &Session| Commit::new(session.secret).rotate(rotation(session));
        report("rotate", in_flight, &few, &many, async |store, session| {
            commit(store, session, rotate(session)).await
        })
        .await?;
    }
    Ok(())
}

/// What a request knows about its session.
struct Session {
    key: StoreKey,
    secret: SecretHash,
}

async fn load(store: &MongoStore, session: &Session) -> Result<(), BoxError> {
    store.load(&session.key).await?.map(drop).ok_or_else(|| "a session is missing".into())
}

async fn commit(store: &MongoStore, session: &Session, commit: Commit) -> Result<(), BoxError> {
    expect_done(store.commit(&session.key, commit).await?)
}

/// Prints the time of a call in both populations, and the processor time of their servers.
async fn report(
    name: &str,
    in_flight: usize,
    few: &Population,
    many: &Population,
    call: impl AsyncFn(&MongoStore, &Session) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    let time = SideBySide::measure(ROUNDS, few, many, async |population| {
        population.round(in_flight, &call).await
    })
    .await?;
    let (few_time, many_time) =
        (few.server_time.take().per_call(), many.server_time.take().per_call());
    let what = format!(
        "{name}, {}",
        if in_flight == 1 { "alone".to_owned() } else { format!("{in_flight} in flight") }
    );
    print!("{what:<38} {:>9.1} {:>9.1} {:>7.2}", time.few, time.many, time.ratio);
    println!(" {few_time:>9.1} {many_time:>9.1} {:>7.2}", many_time / few_time);
    Ok(())
}

/// A server with sessions.
struct Population {
    /// In random order.
    sessions: Vec<Session>,
    footprint: Footprint,
    /// The seconds that it took to create the sessions.
    seconds: f64,
    store: MongoStore,
    server_time: Cell<ServerTime>,
    server: MongoServer,
}

/// The processor time of a server, and the number of calls.
#[derive(Clone, Copy, Default)]
struct ServerTime {
    time: Duration,
    calls: usize,
}

impl ServerTime {
    /// The processor time of a call in microseconds.
    fn per_call(self) -> f64 {
        self.time.as_secs_f64() * 1e6 / self.calls as f64
    }
}

impl Population {
    async fn new(sessions: usize) -> Result<Self, BoxError> {
        let server = MongoServer::start()?;
        // The sessions are lost with the server, so the creation does not wait for the journal.
        let writer = MongoStore::connect(&Config::new(&format!("{}?w=1", server.url()))?).await?;
        let user = Json::from_text(format!("\"{USER}\""))?;
        let data: Data =
            [(Name::new("user")?, user), (Name::new("n")?, Json::integer(1))].into_iter().collect();
        let start = Instant::now();
        let create = async |()| {
            let id = SessionId::random()?;
            let session = Session { key: id.key(), secret: id.secret_hash() };
            let _ = writer
                .create(&session.key, NewRecord::new(session.secret, DAY).data(data.clone()))
                .await?;
            Ok::<_, BoxError>(session)
        };
        let mut all: Vec<Session> = stream::iter((0..sessions).map(|_| create(())))
            .buffer_unordered(CONCURRENT_CALLS)
            .try_collect()
            .await?;
        let seconds = start.elapsed().as_secs_f64();
        let footprint = Footprint::measure(&server, "sessions", sessions).await?;
        fastrand::shuffle(&mut all);
        let store = warm_store(&server).await?;
        Ok(Self { sessions: all, footprint, seconds, store, server_time: Cell::default(), server })
    }

    /// The time of a call in microseconds.
    async fn round(
        &self,
        in_flight: usize,
        call: impl AsyncFn(&MongoStore, &Session) -> Result<(), BoxError>,
    ) -> Result<f64, BoxError> {
        let drawn: Vec<&Session> = (0..calls(in_flight))
            .map(|_| &self.sessions[fastrand::usize(..self.sessions.len())])
            .collect();
        let before = self.server.processor_time()?;
        let each =
            micros_per_call(&drawn, in_flight, async |session| call(&self.store, session).await)
                .await?;
        let ServerTime { time, calls } = self.server_time.get();
        self.server_time.set(ServerTime {
            time: time + self.server.processor_time()?.saturating_sub(before),
            calls: calls + drawn.len(),
        });
        Ok(each)
    }
}

/// The number of calls in a measured round.
fn calls(in_flight: usize) -> usize {
    if in_flight == 1 { FEW / 4 } else { FEW }
}

/// A store that has opened and used all its connections.
async fn warm_store(server: &MongoServer) -> Result<MongoStore, BoxError> {
    let store = MongoStore::connect(&Config::new(server.url())?).await?;
    let missing: Vec<StoreKey> = (0..CONCURRENT_CALLS)
        .map(|_| Ok(SessionId::random()?.key()))
        .collect::<Result<_, BoxError>>()?;
    let look = async |key: &StoreKey| store.load(key).await.map(drop);
    micros_per_call(&missing, CONCURRENT_CALLS, look).await?;
    Ok(store)
}

/// Starts a server, inserts the documents and prints their size.
async fn measure_layout(
    layout: &str,
    sessions: usize,
    document: impl Fn() -> Document,
) -> Result<(), BoxError> {
    const BATCH: usize = 10_000;
    let server = MongoServer::start()?;
    let client = Client::with_uri_str(server.url()).await?;
    let collection = client.database("bench").collection::<Document>(layout);
    let at_once = IndexOptions::builder().expire_after(Duration::ZERO).build();
    collection
        .create_index(IndexModel::builder().keys(doc! { "expires": 1 }).options(at_once).build())
        .await?;
    let start = Instant::now();
    for from in (0..sessions).step_by(BATCH) {
        collection.insert_many((from..sessions.min(from + BATCH)).map(|_| document())).await?;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{layout:<14} {} {seconds:>9.1}",
        Footprint::measure(&server, layout, sessions).await?
    );
    Ok(())
}

/// The id, and a field for each value.
fn by_hand() -> Document {
    doc! { "_id": random_text(43), "expires": in_a_day(), "user": USER, "n": 1_i64 }
}

/// An id of 32 characters; a JSON object of the cookie's settings and the values, as a string.
fn connect_mongo() -> Document {
    let cookie = concat!(
        r#"{"originalMaxAge":86400000,"partitioned":null,"priority":null,"#,
        r#""expires":"2026-11-26T08:00:00.000Z","secure":null,"httpOnly":true,"#,
        r#""domain":null,"path":"/","sameSite":null}"#,
    );
    let session = format!(r#"{{"cookie":{cookie},"user":"{USER}","n":1}}"#);
    doc! { "_id": random_text(32), "expires": in_a_day(), "session": session }
}

/// A time in a day. The documents expire in different milliseconds.
fn in_a_day() -> DateTime {
    DateTime::from_millis(DateTime::now().timestamp_millis().saturating_add(86_400_000))
}

fn random_text(length: usize) -> String {
    (0..length).map(|_| fastrand::alphanumeric()).collect()
}

/// The size of a session in bytes.
struct Footprint {
    document: f64,
    /// On disk, compressed.
    file: f64,
    indexes: f64,
    /// In the cache of the server. Less than the whole session if the cache is full.
    memory: f64,
}

impl Footprint {
    async fn measure(
        server: &MongoServer,
        collection: &str,
        sessions: usize,
    ) -> Result<Self, BoxError> {
        let client = Client::with_uri_str(server.url()).await?;
        // The sizes of the files change only with a checkpoint, so this makes one.
        client.database("admin").run_command(doc! { "fsync": 1 }).await?;
        let sizes = client.database("bench").run_command(doc! { "collStats": collection }).await?;
        let status = client.database("admin").run_command(doc! { "serverStatus": 1 }).await?;
        let cache = status.get_document("wiredTiger")?.get_document("cache")?;
        let each = |document: &Document, name: &str| {
            Ok::<_, BoxError>(number(document, name)? / sessions as f64)
        };
        Ok(Self {
            document: each(&sizes, "size")?,
            file: each(&sizes, "storageSize")?,
            indexes: each(&sizes, "totalIndexSize")?,
            memory: each(cache, "bytes currently in the cache")?,
        })
    }
}

impl std::fmt::Display for Footprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:>9.1} {:>9.1} {:>9.1} {:>9.1}",
            self.document, self.file, self.indexes, self.memory
        )
    }
}

/// A number of a statistic. The server uses integers and floating-point numbers.
fn number(document: &Document, name: &str) -> Result<f64, BoxError> {
    let value =
        document.get(name).ok_or_else(|| format!("the statistics of the server have no {name}"))?;
    let whole = value.as_i64().or_else(|| value.as_i32().map(i64::from));
    whole
        .map(|whole| whole as f64)
        .or_else(|| value.as_f64())
        .ok_or_else(|| format!("the statistic {name} is not a number").into())
}
