//! The connections to the database: the pools, the execution of statements, and the client that
//! every call uses.

mod client;
mod engine;
mod fixed_statements;
mod pool;
#[cfg(feature = "sqlite")]
mod writer_lock;

pub use engine::ApplicationPool;
pub(crate) use {
    client::{Client, MAX_ROWS},
    engine::Engine,
};
