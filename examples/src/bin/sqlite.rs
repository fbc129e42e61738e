//! Sessions in a file of SQLite; the argument is its URL. One process of a site purges what is
//! over, here this one.
use std::{env, sync::Arc, time::Duration};

use actix_web::{App, HttpServer, error::ErrorBadRequest, get, post};
use session_actix::{Error, Session, SessionMiddleware};
use session_core::cookie::{CookieCodec, CookieConfig, Key};
use session_core::{Principal, spawn_sweeper};
use store_sql::{Config, SqlStore};

#[post("/login")]
async fn sign_in(session: Session, user: String) -> actix_web::Result<&'static str> {
    // A real application checks a password first.
    session.sign_in(Principal::new(user).map_err(ErrorBadRequest)?);
    Ok("signed in\n")
}

#[get("/")]
async fn count(session: Session) -> Result<String, Error> {
    let visits = session.add("visits", 1).await?;
    Ok(format!(
        "{}, visit {visits}\n",
        session.principal().await?.as_ref().map_or("nobody", Principal::as_str)
    ))
}

#[post("/logout")]
async fn sign_out(session: Session) -> Result<&'static str, Error> {
    session.destroy().await?;
    Ok("signed out\n")
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = env::args().nth(1).unwrap_or("sqlite:sessions.db".into());
    let store = Arc::new(SqlStore::connect(&Config::new(&url)?).await?);
    let _sweeper = spawn_sweeper(store.clone(), Duration::from_mins(1), 1_000);
    let key = Key::parse(
        &env::var("COOKIE_KEY")
            .map_err(|_| "set COOKIE_KEY to the output of: openssl rand -base64 48")?,
    )?;
    let sessions = SessionMiddleware::new(
        store,
        CookieCodec::signed(CookieConfig::development(), &key.into())?,
    );
    let app = move || App::new().wrap(sessions.clone()).service((sign_in, count, sign_out));
    let server =
        HttpServer::new(app).bind(env::var("LISTEN").as_deref().unwrap_or("127.0.0.1:3000"))?;
    println!("listening on http://{}", server.addrs()[0]);
    Ok(server.run().await?)
}
