#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod check;
mod codec;
mod codes;
mod commit;
mod config;
mod connect;
mod error;
mod foreign;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod index;
mod keys;
mod scan;
mod store;
mod url;

pub use check::check;
pub use config::{Config, Wait};
pub use error::{ConfigError, ConnectError};
pub use store::RedisStore;
