//! Plain data: ids, states, reports, policies, messages. Nothing here performs I/O.

mod exit;
mod ids;
mod listen;
mod message;
mod policy;
mod status;

pub use exit::{Ended, ExitCause, Replacement};
pub use ids::{Slot, WorkerId};
pub(crate) use listen::ListenTarget;
pub use listen::{ListenAddress, ListenSpec};
pub use message::{DecodeError, Message};
pub use policy::{
    DrainOrder, DrainPolicy, DrainReason, GiveUp, HeartbeatPolicy, RecyclePolicy, RecycleReason,
    RestartPolicy,
};
pub(crate) use policy::{RecentDeaths, RestartDecision};
pub use status::{
    Addresses, Phase, ReloadReport, ShutdownReport, SlotState, SlotStatus, Status, WorkerInfo,
};
