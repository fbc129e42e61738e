//! The checker: a pure function from a history to a verdict.
//!
//! A call took effect at some moment between its beginning and its answer. A call without an answer
//! took effect at any moment after its beginning, or never. The checker reports what is broken for
//! every choice of these moments.

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
