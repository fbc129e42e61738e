//! Routes about the process: liveness, readiness and a deliberate crash.

use actix_web::{HttpResponse, web};

use super::{AppState, error::RouteError};

/// `GET /healthz`: succeeds while the process serves.
pub(super) async fn healthz() -> &'static str {
    "up\n"
}

/// `GET /readyz`: succeeds if the store answers and the site does not stop.
pub(super) async fn readyz(state: web::Data<AppState>) -> Result<&'static str, RouteError> {
    if state.drain_state.site_stops() {
        return Err(RouteError::Stopping);
    }
    state.store.ping().await.map_err(session_actix::Error::from)?;
    Ok("ready\n")
}

/// `POST /crash`: aborts the worker if the server was started with `--allow-crash`.
pub(super) async fn crash(state: web::Data<AppState>) -> HttpResponse {
    if state.allow_crash {
        std::process::abort();
    }
    HttpResponse::NotFound().body("start the server with --allow-crash to enable this route\n")
}
