//! Black-box tests of the demo server: real processes, real sockets, real signals.
//!
//! This library is the harness. [`Demo`] starts the server as a child process, [`Browser`] visits it, [`client`] sends whatever bytes an
//! attack needs, [`App`] is an application in the test's own process over a [`Watched`] store, and [`Setup`] names the ways to run the
//! demo that every HTTP check goes through.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a harness that cannot do its part fails the test, and says what it could not do")]

mod app;
mod binary;
mod browser;
pub mod client;
mod demo;
pub mod jar;
pub mod process;
mod setup;
pub mod wait;
mod watched;

pub use app::{App, Reach};
pub use browser::{Browser, Page};
pub use demo::{Demo, Ended, KEY, OTHER_KEY, Owner, PATIENCE};
pub use setup::{Service, Setup};
pub use watched::{Calls, Outage, Watched, WatchedOwner};
