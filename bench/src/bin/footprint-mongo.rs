//! The room that a session takes in MongoDB, beside what two other layouts take for the same data;
//! and whether a session among a million costs more than one among a thousand.
//!
//! `cargo run --release -p bench --bin footprint-mongo [-- SESSIONS]`. Starts four servers of its
//! own, of which two run at once; for a million sessions they need about 2 GB of memory and 1 GB of
//! the temporary folder.
#![expect(clippy::print_stdout, reason = "a program that prints measurements")]
#![expect(clippy::cast_precision_loss, reason = "the numbers are far below 2^52")]

use std::{
    cell::Cell,
    error::Error,
    time::{Duration, Instant},
};

use bench::{Beside, MongoServer, time_of_each};
use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::{
    Client, IndexModel,
    bson::{DateTime, Document, doc},
    options::IndexOptions,
};
use session_core::{
    Change, Commit, Data, Json, Name, NewRecord, Outcome, Rotation, SecretHash, SessionId,
    SessionStore, StoreKey,
};
use store_mongo::{Config, MongoStore};

type Failure = Box<dyn Error>;

const FEW: usize = 1_000;
const AT_ONCE: usize = 64;
const ROUNDS: usize = 30;
const DAY: Duration = Duration::from_hours(24);
const USER: &str = "0123456789";

fn main() -> Result<(), Failure> {
    let sessions = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(sessions))
}

