//! Sessions in the process that `ipc_owner` is; the argument is its socket.
use std::{env, sync::Arc};

use actix_web::{App, HttpServer, error::ErrorBadRequest, get, post};
use session_actix::{Error, Session, SessionMiddleware};
use session_core::Principal;
use session_core::cookie::{CookieCodec, CookieConfig, Key};
use store_ipc::IpcStore;

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
    let store = IpcStore::connect(env::args().nth(1).unwrap_or("sessions.sock".into()));
    let key = Key::parse(
        &env::var("COOKIE_KEY")
            .map_err(|_| "set COOKIE_KEY to the output of: openssl rand -base64 48")?,
    )?;
    let sessions = SessionMiddleware::new(
        Arc::new(store),
        CookieCodec::signed(CookieConfig::development(), &key.into())?,
    );
    let app = move || App::new().wrap(sessions.clone()).service((sign_in, count, sign_out));
    let server =
        HttpServer::new(app).bind(env::var("LISTEN").as_deref().unwrap_or("127.0.0.1:3000"))?;
    println!("listening on http://{}", server.addrs()[0]);
    Ok(server.run().await?)
}
