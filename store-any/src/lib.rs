//! Opens a session store by URL: the scheme picks the backend.
//!
//! | scheme | store | feature |
//! |---|---|---|
//! | `memory:`, `memory:?max_sessions=100000&max_bytes=268435456` | [`MemoryStore`](session_core::MemoryStore): this process only | always |
//! | `ipc:/path.sock` | `IpcStore` of `store-ipc`: a process on this machine that owns the sessions | `ipc` |
//! | `mongodb://`, `mongodb+srv://` | `MongoStore` of `store-mongo` | `mongo` |
//! | `redis://`, `rediss://`, `unix:`, `redis-cluster://`, `redis-sentinel://` | `RedisStore` of `store-redis` | `redis` |
//! | `postgres://`, `mysql://`, `mariadb://`, `sqlite:` | `SqlStore` of `store-sql` | `sql` |
//!
//! ```
//! # async fn example() -> Result<(), store_any::ConnectError> {
//! let store = store_any::connect("memory:").await?;
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]

mod backend;
mod connect;
mod error;

pub use backend::{Backend, backend, backends};
pub use connect::{check, connect};
pub use error::ConnectError;
