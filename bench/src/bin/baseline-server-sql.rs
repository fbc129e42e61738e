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

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    error::{ErrorInternalServerError, ErrorUnauthorized},
    http::header::COOKIE,
    web::{self, Data},
};
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
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(workers)) = (arguments.next(), arguments.next()) else {
        return Err("usage: baseline-server-sql URL WORKERS, such as \
             baseline-server-sql postgres://127.0.0.1/bench 2"
            .into());
    };
    let app = move || {
        let url = url.clone();
        App::new()
            .data_factory(move || Sessions::connect(url.clone()))
            .route("/untouched", web::get().to(async || "hello, world"))
            .route("/read", web::get().to(read))
            .route("/add", web::get().to(add))
            .route("/read-insert", web::get().to(read_insert))
            .route("/page", web::get().to(page))
    };
    let server = HttpServer::new(app).workers(workers.parse()?).bind("127.0.0.1:0")?;
    print_addresses(&server.addrs());
    server.run().await?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the caller reads the address from standard output")]
fn print_addresses(addresses: &[std::net::SocketAddr]) {
    for address in addresses {
        println!("http://{address}");
    }
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
    let n = sessions.read(&id(&request)?).await.map_err(unavailable)?;
    Ok(format!("n={n:?}"))
}

/// Increments a number: one statement.
async fn add(request: HttpRequest, sessions: Data<Sessions>) -> actix_web::Result<String> {
    let n = sessions
        .add(&id(&request)?)
        .await
        .map_err(unavailable)?
        .ok_or_else(|| ErrorUnauthorized("no session"))?;
    Ok(format!("n={n}"))
}

/// Reads a number and writes the next one, without protection against concurrent writes: two
/// statements.
async fn read_insert(request: HttpRequest, sessions: Data<Sessions>) -> actix_web::Result<String> {
    let id = id(&request)?;
    let n = sessions.read(&id).await.map_err(unavailable)?.unwrap_or(0) + 1;
    sessions.insert(&id, n).await.map_err(unavailable)?;
    Ok(format!("n={n}"))
}

/// Returns the whole session as JSON. The body is as long as that of `GET /session` of the demo:
/// one statement.
async fn page(request: HttpRequest, sessions: Data<Sessions>) -> actix_web::Result<HttpResponse> {
    let n = sessions.read(&id(&request)?).await.map_err(unavailable)?;
    let data = n.map(|n| format!("\"n\":{n}")).unwrap_or_default();
    let page = format!(
        "{{\"handle\":\"AAAAAAAAAAAAAAAAAAAAAA\",\"principal\":null,\"age\":10.001,\
         \"ttl\":1789.999,\"data\":{{{data}}}}}"
    );
    Ok(HttpResponse::Ok().content_type("application/json").body(page))
}

/// The id of the session that the cookie names.
fn id(request: &HttpRequest) -> actix_web::Result<String> {
    let headers = request.headers().get_all(COOKIE).filter_map(|header| header.to_str().ok());
    let value = headers
        .flat_map(|header| header.split(';'))
        .find_map(|pair| pair.trim_start().strip_prefix("id="));
    let id = value.and_then(|value| value.split('.').nth(1)).filter(|id| !id.is_empty());
    Ok(id.ok_or_else(|| ErrorUnauthorized("no cookie"))?.to_owned())
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` passes the error by value")]
fn unavailable(error: sqlx::Error) -> actix_web::Error {
    ErrorInternalServerError(error.to_string())
}
