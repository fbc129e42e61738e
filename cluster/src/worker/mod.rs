//! The worker's side: its boot, its connection to the primary, its heartbeat.

mod boot;
mod handle;
mod heartbeat;

pub use boot::WorkerBoot;
pub use handle::{Lagged, Messages, Worker};
pub use heartbeat::Heartbeat;
