//! A table of guarantees and stores, made from the output of a run of tests.
//!
//! The name of a test contains its ids and its store.
//! `hostile_requests::redis::s15_s16_hostile_text_…` proves S15 and S16 over the store `redis`: the
//! function name starts with the ids, and the store is a module of the path. A test without such a
//! module belongs to no cell.

mod lines;
mod run;
mod table;

pub use run::{Ended, Run};
pub use table::Table;
