//! What the demo answers.

mod account;
mod error;
mod name;
mod origin;
mod session;
mod site;
mod status;

use actix_web::{
    middleware::from_fn,
    web::{self, ServiceConfig},
};

pub(crate) use site::Site;

/// The most bytes of a request body that are read. A session holds less; what is over its own cap gets an error that says so.
const BODY_BYTES: usize = 1024 * 1024;

/// Adds all routes.
pub(crate) fn configure(app: &mut ServiceConfig, site: &Site) {
    app.app_data(web::PayloadConfig::new(BODY_BYTES)).app_data(web::Data::new(site.clone()));
    app.service(web::resource("/healthz").get(status::healthz))
        .service(web::resource("/readyz").get(status::readyz))
        .service(web::resource("/crash").wrap(from_fn(origin::same_origin_only)).post(status::crash))
        .service(web::resource("/").get(session::count))
        .service(web::resource("/slow").get(session::slow))
        .service(web::resource("/session").get(session::show))
        .service(web::resource("/session/{name}").wrap(from_fn(origin::same_origin_only)).put(session::insert).delete(session::remove))
        .service(web::resource("/session/{name}/add").wrap(from_fn(origin::same_origin_only)).post(session::add))
        .service(web::resource("/session/{name}/update").wrap(from_fn(origin::same_origin_only)).post(session::update))
        .service(web::resource("/login").wrap(from_fn(origin::same_origin_only)).post(account::login))
        .service(web::resource("/logout").wrap(from_fn(origin::same_origin_only)).post(account::logout))
        .service(web::resource("/renew").wrap(from_fn(origin::same_origin_only)).post(account::renew))
        .service(web::resource("/devices").get(account::devices))
        .service(web::resource("/devices/{handle}").wrap(from_fn(origin::same_origin_only)).delete(account::end_device))
        .service(web::resource("/logout-others").wrap(from_fn(origin::same_origin_only)).post(account::logout_others))
        .service(web::resource("/logout-everywhere").wrap(from_fn(origin::same_origin_only)).post(account::logout_everywhere));
}
