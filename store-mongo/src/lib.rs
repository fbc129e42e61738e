#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod certificate;
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
mod record;
mod scan;
mod store;
mod tls;
mod url;

pub use check::check;
pub use config::Config;
pub use error::{ConfigError, ConnectError};
/// The MongoDB driver, whose types [`MongoStore::with_client`] and [`Config::write_concern`] take.
pub use mongodb;
pub use store::MongoStore;
