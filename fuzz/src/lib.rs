//! Fuzz targets: whatever reads bytes from outside, with what must hold of it whatever comes. The README beside says how they are run.
#![forbid(unsafe_code)]

mod cluster;
mod cookie;
mod ctl;
mod demo;
mod formats;
mod handover;
mod ipc;
mod mongo;
mod redis;
mod same;
mod sql;
mod target;
mod url;

pub use target::{TARGETS, Target, target};
