//! Measures the size of a session in PostgreSQL and in SQLite. Also measures whether a call takes
//! longer with a million sessions than with a thousand, and the time of a purge of ten sessions.
//!
//! `cargo run --release -p bench --bin footprint-sql [-- SESSIONS]`. The program starts two
//! servers. For a million sessions it needs about 2 GB of memory and 2 GB in the temporary folder,
//! which should be on a disk.
#![expect(clippy::print_stdout, reason = "a program that prints measurements")]
#![expect(clippy::cast_precision_loss, reason = "the numbers are far below 2^52")]

use std::{
    error::Error,
    time::{Duration, Instant},
};

use bench::{PostgresServer, SideBySide, expect_done, micros_per_call};
use session_core::{
    Change, Commit, Data, Json, Name, NewRecord, Rotation, SecretHash, SessionId, SessionStore,
    StoreKey,
};
use sqlx::{
    AssertSqlSafe, ColumnIndex, Connection, Database, Decode, Executor, PgConnection, Postgres,
    Row, Sqlite, SqliteConnection, Type, pool::PoolOptions,
};
use store_sql::{Config, Dialect, SqlStore};
use tempfile::TempDir;

type BoxError = Box<dyn Error>;

const FEW: usize = 1_000;
const CONCURRENT_CALLS: usize = 64;
const ROUNDS: usize = 20;
const PURGES: usize = 9;
const EXPIRED: usize = 10;
const DAY: Duration = Duration::from_hours(24);
const USER: &str = "0123456789";
const SECRET: SecretHash = SecretHash::from_bytes([7; SecretHash::BYTES]);

fn main() -> Result<(), BoxError> {
    let sessions = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        println!(
            "{sessions} sessions with {{\"user\":\"{USER}\",\"n\":1}} that expire after a day: \
             bytes per session, and seconds to create all"
        );
        measure(Dialect::Postgres, sessions).await?;
        measure(Dialect::Sqlite, sessions).await
    })
}

async fn measure(dialect: Dialect, sessions: usize) -> Result<(), BoxError> {
    let many = Population::new(dialect, sessions).await?;
    println!(
        "{dialect:?}: table {:.1}, indexes {:.1}, {:.1} seconds",
        many.table, many.indexes, many.seconds
    );
    let few = Population::new(dialect, FEW).await?;
    println!("{:<24} {FEW:>9} {sessions:>9} {:>7}", "us per call", "ratio");
    let name = Name::new("n")?;
    for in_flight in [CONCURRENT_CALLS, 1] {
        report("load", in_flight, &few, &many, load).await?;
        let add = || Commit::new(SECRET).change(name.clone(), Change::Add(1));
        report("add", in_flight, &few, &many, async |store, key| commit(store, key, add()).await)
            .await?;
        let touch = || Commit::new(SECRET).ttl(DAY);
        report("touch", in_flight, &few, &many, async |store, key| {
            commit(store, key, touch()).await
        })
        .await?;
        // The new secret is the same one, so this program still knows the secret of every session.
        let renew =
            || Commit::new(SECRET).rotate(Rotation { secret: SECRET, generation: 1, grace: None });
        report("renew", in_flight, &few, &many, async |store, key| {
            commit(store, key, renew()).await
        })
        .await?;
    }
    let (few_time, many_time) = (few.purge().await?, many.purge().await?);
    println!(
        "{:<24} {few_time:>9.0} {many_time:>9.0} {:>7.2}",
        format!("purge of {EXPIRED}"),
        many_time / few_time
    );
    for line in many.plan_of_purge().await? {
        println!("  {line}");
    }
    Ok(())
}

async fn load(store: &SqlStore, key: &StoreKey) -> Result<(), BoxError> {
    store.load(key).await?.map(drop).ok_or_else(|| "a session is missing".into())
}

async fn commit(store: &SqlStore, key: &StoreKey, commit: Commit) -> Result<(), BoxError> {
    expect_done(store.commit(key, commit).await?)
}

