#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
// The crate is empty without a database feature.
#![cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]

mod check;
mod codec;
mod codes;
mod commit;
mod config;
mod connect;
mod dialect;
mod error;
mod foreign;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod index;
mod scan;
mod schema;
mod store;
mod tls;
mod url;

pub use check::check;
pub use config::Config;
pub use connect::ApplicationPool;
pub use dialect::Dialect;
pub use error::{ConfigError, ConnectError};
/// The database driver, for applications that pass their own pool to [`SqlStore::with_pool`].
pub use sqlx;
pub use store::SqlStore;
