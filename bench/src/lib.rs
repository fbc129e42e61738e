//! Shared code of the benchmarks, of the budget test and of the servers under load.
//!
//! The README of this crate explains what each program measures and how to run it.

mod allocations;
mod baseline;
mod mongo_server;
mod outcome;
mod postgres_server;
mod ready;
mod redis_server;
mod request_bench;
mod server_start;
mod side_by_side;
mod uncounted_store;

pub use allocations::{CountingAllocator, count_allocations};
pub use baseline::{baseline_arguments, print_addresses, session_id, session_page, unavailable};
pub use mongo_server::MongoServer;
pub use outcome::expect_done;
pub use postgres_server::PostgresServer;
pub use ready::expect_ready;
pub use redis_server::RedisServer;
pub use request_bench::RequestBench;
pub use side_by_side::{SideBySide, micros_per_call};
pub use uncounted_store::UncountedMemoryStore;
