//! What the demo answers.

mod account;
mod error;
mod name;
mod session;
mod site;
mod status;

use actix_web::web::{self, ServiceConfig};

pub(crate) use site::Site;

/// The most bytes of a request body that are read. A session holds less; what is over its own cap
/// gets an error that says so.
const BODY_BYTES: usize = 1024 * 1024;

/// Adds all routes.
pub(crate) fn configure(app: &mut ServiceConfig, site: &Site) {
    app.app_data(web::PayloadConfig::new(BODY_BYTES)).app_data(web::Data::new(site.clone()));
    app.service(web::resource("/healthz").get(status::healthz))
        .service(web::resource("/readyz").get(status::readyz))
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
