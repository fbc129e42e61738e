//! Policies: when workers are restarted, drained, considered hung, and recycled.

mod drain;
mod heartbeat;
mod recycle;
mod restart;

pub use drain::{DrainOrder, DrainPolicy, DrainReason};
pub use heartbeat::HeartbeatPolicy;
pub use recycle::{RecyclePolicy, RecycleReason};
pub use restart::{GiveUp, RestartPolicy};
pub(crate) use restart::{RecentDeaths, RestartDecision};
