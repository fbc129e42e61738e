//! One worker on a free port of the loopback, bare or with sessions, for a load generator.
//!
//! `bench-server bare|sessions` prints two lines: its address, and a `Cookie` header, which opens a session if there are sessions. It
//! serves until it is killed.

use std::{error::Error, sync::Arc};

use actix_web::{
    App, HttpServer,
    web::{self, ServiceConfig},
};
use bench::Site;
use session_actix::{Error as SessionFailure, Session, SessionMiddleware};
use session_core::{MemoryStore, cookie::CookieConfig};

type Failure = Box<dyn Error>;

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    let mode = std::env::args().nth(1).unwrap_or_default();
    let site = Site::new(Arc::new(MemoryStore::new()), CookieConfig::development())?;
    let sessions = SessionMiddleware::new(Arc::clone(site.store()), site.codec().clone());
    // The two applications differ in the middleware only.
    match mode.as_str() {
        "bare" => {
            let server = HttpServer::new(|| App::new().configure(untouched)).workers(1).bind("127.0.0.1:0")?;
            tell(&server.addrs(), &site);
            server.run().await?;
        }
        "sessions" => {
            let app = move || App::new().wrap(sessions.clone()).configure(untouched).configure(used);
            let server = HttpServer::new(app).workers(1).bind("127.0.0.1:0")?;
            tell(&server.addrs(), &site);
            server.run().await?;
        }
        other => return Err(format!("{other:?} is neither bare nor sessions").into()),
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the caller waits for it")]
fn tell(addresses: &[std::net::SocketAddr], site: &Site) {
    for address in addresses {
        println!("http://{address}");
    }
    println!("Cookie: {}", site.header());
}

fn untouched(routes: &mut ServiceConfig) {
    routes.route("/untouched", web::get().to(async || "hello, world"));
}

fn used(routes: &mut ServiceConfig) {
    routes.route("/read", web::get().to(read)).route("/add", web::get().to(add)).route("/read-insert", web::get().to(read_insert));
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
