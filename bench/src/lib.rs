//! What the library costs: the pieces that the benches, the budget test and the server under load
//! have in common.
//!
//! `README.md` beside this crate says what each number means and how to get it.

mod allocations;
mod beside;
mod mongo_server;
mod postgres_server;
mod redis_server;
mod request;
mod store;
mod wait;

pub use allocations::{Counting, counted};
pub use beside::{Beside, time_of_each};
pub use mongo_server::MongoServer;
pub use postgres_server::PostgresServer;
pub use redis_server::RedisServer;
pub use request::Site;
pub use store::Uncounted;
pub use wait::at_once;
