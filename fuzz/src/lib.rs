//! Fuzz targets for all code that parses bytes from other programs. The README of this crate
//! explains how to run them.
//!
//! A target panics if an invariant does not hold, because the engine detects a failure by a panic.
//! A target also panics if its own setup fails, for example if it cannot create a key, the default
//! cookie or the runtime.
#![forbid(unsafe_code)]

mod assertions;
mod cluster;
mod cookie;
mod demo;
mod formats;
mod handover;
mod ipc;
mod mongo;
mod redis;
mod sql;
mod target;
mod url;

pub use target::{TARGETS, Target, target};
