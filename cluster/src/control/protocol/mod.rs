//! The protocol of the control socket: commands, replies, and their encoding as lines of JSON.

mod codec;
mod command;
mod reply;

pub use codec::{ErrorCode, Refusal};
pub(crate) use codec::{MAX_REQUEST, ReadLineError, ResponseLine, parse_request, read_line};
pub use command::{Command, StopMode};
pub use reply::{
    EndReply, ReloadReply, Reply, SlotReply, SlotStateKind, StatusReply, StopReply, WorkerReply,
    WorkerState,
};