/// Measures a call in both populations and prints the result.
async fn report(
    name: &str,
    in_flight: usize,
    few: &Population,
    many: &Population,
    call: impl AsyncFn(&SqlStore, &StoreKey) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    let SideBySide { few, many, ratio } =
        SideBySide::measure(ROUNDS, few, many, async |population| {
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

/// A database with sessions.
struct Population {
    /// In random order.
    keys: Vec<StoreKey>,
    store: SqlStore,
    /// Bytes per session in the table.
    table: f64,
    /// Bytes per session in the indexes.
    indexes: f64,
    /// The seconds that it took to create the sessions.
    seconds: f64,
    database: TestDatabase,
}

impl Population {
    async fn new(dialect: Dialect, sessions: usize) -> Result<Self, BoxError> {
        let database = TestDatabase::new(dialect)?;
        let store = SqlStore::connect(&Config::new(&database.url())?).await?;
        let user = Json::from_text(format!("\"{USER}\""))?;
        let data: Data =
            [(Name::new("user")?, user), (Name::new("n")?, Json::integer(1))].into_iter().collect();
        // The store creates this session. The others are copies of it with other keys, and each
        // expires in another millisecond.
        let _ = store
            .create(&SessionId::random()?.key(), NewRecord::new(SECRET, DAY).data(data))
            .await?;
        let mut client = database.client().await?;
        let start = Instant::now();
        client
            .run(&format!(
                "WITH RECURSIVE more (i) \
                 AS (SELECT 1 UNION ALL SELECT i + 1 FROM more WHERE i < {}) \
                 INSERT INTO sessions (id, data, version, secret, generation, since, created, \
                 expires, principal, attributes, format) \
                 SELECT {}, data, version, secret, generation, since, created, \
                 expires + i, principal, attributes, format \
                 FROM sessions CROSS JOIN more",
                sessions - 1,
                database.random_key()
            ))
            .await?;
        let seconds = start.elapsed().as_secs_f64();
        for statement in database.maintenance() {
            client.run(statement).await?;
        }
        let [table, indexes] = database.sizes();
        let size = async |client: &mut Client, text| {
            let bytes: Vec<i64> = client.column(text).await?;
            Ok::<_, BoxError>(
                *bytes.first().ok_or("the database did not return its size")? as f64
                    / sessions as f64,
            )
        };
        let (table, indexes) = (size(&mut client, table).await?, size(&mut client, indexes).await?);
        let ids: Vec<Vec<u8>> = client.column("SELECT id FROM sessions").await?;
        let mut keys = ids
            .into_iter()
            .map(|id| Ok(StoreKey::from_text(String::from_utf8(id)?)))
            .collect::<Result<Vec<_>, BoxError>>()?;
        fastrand::shuffle(&mut keys);
        // Opens all connections and prepares the statement on each of them.
        micros_per_call(&keys[..FEW.min(sessions)], CONCURRENT_CALLS, async |key| {
            load(&store, key).await
        })
        .await?;
        Ok(Self { keys, store, table, indexes, seconds, database })
    }

    /// The time of a call in microseconds.
    async fn round(
        &self,
        in_flight: usize,
        call: impl AsyncFn(&SqlStore, &StoreKey) -> Result<(), BoxError>,
    ) -> Result<f64, BoxError> {
        let calls = if in_flight == 1 { FEW / 4 } else { FEW };
        let drawn: Vec<&StoreKey> =
            (0..calls).map(|_| &self.keys[fastrand::usize(..self.keys.len())]).collect();
        micros_per_call(&drawn, in_flight, async |key| call(&self.store, key).await).await
    }

    /// The time of a purge of [`EXPIRED`] sessions in microseconds: the longest of [`PURGES`]
    /// purges. Each purge deletes the sessions.
    async fn purge(&self) -> Result<f64, BoxError> {
        let mut client = self.database.client().await?;
        let mut longest = Duration::ZERO;
        for _ in 0..PURGES {
            client.run(&expire()).await?;
            let start = Instant::now();
            let purged = self.store.delete_expired(FEW).await?;
            longest = longest.max(start.elapsed());
            if purged != EXPIRED as u64 {
                return Err(
                    format!("the purge deleted {purged} sessions instead of {EXPIRED}").into()
                );
            }
        }
        Ok(longest.as_secs_f64() * 1e6)
    }

    /// The query plan of the purge.
    async fn plan_of_purge(&self) -> Result<Vec<String>, BoxError> {
        match &self.database {
            TestDatabase::Postgres(server) => {
                // The pool has one connection. The statement is prepared there after its first use.
                let pool =
                    PoolOptions::<Postgres>::new().max_connections(1).connect(server.url()).await?;
                SqlStore::with_pool(pool.clone(), &Config::new(server.url())?)?
                    .delete_expired(FEW)
                    .await?;
                let mut connection = pool.acquire().await?;
                let prepared =
                    "SELECT name FROM pg_prepared_statements WHERE statement LIKE 'DELETE%'";
                let names: Vec<String> = column::<Postgres, _>(&mut connection, prepared).await?;
                let [name] = &names[..] else {
                    let found = names.len();
                    return Err(
                        format!("expected one prepared DELETE statement, found {found}").into()
                    );
                };
                let explain = format!("EXPLAIN EXECUTE \"{name}\" ({FEW})");
                Ok(column::<Postgres, _>(&mut connection, &explain).await?)
            }
            // A copy of the statement in `store_sql`: SQLite does not list its prepared statements.
            TestDatabase::Sqlite(_) => Ok(self
                .database
                .client()
                .await?
                .column(
                    "EXPLAIN QUERY PLAN DELETE FROM sessions WHERE id IN (SELECT id FROM sessions \
                     WHERE expires <= CAST(round(unixepoch('subsec') * 1000) AS INTEGER) \
                     ORDER BY expires LIMIT 1000)",
                )
                .await?),
        }
    }
}

/// A statement that lets [`EXPIRED`] sessions expire.
fn expire() -> String {
    format!("UPDATE sessions SET expires = 1 WHERE id IN (SELECT id FROM sessions LIMIT {EXPIRED})")
}

/// The database of a population.
enum TestDatabase {
    Postgres(PostgresServer),
    /// The folder of the database file.
    Sqlite(TempDir),
}

impl TestDatabase {
    fn new(dialect: Dialect) -> Result<Self, BoxError> {
        match dialect {
            Dialect::Postgres => Ok(Self::Postgres(PostgresServer::start()?)),
            Dialect::Sqlite => Ok(Self::Sqlite(tempfile::tempdir()?)),
            Dialect::MySql => Err("this program does not measure MySQL".into()),
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

    /// An SQL expression for a random key.
    fn random_key(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "convert_to(left(md5(random()::text), 16), 'UTF8')",
            Self::Sqlite(_) => "CAST(hex(randomblob(8)) AS BLOB)",
        }
    }

    /// Statements that finish the background work of the inserts before the measurement.
    fn maintenance(&self) -> &'static [&'static str] {
        match self {
            Self::Postgres(_) => &["VACUUM ANALYZE sessions", "CHECKPOINT"],
            Self::Sqlite(_) => &["VACUUM", "ANALYZE", "PRAGMA wal_checkpoint(TRUNCATE)"],
        }
    }

    /// Queries for the bytes of the table and of its indexes.
    fn sizes(&self) -> [&'static str; 2] {
        match self {
            Self::Postgres(_) => {
                ["SELECT pg_table_size('sessions')", "SELECT pg_indexes_size('sessions')"]
            }
            Self::Sqlite(_) => [
                "SELECT sum(pgsize) FROM dbstat WHERE name = 'sessions'",
                "SELECT sum(pgsize) FROM dbstat WHERE name IN \
                 (SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'sessions')",
            ],
        }
    }
}

/// A plain connection to the database, without the store.
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

/// Runs a query and returns its last column.
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
