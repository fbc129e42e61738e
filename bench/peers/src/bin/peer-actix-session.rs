//! The routes of `bench/peers/run` with actix-session on actix-web. The arguments are the URL of
//! Redis and the number of workers. The only line of output is the address.
//!
//! The settings are the defaults of the documentation, except that the cookie is not `Secure`.

use std::{error::Error, time::Duration};

use actix_session::{Session, SessionMiddleware, storage::RedisSessionStore};
use actix_web::{App, HttpResponse, HttpServer, cookie::Key, get, post, rt::time::sleep, web};

#[get("/read")]
async fn read(session: Session) -> actix_web::Result<String> {
    Ok(format!("{}\n", session.get::<i64>("n")?.unwrap_or(0)))
}

#[get("/add")]
async fn add(session: Session) -> actix_web::Result<String> {
    let n = session.get::<i64>("n")?.unwrap_or(0) + 1;
    session.insert("n", n)?;
    Ok(format!("{n}\n"))
}

#[post("/login")]
async fn login(session: Session) -> actix_web::Result<&'static str> {
    session.renew();
    session.insert("user", "bob")?;
    Ok("signed in\n")
}

#[post("/logout")]
async fn logout(session: Session) -> &'static str {
    session.purge();
    "signed out\n"
}

#[get("/user")]
async fn user(session: Session) -> actix_web::Result<String> {
    Ok(session.get::<String>("user")?.unwrap_or_else(|| "none".to_owned()))
}

#[get("/note")]
async fn note(session: Session) -> actix_web::Result<String> {
    Ok(session.get::<String>("note")?.unwrap_or_else(|| "none".to_owned()))
}

/// Checks the user, works for 300 ms, then writes a value.
#[post("/slow/{note}")]
async fn slow(session: Session, path: web::Path<String>) -> actix_web::Result<HttpResponse> {
    if session.get::<String>("user")?.is_none() {
        return Ok(HttpResponse::Unauthorized().finish());
    }
    sleep(Duration::from_millis(300)).await;
    session.insert("note", path.into_inner())?;
    Ok(HttpResponse::Ok().body("saved\n"))
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (url, workers) = peers::arguments()?;
    let store = RedisSessionStore::new(url).await?;
    let key = Key::generate();
    let server = HttpServer::new(move || {
        let sessions = SessionMiddleware::builder(store.clone(), key.clone());
        App::new()
            .wrap(sessions.cookie_secure(false).build())
            .service((read, add, login, logout, user, note, slow))
    });
    let server = server.workers(workers).bind(peers::ANY_PORT)?;
    println!("http://{}", server.addrs()[0]);
    Ok(server.run().await?)
}
