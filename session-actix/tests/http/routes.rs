//! The routes that every test has.

use actix_web::{
    HttpResponse,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    error::ErrorImATeapot,
    middleware::Next,
    web,
};
use session_actix::{Error, Session};

pub(crate) fn common(routes: &mut web::ServiceConfig) {
    get_routes!(routes;
        "/plain" => plain,
        "/start" => start,
        "/read" => read,
        "/add" => add,
        "/logout" => logout,
    );
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

/// A middleware that fails after the route has served.
pub(crate) async fn tea_after(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse, actix_web::Error> {
    next.call(request).await?;
    Err(ErrorImATeapot("tea"))
}
