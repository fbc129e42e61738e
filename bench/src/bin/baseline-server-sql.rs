//! The baseline for `bench/compare` over PostgreSQL and SQLite: actix-web and one prepared
//! statement for each request, written by hand without a session library.
//!
//! `baseline-server-sql URL WORKERS` prints its address and serves on a free port of the loopback
//! interface until it is killed. A session is a row of the table `baseline` with the number `n`.
//! Its `id` is the part of the cookie `id` between its first two dots. The baseline does not sign,
//! check, renew or protect sessions, so the comparison shows the cost of these features. Its writes
//! are as durable as those of the library: an acknowledged write is on disk.
//!
//! Each worker creates its own pool on its own thread, so a reply wakes up only that thread. The
//! pool has as many connections as the store opens for a thread.

use std::error::Error;

use actix_web::{HttpRequest, HttpResponse, error::ErrorUnauthorized, web::Data};
use bench::{baseline_arguments, session_id, session_page, unavailable};
use sqlx::{
    PgPool, SqlitePool,
    pool::PoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::sync::Mutex;

type BoxError = Box<dyn Error>;

const CONNECTIONS: u32 = 8;

/// SQLite executes one write at a time. A writer that waits for this lock does not have to retry.
static WRITER: Mutex<()> = Mutex::const_new(());

#[actix_web::main]
async fn main() -> Result<(), BoxError> {
    let (url, workers) = baseline_arguments("baseline-server-sql", "postgres://127.0.0.1/bench")?;
    bench::serve_baseline!(url, Sessions::connect, workers)
}

/// The pool of the worker, for the table `baseline`. Each statement is prepared once on each
/// connection.
enum Sessions {
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

impl Sessions {
    async fn connect(url: String) -> Result<Self, sqlx::Error> {
        if url.starts_with("sqlite:") {
            let options: SqliteConnectOptions = url.parse()?;
            let options = options
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full);
            return PoolOptions::new()
                .max_connections(CONNECTIONS)
                .test_before_acquire(false)
                .connect_with(options)
                .await
                .map(Self::Sqlite);
        }
        PoolOptions::new()
            .max_connections(CONNECTIONS)
            .test_before_acquire(false)
            .connect(&url)
            .await
            .map(Self::Postgres)
    }

    async fn read(&self, id: &str) -> Result<Option<i64>, sqlx::Error> {
        const READ: &str = "SELECT n FROM baseline WHERE id = $1";
        match self {
            Self::Postgres(pool) => sqlx::query_scalar(READ).bind(id).fetch_optional(pool).await,
            Self::Sqlite(pool) => sqlx::query_scalar(READ).bind(id).fetch_optional(pool).await,
        }
    }

    async fn add(&self, id: &str) -> Result<Option<i64>, sqlx::Error> {
        const ADD: &str = "UPDATE baseline SET n = n + 1 WHERE id = $1 RETURNING n";
        // Reads to the end of the result: the write is on disk only after the returned row.
        let rows: Vec<i64> = match self {
            Self::Postgres(pool) => sqlx::query_scalar(ADD).bind(id).fetch_all(pool).await?,
            Self::Sqlite(pool) => {
                let _guard = WRITER.lock().await;
                sqlx::query_scalar(ADD).bind(id).fetch_all(pool).await?
            }
        };
        Ok(rows.first().copied())
    }

    async fn insert(&self, id: &str, n: i64) -> Result<(), sqlx::Error> {
        const INSERT: &str = "UPDATE baseline SET n = $2 WHERE id = $1";
        match self {
            Self::Postgres(pool) => {
                sqlx::query(INSERT).bind(id).bind(n).execute(pool).await.map(drop)
            }
            Self::Sqlite(pool) => {
                let _guard = WRITER.lock().await;
                sqlx::query(INSERT).bind(id).bind(n).execute(pool).await.map(drop)
            }
        }
    }
}

/// Reads one value: one statement.
async fn read(request: HttpRequest, sessions: Data<Sessions>) -> actix_web::Result<String> {
    let n = sessions.read(session_id(&request)?).await.map_err(unavailable)?;
    Ok(format!("n={n:?}"))
}

/// Increments a number: one statement.
async fn add(request: HttpRequest, sessions: Data<Sessions>) -> actix_web::Result<String> {
    let n = sessions
        .add(session_id(&request)?)
        .await
        .map_err(unavailable)?
        .ok_or_else(|| ErrorUnauthorized("no session"))?;
    Ok(format!("n={n}"))
}

/// Reads a number and writes the next one, without protection against concurrent writes: two
/// statements.
async fn read_insert(request: HttpRequest, sessions: Data<Sessions>) -> actix_web::Result<String> {
    let id = session_id(&request)?;
    let n = sessions.read(id).await.map_err(unavailable)?.unwrap_or(0) + 1;
    sessions.insert(id, n).await.map_err(unavailable)?;
    Ok(format!("n={n}"))
}

/// Returns the whole session as JSON. The body is as long as that of `GET /session` of the demo:
/// one statement.
async fn page(request: HttpRequest, sessions: Data<Sessions>) -> actix_web::Result<HttpResponse> {
    let n = sessions.read(session_id(&request)?).await.map_err(unavailable)?;
    let data = n.map(|n| format!("\"n\":{n}")).unwrap_or_default();
    Ok(session_page(&data))
}
