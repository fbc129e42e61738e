//! What a browser sees of sessions: an actix-web application on a free port of the loopback, over a
//! store that counts its calls and fails when told to.
#![expect(clippy::unwrap_used, reason = "a helper of a test that cannot go on fails the test")]

/// Registers handlers of GET requests by their paths.
macro_rules! get_routes {
    ($routes:expr; $($path:literal => $handler:expr),+ $(,)?) => {
        $routes$(.route($path, actix_web::web::get().to($handler)))+
    };
}

mod cookies;
mod delivery;
mod error_body;
mod failures;
mod gone;
mod headers;
mod log_capture;
mod logs;
mod origin;
mod outage;
mod routes;
mod sharing;
mod site;
mod store;
mod streaming;
mod superseded;
mod touch;
