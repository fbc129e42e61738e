//! The routes of the demo.

mod account;
mod app_state;
mod error;
mod name;
mod session;
mod status;

use actix_web::web::{self, ServiceConfig};

pub(crate) use app_state::AppState;

/// The longest request body that a route reads, in bytes. The limit of a session's data is lower,
/// and its error is more specific.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Adds all routes.
pub(crate) fn configure(app: &mut ServiceConfig, state: &AppState) {
    app.app_data(web::PayloadConfig::new(MAX_BODY_BYTES)).app_data(web::Data::new(state.clone()));
    app.service(
        web::resource("/healthz").get(status::healthz).route(web::head().to(status::healthz)),
    )
    .service(web::resource("/readyz").get(status::readyz).route(web::head().to(status::readyz)))
    .service(web::resource("/crash").post(status::crash))
    .service(web::resource("/").get(session::count))
    .service(web::resource("/slow").get(session::slow))
    .service(web::resource("/session").get(session::show))
    .service(web::resource("/session/{name}").put(session::insert).delete(session::remove))
    .service(web::resource("/session/{name}/add").post(session::add))
    .service(web::resource("/session/{name}/update").post(session::update))
    .service(web::resource("/login").post(account::login))
    .service(web::resource("/logout").post(account::logout))
    .service(web::resource("/renew").post(account::renew))
    .service(web::resource("/reauthenticate").post(account::reauthenticate))
    .service(web::resource("/authenticated").get(account::authenticated))
    .service(web::resource("/credentials-changed").post(account::credentials_changed))
    .service(web::resource("/watch").get(account::watch))
    .service(web::resource("/devices").get(account::devices))
    .service(web::resource("/devices/{handle}").delete(account::end_device))
    .service(web::resource("/logout-others").post(account::logout_others))
    .service(web::resource("/logout-everywhere").post(account::logout_everywhere));
}
