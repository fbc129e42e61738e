//! The primary's side. One task per slot keeps the slot filled (`slot`). It runs one worker
//! supervisor at a time (`supervisor`), or two during a replacement. `ops` changes what the slots
//! run and how many there are. `admin` serves operators. `handle` is the public API.

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
