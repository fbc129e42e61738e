//! The room that a session takes in PostgreSQL and in SQLite; whether a session among a million
//! costs more than one among a thousand; and what it takes to purge ten.
//!
//! `cargo run --release -p bench --bin footprint-sql [-- SESSIONS]`. Starts two servers of its own;
//! for a million sessions it needs about 2 GB of memory and of the temporary folder, which should
//! be on a disk.
#![expect(clippy::print_stdout, reason = "a program that prints measurements")]
#![expect(clippy::cast_precision_loss, reason = "the numbers are far below 2^52")]

use std::{
    error::Error,
    time::{Duration, Instant},
};

use bench::{Beside, PostgresServer, time_of_each};
use session_core::{
    Change, Commit, Data, Json, Name, NewRecord, Outcome, Rotation, SecretHash, SessionId,
    SessionStore, StoreKey,
};
use sqlx::{
    AssertSqlSafe, ColumnIndex, Connection, Database, Decode, Executor, PgConnection, Postgres,
    Row, Sqlite, SqliteConnection, Type, pool::PoolOptions,
};
use store_sql::{Config, Dialect, SqlStore};
use tempfile::TempDir;

type Failure = Box<dyn Error>;

const FEW: usize = 1_000;
const AT_ONCE: usize = 64;
const ROUNDS: usize = 20;
const PURGES: usize = 9;
const EXPIRED: usize = 10;
const DAY: Duration = Duration::from_hours(24);
const USER: &str = "0123456789";
const SECRET: SecretHash = SecretHash::from_bytes([7; SecretHash::BYTES]);

fn main() -> Result<(), Failure> {
    let sessions = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        println!(
            "{sessions} sessions that hold {{\"user\":\"{USER}\",\"n\":1}}, expiring after a day; bytes for each, and seconds to make all"
        );
        measure(Dialect::Postgres, sessions).await?;
        measure(Dialect::Sqlite, sessions).await
    })
}

async fn measure(dialect: Dialect, sessions: usize) -> Result<(), Failure> {
    let many = Population::new(dialect, sessions).await?;
    println!(
        "{dialect:?}: table {:.1}, indexes {:.1}, {:.1} seconds",
        many.table, many.indexes, many.seconds
    );
    let few = Population::new(dialect, FEW).await?;
    println!("{:<24} {FEW:>9} {sessions:>9} {:>7}", "us a call", "ratio");
    let name = Name::new("n")?;
    for in_flight in [AT_ONCE, 1] {
        report("load", in_flight, &few, &many, load).await?;
        let add = || Commit::new(SECRET).change(name.clone(), Change::Add(1));
        report("add", in_flight, &few, &many, async |store, key| commit(store, key, add()).await)
            .await?;
        let touch = || Commit::new(SECRET).ttl(DAY);
        report("touch", in_flight, &few, &many, async |store, key| {
            commit(store, key, touch()).await
        })
        .await?;
        // To the same secret, so that every session keeps the one that this program knows.
        let renew =
            || Commit::new(SECRET).rotate(Rotation { secret: SECRET, generation: 1, grace: None });
        report("renew", in_flight, &few, &many, async |store, key| {
            commit(store, key, renew()).await
        })
        .await?;
    }
    let (of_few, of_many) = (few.purge().await?, many.purge().await?);
    println!(
        "{:<24} {of_few:>9.0} {of_many:>9.0} {:>7.2}",
        format!("purge of {EXPIRED}"),
        of_many / of_few
    );
    for line in many.plan_of_purge().await? {
        println!("  {line}");
    }
    Ok(())
}

async fn load(store: &SqlStore, key: &StoreKey) -> Result<(), Failure> {
    store.load(key).await?.map(drop).ok_or_else(|| "a session is gone".into())
}

async fn commit(store: &SqlStore, key: &StoreKey, commit: Commit) -> Result<(), Failure> {
    match store.commit(key, commit).await? {
        Outcome::Done(_) => Ok(()),
        other => Err(format!("a session is {other:?}").into()),
    }
}

/// Prints what a call takes in both.
async fn report(
    name: &str,
    in_flight: usize,
    few: &Population,
    many: &Population,
    call: impl AsyncFn(&SqlStore, &StoreKey) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let Beside { few, many, ratio } = Beside::measured(ROUNDS, few, many, async |population| {
        population.round(in_flight, &call).await
    })
    .await?;
    let what = format!(
        "{name}, {}",
        if in_flight == 1 { "alone".to_owned() } else { format!("{in_flight} in flight") }
    );
    println!("{what:<24} {few:>9.1} {many:>9.1} {ratio:>7.2}");
    Ok(())
}

