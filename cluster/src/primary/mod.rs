//! The primary's side. One task per slot keeps the slot filled (`slot`). The task runs a supervisor
//! for its worker (`supervisor`), and two supervisors during a replacement. `ops` replaces the
//! workers of the slots and changes the number of slots. `admin` serves operators. `handle` is the
//! public API.

mod admin;
mod cluster;
mod commands;
mod endpoints;
mod events;
mod handle;
mod heartbeat_monitor;
mod lifecycle;
mod ops;
mod shared;
mod signals;
mod slot;
mod spawn;
mod start;
mod supervisor;
mod table;

pub use handle::{ClusterHandle, Shutdown, Target};
