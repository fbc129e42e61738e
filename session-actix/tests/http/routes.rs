//! The routes that every test has.

use actix_web::{HttpResponse, web};
use session_actix::{Error, Session};

pub(crate) fn common(routes: &mut web::ServiceConfig) {
    routes
        .route("/plain", web::get().to(plain))
        .route("/start", web::get().to(start))
        .route("/read", web::get().to(read))
        .route("/add", web::get().to(add))
        .route("/logout", web::get().to(logout));
}

async fn plain() -> &'static str {
    "plain"
}

/// Starts a session with `n` = 1.
async fn start(session: Session) -> Result<HttpResponse, Error> {
    session.insert("n", &1)?;
    Ok(HttpResponse::Ok().body("started"))
}

/// What `n` is.
pub(crate) async fn read(session: Session) -> Result<String, Error> {
    Ok(match session.get::<i64>("n").await? {
        Some(n) => format!("n={n}"),
        None => "no n".to_owned(),
    })
}

async fn add(session: Session) -> Result<String, Error> {
    Ok(format!("n={}", session.add("n", 1).await?))
}

async fn logout(session: Session) -> Result<&'static str, Error> {
    session.destroy().await?;
    Ok("goodbye")
}
