//! What was asked of a store, what it answered, and when.

mod call;
mod clock;
mod file;
mod log;

pub use self::{
    call::{Answer, Call, Fate, Op, Rotate, Seen, Shown, Write},
    clock::now,
    file::{Failover, Fault, History, HistoryError},
    log::Log,
};
