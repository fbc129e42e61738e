//! A server for a load generator, with or without sessions. It serves on a free port of the
//! loopback interface until it is killed.
//!
//! `bench-server bare` has no sessions, and `bench-server sessions` stores them in memory. Both
//! have one worker and print two lines: the address and a `Cookie` header, which opens a session in
//! the second case. `bench-server redis URL WORKERS`, `bench-server mongo URL WORKERS` and
//! `bench-server sql URL WORKERS` store the sessions in that store and print their address.

use std::{error::Error, net::SocketAddr, sync::Arc};

use actix_web::{
    App, HttpServer,
    web::{self, ServiceConfig},
};
use bench::RequestBench;
use session_actix::{Error as SessionError, Session, SessionMiddleware};
use session_core::{
    MemoryStore, SessionStore,
    cookie::{CookieConfig, Key},
};
use store_mongo::MongoStore;
use store_redis::RedisStore;
use store_sql::SqlStore;

type BoxError = Box<dyn Error>;

const ANY_PORT: &str = "127.0.0.1:0";

#[actix_web::main]
async fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // The applications differ only in the middleware and its routes.
    match arguments[..] {
        ["bare"] => {
            let server = HttpServer::new(|| App::new().configure(untouched_route))
                .workers(1)
                .bind(ANY_PORT)?;
            print_addresses(&server.addrs(), Some(&request_bench()?));
            server.run().await?;
        }
        ["sessions"] => {
            let bench = request_bench()?;
            let sessions =
                SessionMiddleware::builder(Arc::clone(bench.store()), bench.key().clone())
                    .development()
                    .build()?;
            let server = HttpServer::new(move || {
                App::new()
                    .wrap(sessions.clone())
                    .configure(untouched_route)
                    .configure(session_routes)
            })
            .workers(1)
            .bind(ANY_PORT)?;
            print_addresses(&server.addrs(), Some(&bench));
            server.run().await?;
        }
        [kind @ ("redis" | "mongo" | "sql"), url, workers] => {
            let store: Arc<dyn SessionStore> = match kind {
                "redis" => Arc::new(RedisStore::connect(&store_redis::Config::new(url)?).await?),
                "mongo" => Arc::new(MongoStore::connect(&store_mongo::Config::new(url)?).await?),
                _ => Arc::new(SqlStore::connect(&store_sql::Config::new(url)?).await?),
            };
            let sessions =
                SessionMiddleware::builder(store, Key::random()?).development().build()?;
            let server = HttpServer::new(move || {
                App::new()
                    .wrap(sessions.clone())
                    .configure(untouched_route)
                    .configure(session_routes)
            })
            .workers(workers.parse()?)
            .bind(ANY_PORT)?;
            print_addresses(&server.addrs(), None);
            server.run().await?;
        }
        _ => {
            return Err(
                "usage: bench-server bare|sessions, or bench-server redis|mongo|sql URL WORKERS"
                    .into(),
            );
        }
    }
    Ok(())
}

fn request_bench() -> Result<RequestBench, BoxError> {
    RequestBench::new(Arc::new(MemoryStore::new()), CookieConfig::development())
}

#[expect(clippy::print_stdout, reason = "the caller reads the address from standard output")]
fn print_addresses(addresses: &[SocketAddr], bench: Option<&RequestBench>) {
    for address in addresses {
        println!("http://{address}");
    }
    if let Some(bench) = bench {
        println!("Cookie: {}", bench.header());
    }
}

fn untouched_route(routes: &mut ServiceConfig) {
    routes.route("/untouched", web::get().to(async || "hello, world"));
}

fn session_routes(routes: &mut ServiceConfig) {
    routes
        .route("/read", web::get().to(read))
        .route("/add", web::get().to(add))
        .route("/read-insert", web::get().to(read_insert));
}

async fn read(session: Session) -> Result<String, SessionError> {
    Ok(format!("n={:?}", session.get::<i64>("n").await?))
}

async fn add(session: Session) -> Result<String, SessionError> {
    Ok(format!("n={}", session.add("n", 1).await?))
}

async fn read_insert(session: Session) -> Result<String, SessionError> {
    let n = session.get::<i64>("n").await?.unwrap_or(0);
    session.insert("n", &(n + 1))?;
    Ok(format!("n={}", n + 1))
}
