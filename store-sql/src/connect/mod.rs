//! The connections to the database: the pools, the execution of statements, and the client that
//! every call uses.

mod client;
mod connector;
mod database;
#[cfg(feature = "sqlite")]
mod database_file;
mod fixed_statements;
mod pool;
#[cfg(feature = "sqlite")]
mod writer_lock;

pub use database::ApplicationPool;
pub(crate) use {
    client::{Client, MAX_ROWS},
    database::Database,
};
