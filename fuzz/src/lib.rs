//! Fuzz targets: whatever reads bytes from outside, with what must hold of it whatever comes. The
//! README beside says how they are run.
//!
//! A target fails by a panic, which is what the engine looks for; so whatever does not hold here
//! panics, and so does what these targets themselves made and know to be right: keys of the length
//! that a key has, the default cookie, a runtime without I/O.
#![forbid(unsafe_code)]

mod cluster;
mod cookie;
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
