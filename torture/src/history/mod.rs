//! The calls of a run: request, answer and times.

mod call;
mod clock;
mod file;
mod log;

pub use self::{
    call::{Answer, Call, CallOutcome, ListedSession, LoadedSession, Op, Rotate, Write},
    clock::now,
    file::{Failover, Fault, History, HistoryError},
    log::CallLog,
};
