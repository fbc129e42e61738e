//! A store that keeps sessions in the memory of one process.

mod builder;
mod clock;
mod entry;
mod export;
mod import;
mod merge;
mod quota;
mod shard;
mod store;

pub use builder::MemoryStoreBuilder;
pub use clock::ManualClock;
pub use export::{Export, Exported};
pub use import::{Import, ImportError};
pub use store::MemoryStore;
