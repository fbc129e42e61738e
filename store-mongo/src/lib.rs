#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod clients;
mod clock;
mod commit;
mod config;
mod document;
mod elections;
mod error;
mod field;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod index;
mod inner;
mod purge;
mod scan;
mod servers;
mod session;
mod store;
mod url;
mod user;

pub use config::Config;
pub use error::{ConfigError, ConnectError};
/// The driver, for applications that have a client.
pub use mongodb;
pub use store::MongoStore;

/// Its name in errors.
const STORE: &str = "mongo";