async fn measure(sessions: usize) -> Result<(), Failure> {
    println!(
        "{sessions} sessions that hold {{\"user\":\"{USER}\",\"n\":1}}, expiring after a day; bytes for each, and seconds to make all"
    );
    println!(
        "{:<14} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "document", "file", "indexes", "memory", "seconds"
    );
    weigh("by hand", sessions, by_hand).await?;
    weigh("connect-mongo", sessions, connect_mongo).await?;
    let many = Population::new(sessions).await?;
    println!("{:<14} {} {:>9.1}", "store-mongo", many.room, many.seconds);
    let few = Population::new(FEW).await?;

    println!(
        "{:<38} {:>9} {:>9} {:>7} {:>9} {:>9} {:>7}",
        "us a call", FEW, sessions, "ratio", FEW, sessions, "ratio"
    );
    let name = Name::new("n")?;
    for in_flight in [AT_ONCE, 1] {
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
        // By the same secret, so that the next call still has the current one.
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

/// What a request knows of its session.
struct Session {
    key: StoreKey,
    secret: SecretHash,
}

async fn load(store: &MongoStore, session: &Session) -> Result<(), Failure> {
    store.load(&session.key).await?.map(drop).ok_or_else(|| "a session is gone".into())
}

async fn commit(store: &MongoStore, session: &Session, commit: Commit) -> Result<(), Failure> {
    match store.commit(&session.key, commit).await? {
        Outcome::Done(_) => Ok(()),
        other => Err(format!("a session is {other:?}").into()),
    }
}

/// Prints what a call takes in both, and what their servers work for it.
async fn report(
    name: &str,
    in_flight: usize,
    few: &Population,
    many: &Population,
    call: impl AsyncFn(&MongoStore, &Session) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let time = Beside::measured(ROUNDS, few, many, async |population| {
        population.round(in_flight, &call).await
    })
    .await?;
    let (of_few, of_many) = (few.worked.take().of_each(), many.worked.take().of_each());
    let what = format!(
        "{name}, {}",
        if in_flight == 1 { "alone".to_owned() } else { format!("{in_flight} in flight") }
    );
    print!("{what:<38} {:>9.1} {:>9.1} {:>7.2}", time.few, time.many, time.ratio);
    println!(" {of_few:>9.1} {of_many:>9.1} {:>7.2}", of_many / of_few);
    Ok(())
}

/// So many sessions in a server of their own.
struct Population {
    /// In no order that the server knows.
    sessions: Vec<Session>,
    room: Room,
    /// How long it took to make them.
    seconds: f64,
    store: MongoStore,
    worked: Cell<Worked>,
    server: MongoServer,
}

/// What a server worked, and for how many calls.
#[derive(Clone, Copy, Default)]
struct Worked {
    time: Duration,
    calls: usize,
}

impl Worked {
    /// Microseconds.
    fn of_each(self) -> f64 {
        self.time.as_secs_f64() * 1e6 / self.calls as f64
    }
}

impl Population {
    async fn new(sessions: usize) -> Result<Self, Failure> {
        let server = MongoServer::start()?;
        // What is lost with the server need not be in its journal.
        let filling = MongoStore::connect(&Config::new(&format!("{}?w=1", server.url()))?).await?;
        let user = Json::from_text(format!("\"{USER}\""))?;
        let data: Data =
            [(Name::new("user")?, user), (Name::new("n")?, Json::integer(1))].into_iter().collect();
        let start = Instant::now();
        let create = async |()| {
            let id = SessionId::random()?;
            let session = Session { key: id.key(), secret: id.secret_hash() };
            let _ = filling
                .create(&session.key, NewRecord::new(session.secret, DAY).data(data.clone()))
                .await?;
            Ok::<_, Failure>(session)
        };
        let mut all: Vec<Session> = stream::iter((0..sessions).map(|_| create(())))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let seconds = start.elapsed().as_secs_f64();
        let room = Room::taken(&server, "sessions", sessions).await?;
        fastrand::shuffle(&mut all);
        let store = connected(&server).await?;
        Ok(Self { sessions: all, room, seconds, store, worked: Cell::default(), server })
    }

    /// The microseconds that one of many calls takes.
    async fn round(
        &self,
        in_flight: usize,
        call: impl AsyncFn(&MongoStore, &Session) -> Result<(), Failure>,
    ) -> Result<f64, Failure> {
        let drawn: Vec<&Session> = (0..calls(in_flight))
            .map(|_| &self.sessions[fastrand::usize(..self.sessions.len())])
            .collect();
        let before = self.server.processor_time()?;
        let each =
            time_of_each(&drawn, in_flight, async |session| call(&self.store, session).await)
                .await?;
        let Worked { time, calls } = self.worked.get();
        self.worked.set(Worked {
            time: time + self.server.processor_time()?.saturating_sub(before),
            calls: calls + drawn.len(),
        });
        Ok(each)
    }
}

/// How many calls make one measured round.
fn calls(in_flight: usize) -> usize {
    if in_flight == 1 { FEW / 4 } else { FEW }
}

/// A store that has used all of its connections.
async fn connected(server: &MongoServer) -> Result<MongoStore, Failure> {
    let store = MongoStore::connect(&Config::new(server.url())?).await?;
    let nobody: Vec<StoreKey> =
        (0..AT_ONCE).map(|_| Ok(SessionId::random()?.key())).collect::<Result<_, Failure>>()?;
    let look = async |key: &StoreKey| store.load(key).await.map(drop);
    time_of_each(&nobody, AT_ONCE, look).await?;
    Ok(store)
}

/// Fills a server of its own with these documents and prints what they take.
async fn weigh(
    layout: &str,
    sessions: usize,
    document: impl Fn() -> Document,
) -> Result<(), Failure> {
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
    println!("{layout:<14} {} {seconds:>9.1}", Room::taken(&server, layout, sessions).await?);
    Ok(())
}

/// The id, and a field for each value.
fn by_hand() -> Document {
    doc! { "_id": random_text(43), "expires": in_a_day(), "user": USER, "n": 1_i64 }
}

/// An id of 32 characters; a JSON object of the cookie's settings and the values, as a string.
fn connect_mongo() -> Document {
    let cookie = r#"{"originalMaxAge":86400000,"partitioned":null,"priority":null,"expires":"2026-11-26T08:00:00.000Z","secure":null,"httpOnly":true,"domain":null,"path":"/","sameSite":null}"#;
    let session = format!(r#"{{"cookie":{cookie},"user":"{USER}","n":1}}"#);
    doc! { "_id": random_text(32), "expires": in_a_day(), "session": session }
}

/// Not in the same millisecond as all others.
fn in_a_day() -> DateTime {
    DateTime::from_millis(DateTime::now().timestamp_millis().saturating_add(86_400_000))
}

fn random_text(length: usize) -> String {
    (0..length).map(|_| fastrand::alphanumeric()).collect()
}

/// Bytes that a session takes.
struct Room {
    document: f64,
    /// On disk, compressed.
    file: f64,
    indexes: f64,
    /// In the server's cache, as far as that goes.
    memory: f64,
}

impl Room {
    async fn taken(
        server: &MongoServer,
        collection: &str,
        sessions: usize,
    ) -> Result<Self, Failure> {
        let client = Client::with_uri_str(server.url()).await?;
        // Files are written by checkpoints, and sizes change with them.
        client.database("admin").run_command(doc! { "fsync": 1 }).await?;
        let sizes = client.database("bench").run_command(doc! { "collStats": collection }).await?;
        let status = client.database("admin").run_command(doc! { "serverStatus": 1 }).await?;
        let cache = status.get_document("wiredTiger")?.get_document("cache")?;
        let each = |document: &Document, name: &str| {
            Ok::<_, Failure>(number(document, name)? / sessions as f64)
        };
        Ok(Self {
            document: each(&sizes, "size")?,
            file: each(&sizes, "storageSize")?,
            indexes: each(&sizes, "totalIndexSize")?,
            memory: each(cache, "bytes currently in the cache")?,
        })
    }
}

impl std::fmt::Display for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:>9.1} {:>9.1} {:>9.1} {:>9.1}",
            self.document, self.file, self.indexes, self.memory
        )
    }
}

/// A number of a statistic, whichever kind of number the server took for it.
fn number(document: &Document, name: &str) -> Result<f64, Failure> {
    let value = document.get(name).ok_or_else(|| format!("the server does not tell {name}"))?;
    let whole = value.as_i64().or_else(|| value.as_i32().map(i64::from));
    whole
        .map(|whole| whole as f64)
        .or_else(|| value.as_f64())
        .ok_or_else(|| format!("{name} is no number").into())
}
