#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod address;
mod answer;
mod clock;
mod command;
mod commit;
mod config;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod index;
mod keys;
mod link;
mod opener;
mod scan;
mod script;
mod sentinels;
mod slot;
mod store;
mod thread;
mod together;
mod url;

pub use config::{Config, Wait};
pub use error::{ConfigError, ConnectError};
pub use store::RedisStore;

/// Its name in errors.
const STORE: &str = "redis";
