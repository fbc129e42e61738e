//! Serves on a free port of the loopback, bare or with sessions, for a load generator, until it is
//! killed.
//!
//! `bench-server bare|sessions` has one worker and prints two lines: its address, and a `Cookie`
//! header, which opens a session if there are sessions; they are in memory.
//! `bench-server redis URL WORKERS`, `bench-server mongo URL WORKERS` and
//! `bench-server sql URL WORKERS` keep sessions there and print their address.

use std::{error::Error, net::SocketAddr, sync::Arc};

use actix_web::{
    App, HttpServer,
    web::{self, ServiceConfig},
};
use bench::Site;
use session_actix::{Error as SessionFailure, Session, SessionMiddleware};
use session_core::{
    MemoryStore, SessionStore,
    cookie::{CookieConfig, Key},
};
use store_mongo::MongoStore;
use store_redis::RedisStore;
use store_sql::SqlStore;

type Failure = Box<dyn Error>;

const ANY_PORT: &str = "127.0.0.1:0";

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // The applications differ in the middleware only.
    match arguments[..] {
        ["bare"] => {
            let server =
                HttpServer::new(|| App::new().configure(untouched)).workers(1).bind(ANY_PORT)?;
            tell(&server.addrs(), Some(&site()?));
            server.run().await?;
        }
        ["sessions"] => {
            let site = site()?;
            let sessions = SessionMiddleware::builder(Arc::clone(site.store()), site.key().clone())
                .development()
                .build()?;
            let server = HttpServer::new(move || {
                App::new().wrap(sessions.clone()).configure(untouched).configure(used)
            })
            .workers(1)
            .bind(ANY_PORT)?;
            tell(&server.addrs(), Some(&site));
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
                App::new().wrap(sessions.clone()).configure(untouched).configure(used)
            })
            .workers(workers.parse()?)
            .bind(ANY_PORT)?;
            tell(&server.addrs(), None);
            server.run().await?;
        }
        _ => return Err(
            "bench-server bare, bench-server sessions, or bench-server redis|mongo|sql URL WORKERS"
                .into(),
        ),
    }
    Ok(())
}

fn site() -> Result<Site, Failure> {
    Site::new(Arc::new(MemoryStore::new()), CookieConfig::development())
}

#[expect(clippy::print_stdout, reason = "the caller waits for it")]
fn tell(addresses: &[SocketAddr], site: Option<&Site>) {
    for address in addresses {
        println!("http://{address}");
    }
    if let Some(site) = site {
        println!("Cookie: {}", site.header());
    }
}

fn untouched(routes: &mut ServiceConfig) {
    routes.route("/untouched", web::get().to(async || "hello, world"));
}

fn used(routes: &mut ServiceConfig) {
    routes
        .route("/read", web::get().to(read))
        .route("/add", web::get().to(add))
        .route("/read-insert", web::get().to(read_insert));
}

async fn read(session: Session) -> Result<String, SessionFailure> {
    Ok(format!("n={:?}", session.get::<i64>("n").await?))
}

async fn add(session: Session) -> Result<String, SessionFailure> {
    Ok(format!("n={}", session.add("n", 1).await?))
}

async fn read_insert(session: Session) -> Result<String, SessionFailure> {
    let n = session.get::<i64>("n").await?.unwrap_or(0);
    session.insert("n", &(n + 1))?;
    Ok(format!("n={}", n + 1))
}