/// So many sessions in a database of their own.
struct Population {
    /// In no order that the database knows.
    keys: Vec<StoreKey>,
    store: SqlStore,
    /// Bytes that a session takes.
    table: f64,
    indexes: f64,
    /// How long it took to make them.
    seconds: f64,
    place: Place,
}

impl Population {
    async fn new(dialect: Dialect, sessions: usize) -> Result<Self, Failure> {
        let place = Place::new(dialect)?;
        let store = SqlStore::connect(&Config::new(&place.url())?).await?;
        let user = Json::from_text(format!("\"{USER}\""))?;
        let data: Data =
            [(Name::new("user")?, user), (Name::new("n")?, Json::integer(1))].into_iter().collect();
        // The others are as the store makes this one, but for their keys, and do not expire in the
        // same millisecond.
        let _ = store
            .create(&SessionId::random()?.key(), NewRecord::new(SECRET, DAY).data(data))
            .await?;
        let mut client = place.client().await?;
        let start = Instant::now();
        client
            .run(&format!(
                "WITH RECURSIVE more (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM more WHERE i < {}) \
                 INSERT INTO sessions (id, data, version, secret, generation, since, created, expires, principal, attributes, format) \
                 SELECT {}, data, version, secret, generation, since, created, expires + i, principal, attributes, format \
                 FROM sessions CROSS JOIN more",
                sessions - 1,
                place.random_key()
            ))
            .await?;
        let seconds = start.elapsed().as_secs_f64();
        for statement in place.settle() {
            client.run(statement).await?;
        }
        let [table, indexes] = place.sizes();
        let size = async |client: &mut Client, text| {
            let bytes: Vec<i64> = client.column(text).await?;
            Ok::<_, Failure>(
                *bytes.first().ok_or("the database does not tell its size")? as f64
                    / sessions as f64,
            )
        };
        let (table, indexes) = (size(&mut client, table).await?, size(&mut client, indexes).await?);
        let ids: Vec<Vec<u8>> = client.column("SELECT id FROM sessions").await?;
        let mut keys = ids
            .into_iter()
            .map(|id| Ok(StoreKey::from_text(String::from_utf8(id)?)))
            .collect::<Result<Vec<_>, Failure>>()?;
        fastrand::shuffle(&mut keys);
        // All connections are open, and know the statement.
        time_of_each(&keys[..FEW.min(sessions)], AT_ONCE, async |key| load(&store, key).await)
            .await?;
        Ok(Self { keys, store, table, indexes, seconds, place })
    }

    /// The microseconds that one of many calls takes.
    async fn round(
        &self,
        in_flight: usize,
        call: impl AsyncFn(&SqlStore, &StoreKey) -> Result<(), Failure>,
    ) -> Result<f64, Failure> {
        let calls = if in_flight == 1 { FEW / 4 } else { FEW };
        let drawn: Vec<&StoreKey> =
            (0..calls).map(|_| &self.keys[fastrand::usize(..self.keys.len())]).collect();
        time_of_each(&drawn, in_flight, async |key| call(&self.store, key).await).await
    }

    /// The microseconds that it takes to purge [`EXPIRED`] sessions; the longest of some times. The
    /// sessions are gone then.
    async fn purge(&self) -> Result<f64, Failure> {
        let mut client = self.place.client().await?;
        let mut longest = Duration::ZERO;
        for _ in 0..PURGES {
            client.run(&expire()).await?;
            let start = Instant::now();
            let purged = self.store.delete_expired(FEW).await?;
            longest = longest.max(start.elapsed());
            if purged != EXPIRED as u64 {
                return Err(format!("{purged} sessions were purged instead of {EXPIRED}").into());
            }
        }
        Ok(longest.as_secs_f64() * 1e6)
    }

