//! The routes of `bench/peers/run` with tower-sessions on axum. The arguments are the URL of Redis
//! and the number of workers. The only line of output is the address.
//!
//! The settings are those of the example in the documentation of tower-sessions-redis-store: a pool
//! of 6 connections. The pool of the example does not connect again after an outage, so this pool
//! also has the default `ReconnectPolicy`. The sessions expire after an hour without a change.

use std::{error::Error, time::Duration};

use axum::{
    Router,
    extract::Path,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tower_sessions::{Expiry, Session, SessionManagerLayer, cookie::time};
use tower_sessions_redis_store::{RedisStore, fred::prelude::*};

type Outcome<T> = Result<T, Failed>;

/// An error of the session, with status 500.
struct Failed(tower_sessions::session::Error);

impl From<tower_sessions::session::Error> for Failed {
    fn from(error: tower_sessions::session::Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.0.to_string()).into_response()
    }
}

async fn read(session: Session) -> Outcome<String> {
    Ok(format!("{}\n", session.get::<i64>("n").await?.unwrap_or(0)))
}

async fn add(session: Session) -> Outcome<String> {
    let n = session.get::<i64>("n").await?.unwrap_or(0) + 1;
    session.insert("n", n).await?;
    Ok(format!("{n}\n"))
}

async fn login(session: Session) -> Outcome<&'static str> {
    session.cycle_id().await?;
    session.insert("user", "bob").await?;
    Ok("signed in\n")
}

async fn logout(session: Session) -> Outcome<&'static str> {
    session.flush().await?;
    Ok("signed out\n")
}

async fn user(session: Session) -> Outcome<String> {
    Ok(session.get::<String>("user").await?.unwrap_or_else(|| "none".to_owned()))
}

async fn note(session: Session) -> Outcome<String> {
    Ok(session.get::<String>("note").await?.unwrap_or_else(|| "none".to_owned()))
}

/// Checks the user, works for 300 ms, then writes a value.
async fn slow(session: Session, Path(note): Path<String>) -> Outcome<Response> {
    if session.get::<String>("user").await?.is_none() {
        return Ok(StatusCode::UNAUTHORIZED.into_response());
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    session.insert("note", note).await?;
    Ok("saved\n".into_response())
}

fn main() -> Result<(), Box<dyn Error>> {
    let (url, workers) = peers::arguments()?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(workers).enable_all().build()?.block_on(serve(&url))
}

async fn serve(url: &str) -> Result<(), Box<dyn Error>> {
    let pool = Pool::new(Config::from_url(url)?, None, None, Some(ReconnectPolicy::default()), 6)?;
    let connection = pool.connect();
    pool.wait_for_connect().await?;
    let sessions = SessionManagerLayer::new(RedisStore::new(pool))
        .with_secure(false)
        .with_expiry(Expiry::OnInactivity(time::Duration::hours(1)));
    let app = Router::new()
        .route("/read", get(read))
        .route("/add", get(add))
        .route("/login", post(login))
        .route("/logout", post(logout))
        .route("/user", get(user))
        .route("/note", get(note))
        .route("/slow/{note}", post(slow))
        .layer(sessions);
    let listener = tokio::net::TcpListener::bind(peers::ANY_PORT).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service()).await?;
    connection.await??;
    Ok(())
}
