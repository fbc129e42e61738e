//! Sessions for actix-web.
//!
//! Wrap the application with [`SessionMiddleware`], ask for a [`Session`] in a handler, return
//! [`Error`] from it. A route that does not ask for the session costs no store call and two small
//! allocations; one that does is committed before its response head leaves.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use actix_web::{App, HttpServer, get};
//! use session_actix::{Error, Session, SessionMiddleware};
//! use session_core::{MemoryStore, cookie::{CookieCodec, CookieConfig, Key}};
//!
//! #[get("/")]
//! async fn count(session: Session) -> Result<String, Error> {
//!     let visits = session.add("visits", 1).await?;
//!     Ok(format!("visit {visits}"))
//! }
//!
//! #[actix_web::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // For plain http on this machine. Behind TLS it is CookieConfig::default(), which browsers get over https only.
//!     let cookie = CookieConfig::development();
//!     // From `openssl rand -base64 48`; every server that shares the sessions has the same one.
//!     let key = Key::parse(&std::env::var("COOKIE_KEY").map_err(|_| "set COOKIE_KEY to the output of: openssl rand -base64 48")?)?;
//!     let codec = CookieCodec::signed(cookie, &key.into())?;
//!     let sessions = SessionMiddleware::new(Arc::new(MemoryStore::new()), codec);
//!     HttpServer::new(move || App::new().wrap(sessions.clone()).service(count)).bind("127.0.0.1:3000")?.run().await?;
//!     Ok(())
//! }
//! ```
//!
//! # What a response does to the session
//! | response | recorded changes |
//! |---|---|
//! | 1xx, 2xx, 3xx, 4xx, also for `HEAD`, redirects, streams and upgrades | committed before the head leaves |
//! | 5xx, an error that becomes one, a panic | dropped ([`OnServerError`](session_core::OnServerError) switches that) |
//!
//! If the commit fails, the response is replaced: by 409 if the session ended meanwhile
//! ([`OnSessionEnded`](session_core::OnSessionEnded) switches that), by 503 if the store cannot answer. The cookie
//! then stays as it is. A panic becomes a 500.
//!
//! The [`guide`] goes on from here: sign-in, "remember me", device lists, timeouts, several
//! servers, upgrades, requests from other sites, proxies, errors, tests.
#![forbid(unsafe_code)]

mod config;
mod error;
mod extract;
#[doc = include_str!("../GUIDE.md")]
pub mod guide {}
mod middleware;
mod origin;
mod request;
mod response;
mod scheme;

pub use config::SessionMiddleware;
pub use error::Error;
pub use extract::{Session, SessionExt};
pub use middleware::{SessionFuture, SessionService};
pub use origin::{CrossOriginGuard, CrossOriginGuardBuilder, CrossOriginService};

/// The example of the project's front page, so that it cannot stop compiling unseen.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct FrontPage;
