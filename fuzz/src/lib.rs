//! Fuzz targets for all code that reads bytes from outside. The README of this crate explains how
//! to run them.
//!
//! A target reports a failure by a panic, because the engine looks for panics. So the targets panic
//! when an invariant does not hold. They also panic when their own setup fails, such as a key, the
//! default cookie or the runtime.
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