    /// What the database says of how it purges.
    async fn plan_of_purge(&self) -> Result<Vec<String>, Failure> {
        match &self.place {
            Place::Postgres(server) => {
                // Over one connection, which knows the store's statement once that was used.
                let pool = PoolOptions::<Postgres>::new().max_connections(1).connect(server.url()).await?;
                SqlStore::with_pool(pool.clone(), &Config::new(server.url())?)?.delete_expired(FEW).await?;
                let mut connection = pool.acquire().await?;
                let prepared = "SELECT name FROM pg_prepared_statements WHERE statement LIKE 'DELETE%'";
                let names: Vec<String> = column::<Postgres, _>(&mut connection, prepared).await?;
                let [name] = &names[..] else { return Err(format!("{} statements delete", names.len()).into()) };
                Ok(column::<Postgres, _>(&mut connection, &format!("EXPLAIN EXECUTE \"{name}\" ({FEW})")).await?)
            }
            // The statement of `store_sql`: SQLite does not tell what was prepared.
            Place::Sqlite(_) => Ok(self
                .place
                .client()
                .await?
                .column(
                    "EXPLAIN QUERY PLAN DELETE FROM sessions WHERE id IN (SELECT id FROM sessions \
                     WHERE expires <= CAST(round(unixepoch('subsec') * 1000) AS INTEGER) ORDER BY expires LIMIT 1000)",
                )
                .await?),
        }
    }
}

/// Ends the time of some sessions.
fn expire() -> String {
    format!("UPDATE sessions SET expires = 1 WHERE id IN (SELECT id FROM sessions LIMIT {EXPIRED})")
}

/// Where a population is.
enum Place {
    Postgres(PostgresServer),
    /// A folder with the file.
    Sqlite(TempDir),
}

impl Place {
    fn new(dialect: Dialect) -> Result<Self, Failure> {
        match dialect {
            Dialect::Postgres => Ok(Self::Postgres(PostgresServer::start()?)),
            Dialect::Sqlite => Ok(Self::Sqlite(tempfile::tempdir()?)),
            Dialect::MySql => Err("there is no server of MySQL here".into()),
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Postgres(server) => server.url().to_owned(),
            Self::Sqlite(folder) => {
                format!("sqlite:{}", folder.path().join("sessions.db").display())
            }
        }
    }

    async fn client(&self) -> Result<Client, sqlx::Error> {
        Ok(match self {
            Self::Postgres(_) => Client::Postgres(PgConnection::connect(&self.url()).await?),
            Self::Sqlite(_) => Client::Sqlite(SqliteConnection::connect(&self.url()).await?),
        })
    }

    /// An expression for random bytes, as many as a key has.
    fn random_key(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "convert_to(left(md5(random()::text), 16), 'UTF8')",
            Self::Sqlite(_) => "CAST(hex(randomblob(8)) AS BLOB)",
        }
    }

    /// What leaves nothing of the filling to be done later.
    fn settle(&self) -> &'static [&'static str] {
        match self {
            Self::Postgres(_) => &["VACUUM ANALYZE sessions", "CHECKPOINT"],
            Self::Sqlite(_) => &["VACUUM", "ANALYZE", "PRAGMA wal_checkpoint(TRUNCATE)"],
        }
    }

    /// The bytes of the table, and those of its indexes.
    fn sizes(&self) -> [&'static str; 2] {
        match self {
            Self::Postgres(_) => {
                ["SELECT pg_table_size('sessions')", "SELECT pg_indexes_size('sessions')"]
            }
            Self::Sqlite(_) => [
                "SELECT sum(pgsize) FROM dbstat WHERE name = 'sessions'",
                "SELECT sum(pgsize) FROM dbstat WHERE name IN (SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'sessions')",
            ],
        }
    }
}

/// A connection that knows nothing of sessions.
enum Client {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl Client {
    async fn run(&mut self, text: &str) -> Result<(), sqlx::Error> {
        let text = AssertSqlSafe(text.to_owned());
        match self {
            Self::Postgres(connection) => connection.execute(text).await.map(drop),
            Self::Sqlite(connection) => connection.execute(text).await.map(drop),
        }
    }

    async fn column<T>(&mut self, text: &str) -> Result<Vec<T>, sqlx::Error>
    where
        T: for<'r> Decode<'r, Postgres>
            + Type<Postgres>
            + for<'r> Decode<'r, Sqlite>
            + Type<Sqlite>,
    {
        match self {
            Self::Postgres(connection) => column::<Postgres, T>(connection, text).await,
            Self::Sqlite(connection) => column::<Sqlite, T>(connection, text).await,
        }
    }
}

/// The last column of what a statement reads.
async fn column<D: Database, T>(
    connection: &mut D::Connection,
    text: &str,
) -> Result<Vec<T>, sqlx::Error>
where
    T: for<'r> Decode<'r, D> + Type<D>,
    usize: ColumnIndex<D::Row>,
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
{
    let rows = connection.fetch_all(AssertSqlSafe(text.to_owned())).await?;
    rows.iter().map(|row| row.try_get(row.len() - 1)).collect()
}
