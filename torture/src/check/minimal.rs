//! Reduces the proof of a violation to the calls that it needs.

use super::{
    checker::check,
    violation::{Law, Violation},
};
use crate::history::{Call, History};

/// Proofs with more calls than this are not reduced.
const TRIED: usize = 200;

/// Returns a history with the calls of a proof, without those that the proof does not need. The
/// remaining calls still break the same law at the same call.
#[must_use]
pub fn minimal(history: &History, violation: &Violation) -> History {
    let mut calls: Vec<_> =
        history.calls.iter().filter(|call| violation.calls.contains(&call.id)).cloned().collect();
    let with = |calls: Vec<Call>| History { calls, ..history.clone_head() };
    // Without the additions every sum would be a surplus.
    if violation.law == Law::SurplusAdd
        || calls.len() > TRIED
        || !breaks(&with(calls.clone()), violation)
    {
        return with(calls);
    }
    let mut at = 0;
    while at < calls.len() {
        let mut fewer = calls.clone();
        fewer.remove(at);
        if breaks(&with(fewer.clone()), violation) {
            calls = fewer;
        } else {
            at += 1;
        }
    }
    with(calls)
}

fn breaks(history: &History, violation: &Violation) -> bool {
    let same = |found: &Violation| {
        found.law == violation.law && found.calls.last() == violation.calls.last()
    };
    check(history).violations.iter().any(same)
}
