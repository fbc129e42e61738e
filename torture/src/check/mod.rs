//! Whether a history keeps the laws: a pure function of it.
//!
//! A call took effect at some moment between its beginning and its answer; one without an answer at
//! any moment after its beginning, or never. What is told here is broken whatever those moments
//! were.

mod counters;
mod crash;
mod failover;
mod index;
mod life;
mod minimal;
mod principals;
mod register;
mod report;
mod secrets;
mod session;
#[cfg(test)]
mod tests;
mod times;
mod values;
mod versions;
mod violation;

use std::collections::HashSet;

use self::{
    failover::Spans,
    principals::Principals,
    session::{Session, sessions},
};
pub use self::{
    minimal::minimal,
    report::{describe, describe_undone},
    violation::{Law, Verdict, Violation},
};
use crate::history::{Answer, Call, Fault, History};

/// How long a call may take, in nanoseconds. A store's own deadline is two seconds; the rest is for
/// a busy machine.
const OVERDUE: u64 = 12_000_000_000;

/// Checks a history.
#[must_use]
pub fn check(history: &History) -> Verdict {
    if !history.failovers.is_empty() {
        return failover::check(history);
    }
    let strict = check_as_told(history, &Scope::default());
    let Some(trusted) = crash::trusted(history) else { return strict };
    let verdict = check_as_told(&trusted, &Scope::default());
    let proved = |found: &&Violation| verdict.violations.contains(found);
    let taken_back = strict.violations.iter().filter(|found| !proved(found)).count();
    Verdict { taken_back, ..verdict }
}

/// What of a history is looked at.
#[derive(Debug, Default)]
struct Scope<'a> {
    /// When lists and sessions on different servers may have come apart. What was written to either
    /// of them then is in no list for certain.
    undone: Spans,
    /// The sessions, if not all, and then nothing else.
    only: Option<HashSet<&'a str>>,
}

impl Scope<'_> {
    fn has(&self, session: &Session<'_>) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(session.key))
    }
}

/// Checks a history of a store that shows and acknowledges nothing which it then loses.
fn check_as_told(history: &History, scope: &Scope<'_>) -> Verdict {
    let tolerance = history.tolerance * 1_000_000;
    let mut verdict = Verdict::default();
    let principals = Principals::of(&history.calls);
    let shown = index::shown(&history.calls);
    for session in sessions(&history.calls).iter().filter(|session| scope.has(session)) {
        let is_listed = !principals.may_be_apart(session, &scope.undone);
        life::check(session, &principals, is_listed, tolerance, &mut verdict);
        secrets::check(session, tolerance, &mut verdict);
        values::check(session, &mut verdict);
        counters::check(session, &mut verdict);
        versions::check(session, &mut verdict);
        times::check(session, tolerance, &mut verdict);
        index::check(session, &principals, &shown, is_listed, tolerance, &mut verdict);
    }
    if scope.only.is_none() {
        index::check_lists(
            &history.calls,
            &history.calls.iter().filter_map(Call::key).collect(),
            &mut verdict,
        );
        for call in &history.calls {
            verdict.ask(refused(call));
            verdict.ask(overdue(call, &history.faults));
        }
    }
    // In the order of the calls where they show. Equal ones keep one order.
    verdict.violations.sort_unstable();
    verdict.violations.sort_by_key(|violation| violation.calls.last().copied());
    verdict
}

/// A store has no reason to refuse a call of this program or to find a record unreadable.
fn refused(call: &Call) -> Option<Violation> {
    let (Answer::Rejected(text) | Answer::Corrupt(text)) = call.answer.as_ref()? else {
        return None;
    };
    let of = call.key().unwrap_or_default().to_owned();
    Some(Violation { law: Law::Refused, of, text: text.clone(), calls: vec![call.id] })
}

/// A process that was stopped for a while sees its answers late.
fn overdue(call: &Call, faults: &[Fault]) -> Option<Violation> {
    let took = call.end?.saturating_sub(call.begin);
    let paused =
        faults.iter().filter(|fault| fault.begin <= call.end_or_never() && call.begin <= fault.end);
    let paused: u64 = paused.map(|fault| fault.end - fault.begin).sum();
    let text = || format!("took {} ms", took / 1_000_000);
    (took > OVERDUE.saturating_add(paused)).then(|| Violation {
        law: Law::Overdue,
        of: call.by.clone(),
        text: text(),
        calls: vec![call.id],
    })
}

/// The keys of the sessions that may live, and of those that certainly ended, the oldest first.
#[must_use]
pub fn unsettled(calls: &[Call]) -> (Vec<&str>, Vec<&str>) {
    let sessions = sessions(calls);
    let over: HashSet<_> = sessions
        .iter()
        .filter(|session| life::death(session).is_some())
        .map(|session| session.key)
        .collect();
    let mut seen = HashSet::new();
    calls
        .iter()
        .filter_map(Call::key)
        .filter(|key| seen.insert(*key))
        .partition(|key| !over.contains(key))
}
