//! Every law, checked on one history.

use std::collections::HashSet;

use super::{
    counters, index, lifetime,
    principals::Principals,
    secrets,
    session::{Session, sessions},
    spans::Spans,
    times, values, versions,
    violation::{Law, Verdict, Violation},
};
use crate::history::{Answer, Call, Fault, History};

/// How long a call may take, in nanoseconds. A store's own deadline is two seconds; the rest is for
/// a busy machine.
const OVERDUE: u64 = 12_000_000_000;

/// What of a history is looked at.
#[derive(Debug, Default)]
pub(super) struct Scope<'a> {
    /// When lists and sessions on different servers may have come apart. What was written to either
    /// of them then is in no list for certain.
    pub(super) undone: Spans,
    /// The sessions, if not all, and then nothing else.
    pub(super) only: Option<HashSet<&'a str>>,
}

impl Scope<'_> {
    fn has(&self, session: &Session<'_>) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(session.key))
    }
}

/// Checks a history of a store that shows and acknowledges nothing which it then loses.
pub(super) fn check_laws(history: &History, scope: &Scope<'_>) -> Verdict {
    let tolerance = history.tolerance * 1_000_000;
    let mut verdict = Verdict::default();
    let principals = Principals::of(&history.calls);
    let shown = index::shown(&history.calls);
    for session in sessions(&history.calls).iter().filter(|session| scope.has(session)) {
        let is_listed = !principals.may_be_unlisted(session, &scope.undone);
        lifetime::check(session, &principals, is_listed, tolerance, &mut verdict);
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
            verdict.record(refused(call));
            verdict.record(overdue(call, &history.faults));
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
