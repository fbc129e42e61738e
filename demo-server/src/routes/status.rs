//! Whether the process is up, whether its store answers, and how to end it.

use actix_web::{HttpResponse, web};

use super::{Site, error::Failure};

/// `GET /healthz`: the process is up.
pub(super) async fn healthz() -> &'static str {
    "up\n"
}

/// `GET /readyz`: the store answers.
pub(super) async fn readyz(site: web::Data<Site>) -> Result<&'static str, Failure> {
    site.store.ping().await.map_err(session_actix::Error::from)?;
    Ok("ready\n")
}

/// `POST /crash`: the worker dies on the spot, if that was allowed when the server was started.
pub(super) async fn crash(site: web::Data<Site>) -> HttpResponse {
    if site.allow_crash {
        std::process::abort();
    }
    HttpResponse::NotFound().body("start the server with --allow-crash to have this route\n")
}
