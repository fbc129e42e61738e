//! Primary and worker processes that share listening ports, supervised.

#[cfg(not(target_os = "linux"))]
compile_error!("cluster needs Linux: it rests on pidfd, /proc and inherited descriptors");

mod boot;
mod config;
mod drain;
mod error;
mod event;
mod frame;
mod guard;
mod id;
mod image;
mod inheritance;
mod listener;
mod message;
mod outbox;
mod primary;
mod restart;
mod role;
mod status;
mod sys;
mod worker;

pub use boot::WorkerBoot;
pub use config::{ClusterBuilder, Workers};
pub use drain::{DrainOrder, DrainPolicy, DrainReason};
pub use error::{BootError, DecodeError, Gone, RunError, SendError, StartError};
pub use event::{Addresses, Event, Events, ExitCause};
pub use id::{Slot, WorkerId};
pub use listener::ListenSpec;
pub use message::Message;
pub use primary::{ClusterHandle, Shutdown, Target};
pub use restart::{GiveUp, RestartPolicy};
pub use role::{Role, role};
pub use rustix::process::Signal;
pub use status::{Ended, Phase, ShutdownReport, SlotState, SlotStatus, Status, WorkerInfo};
pub use worker::{Lagged, Messages, Worker};
