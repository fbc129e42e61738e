//! The fewest calls that still prove a violation.

use super::{
    checker::check,
    violation::{Law, Violation},
};
use crate::history::{Call, History};

/// Beyond this many, calls are not tried one by one.
const TRIED: usize = 200;

/// The history of the calls that prove a violation, without those that it does not take: what is
/// left still breaks the same law at the same call.
#[must_use]
pub fn minimal(history: &History, violation: &Violation) -> History {
    let mut calls: Vec<_> =
        history.calls.iter().filter(|call| violation.calls.contains(&call.id)).cloned().collect();
    let with = |calls: Vec<Call>| History { calls, ..history.clone_head() };
    // Without what was added it would always be too much.
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
