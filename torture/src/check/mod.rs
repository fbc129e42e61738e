//! Whether a history keeps the laws: a pure function of it.
//!
//! A call took effect at some moment between its beginning and its answer; one without an answer at
//! any moment after its beginning, or never. What is told here is broken whatever those moments
//! were.

mod checker;
mod counters;
mod crash;
mod failover;
mod index;
mod laws;
mod lifetime;
mod minimal;
mod principals;
mod register;
mod report;
mod secrets;
mod session;
mod spans;
#[cfg(test)]
mod tests;
mod times;
mod values;
mod versions;
mod violation;

pub use self::{
    checker::check,
    lifetime::open_and_ended_keys,
    minimal::minimal,
    report::{describe, describe_undone},
    violation::{Law, Verdict, Violation},
};
