//! Sessions for actix-web.
//!
//! [`SessionMiddleware`] wraps the application, and a handler takes a [`Session`] as a parameter.
//! If a handler does not take the session, the middleware makes no store call and two small
//! allocations. If a handler takes the session, the middleware commits its changes before it sends
//! the response head.
//!
//! ```no_run
//! use actix_web::{App, HttpServer, get};
//! use session_actix::{MemoryStore, Session, SessionMiddleware, cookie::KeyRing};
//!
//! #[get("/")]
//! async fn count(session: Session) -> actix_web::Result<String> {
//!     Ok(format!("visit {}\n", session.add("visits", 1).await?))
//! }
//!
//! #[actix_web::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let keys = KeyRing::from_env("COOKIE_KEY")?;
//!     // `development` is for plain http on your own machine. Leave it out behind TLS.
//!     let sessions = SessionMiddleware::builder(MemoryStore::new(), keys).development().build()?;
//!     let app = move || App::new().wrap(sessions.clone()).service(count);
//!     Ok(HttpServer::new(app).bind("127.0.0.1:3000")?.run().await?)
//! }
//! ```
//!
//! # What a response does to the session
//! | response | recorded changes |
//! |---|---|
//! | 1xx, 2xx, 3xx, 4xx, also for `HEAD`, redirects, streams and upgrades | committed before the head is sent |
//! | 5xx, an error that becomes a 5xx, a panic | dropped ([`OnServerError`] can keep them) |
//!
//! If the commit fails, the middleware replaces the response. The new response is 409 if the
//! session ended meanwhile ([`OnSessionEnded`] can change that), and 503 if the store does not
//! answer. A failed commit does not change the cookie.
//! [`SessionMiddlewareBuilder::error_response`] makes the body of these responses.
//!
//! The [`guide`] describes sign-in, "remember me", device lists, timeouts, several servers,
//! upgrades, requests of other sites, proxies, errors and tests.
//!
//! This crate re-exports the parts of [`session_core`] that applications use, so that one
//! dependency and one `use` line are enough.
#![forbid(unsafe_code)]

mod builder;
mod error;
#[doc = include_str!("../GUIDE.md")]
pub mod guide {}
mod middleware;
mod origin;
mod request;
mod response;
mod scheme;
mod session;

pub use builder::{BuildError, CookieSigning, SessionMiddleware, SessionMiddlewareBuilder};
pub use error::Error;
pub use middleware::{SessionFuture, SessionService};
pub use origin::{CrossOriginGuard, CrossOriginGuardBuilder, CrossOriginService};
pub use session::{Session, SessionExt};

pub use ipnet::IpNet;
pub use session_core::{
    self, Device, EndCause, EntropyError, EventOutcome, Handle, InvalidName, InvalidPrincipal,
    InvalidShortText, Json, JsonError, Limits, Liveness, ManualClock, MemoryStore,
    MemoryStoreBuilder, Name, OnServerError, OnSessionEnded, OnSupersededId, Persistence, Policy,
    Principal, Rejection, SessionError, SessionEvent, SessionEvents, SessionStore, ShortText,
    SignIn, StoreError, StreamEnd, SweeperHandle, cookie, observe,
    origin::{CrossOriginRejection, InvalidOrigin},
    spawn_sweeper,
};

/// The examples of the two README files, so that the tests compile them.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[doc = include_str!("../README.md")]
struct Readme;
