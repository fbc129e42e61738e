//! The routes of `bench/peers/run` with this library. The arguments are the URL of Redis and the
//! number of workers. The only line of output is the address.

use std::{error::Error, time::Duration};

use actix_web::{App, HttpResponse, HttpServer, get, post, rt::time::sleep, web};
use session_actix::{Principal, Session, SessionMiddleware, cookie::Key};
use store_redis::{Config, RedisStore};

#[get("/read")]
async fn read(session: Session) -> actix_web::Result<String> {
    Ok(format!("{}\n", session.get::<i64>("n").await?.unwrap_or(0)))
}

#[get("/add")]
async fn add(session: Session) -> actix_web::Result<String> {
    Ok(format!("{}\n", session.add("n", 1).await?))
}

#[post("/login")]
async fn login(session: Session) -> actix_web::Result<&'static str> {
    session.sign_in(Principal::new("bob").map_err(session_actix::Error::from)?);
    Ok("signed in\n")
}

#[post("/logout")]
async fn logout(session: Session) -> actix_web::Result<&'static str> {
    session.destroy().await?;
    Ok("signed out\n")
}

#[get("/user")]
async fn user(session: Session) -> actix_web::Result<String> {
    Ok(session.principal().await?.map_or("none".to_owned(), |user| user.to_string()))
}

#[get("/note")]
async fn note(session: Session) -> actix_web::Result<String> {
    Ok(session.get::<String>("note").await?.unwrap_or_else(|| "none".to_owned()))
}

/// Checks the user, works for 300 ms, then writes a value.
#[post("/slow/{note}")]
async fn slow(session: Session, path: web::Path<String>) -> actix_web::Result<HttpResponse> {
    if session.principal().await?.is_none() {
        return Ok(HttpResponse::Unauthorized().finish());
    }
    sleep(Duration::from_millis(300)).await;
    session.insert("note", &path.into_inner())?;
    Ok(HttpResponse::Ok().body("saved\n"))
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (url, workers) = peers::arguments()?;
    let store = RedisStore::connect(&Config::new(&url)?).await?;
    let sessions = SessionMiddleware::builder(store, Key::random()?).development().build()?;
    let server = HttpServer::new(move || {
        App::new().wrap(sessions.clone()).service((read, add, login, logout, user, note, slow))
    });
    let server = server.workers(workers).bind(peers::ANY_PORT)?;
    println!("http://{}", server.addrs()[0]);
    Ok(server.run().await?)
}
