//! Opens a session store by URL: the scheme picks the backend.
//!
//! | scheme | store | feature |
//! |---|---|---|
//! | `memory:` | [`MemoryStore`](session_core::MemoryStore): this process only | always |
//! | `ipc:/path.sock` | [`IpcStore`](https://docs.rs/store-ipc): a process on this machine that owns the sessions | `ipc` |
//!
//! ```
//! # async fn example() -> Result<(), store_any::ConnectError> {
//! let store = store_any::connect("memory:").await?;
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]

mod connect;
mod error;

pub use connect::{connect, schemes};
pub use error::ConnectError;
