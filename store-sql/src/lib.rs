#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
// Without a database there is no store.
#![cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]

mod commit;
mod config;
mod data;
mod dialect;
mod engine;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod inner;
mod pages;
mod pool;
#[cfg(feature = "sqlite")]
mod queue;
mod record;
mod row;
mod schema;
mod session;
mod statement;
mod store;
mod url;

pub use config::Config;
pub use dialect::Dialect;
pub use engine::ApplicationPool;
pub use error::{ConfigError, ConnectError};
/// The driver, for those who bring a pool of their own.
pub use sqlx;
pub use store::SqlStore;

/// Its name in errors.
const STORE: &str = "sql";
