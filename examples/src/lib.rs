//! The application that all examples run: a sign-in, a counter and a sign-out. Each binary passes
//! its own store to [`serve`].

use std::{env, error::Error};

use actix_web::{App, HttpServer, get, post};
use session_actix::{Principal, Session, SessionMiddleware, SessionStore, cookie::KeyRing};

#[post("/login")]
async fn sign_in(session: Session, user: String) -> actix_web::Result<&'static str> {
    // A real application checks a password first.
    session.sign_in(Principal::new(user).map_err(session_actix::Error::from)?);
    Ok("signed in\n")
}

#[get("/")]
async fn count(session: Session) -> actix_web::Result<String> {
    let visits = session.add("visits", 1).await?;
    let user = session.principal().await?;
    let user = user.as_ref().map_or("anonymous", Principal::as_str);
    Ok(format!("{user}, visit {visits}\n"))
}

#[post("/logout")]
async fn sign_out(session: Session) -> actix_web::Result<&'static str> {
    session.destroy().await?;
    Ok("signed out\n")
}

/// Serves the application with sessions in `store`, on the address in `LISTEN` or on
/// 127.0.0.1:3000. The key of the cookies is in `COOKIE_KEY`.
///
/// # Errors
/// `COOKIE_KEY` is not a key, or the address is not free.
pub async fn serve(store: impl SessionStore + 'static) -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().init();
    let keys = KeyRing::from_env("COOKIE_KEY")?;
    // `development` is for plain http on your own machine. Leave it out behind TLS.
    let sessions = SessionMiddleware::builder(store, keys).development().build()?;
    let app = move || App::new().wrap(sessions.clone()).service((sign_in, count, sign_out));
    let address = env::var("LISTEN").unwrap_or("127.0.0.1:3000".to_owned());
    let server = HttpServer::new(app).bind(address)?;
    println!("listening on http://{}", server.addrs()[0]);
    Ok(server.run().await?)
}

/// The first argument of the command, or `default`.
#[must_use]
pub fn argument(default: &str) -> String {
    env::args().nth(1).unwrap_or(default.to_owned())
}
