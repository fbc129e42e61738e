//! The connections to the database: the pool, the statements, and the calls over both.

mod client;
mod engine;
mod fixed_statements;
mod pool;
mod statement;
#[cfg(feature = "sqlite")]
mod writer_lock;

pub use engine::ApplicationPool;
pub(crate) use {
    client::{Client, MAX_ROWS},
    engine::Engine,
    statement::{Arg, Statement},
};
