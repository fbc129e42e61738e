//! Runs the checks of all laws on one history.

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

/// The longest time that a call may take, in nanoseconds. The stores have a deadline of 2 seconds.
/// The rest allows for a busy machine.
const OVERDUE: u64 = 12_000_000_000;

/// The part of a history that is checked.
#[derive(Debug, Default)]
pub(super) struct Scope<'a> {
    /// The spans in which a failover may have separated a session from its list. A session that was
    /// written in such a span may be missing in lists.
    pub(super) undone: Spans,
    /// The keys of the sessions to check. `None` checks all sessions, and also the laws that
    /// concern single calls.
    pub(super) only: Option<HashSet<&'a str>>,
}

impl Scope<'_> {
    fn has(&self, session: &Session<'_>) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(session.key))
    }
}

/// Checks a history as it is recorded, without excuses for crashes and failovers.
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
    // Order by the call that shows the violation. The unstable sort gives equal ones a fixed order.
    verdict.violations.sort_unstable();
    verdict.violations.sort_by_key(|violation| violation.calls.last().copied());
    verdict
}

/// This program makes only valid calls, so the store has no reason to refuse one or to find a
/// record unreadable.
fn refused(call: &Call) -> Option<Violation> {
    let (Answer::Rejected(text) | Answer::Corrupt(text)) = call.answer.as_ref()? else {
        return None;
    };
    let of = call.key().unwrap_or_default().to_owned();
    Some(Violation { law: Law::Refused, of, text: text.clone(), calls: vec![call.id] })
}

/// A call may take longer by the time for which processes were stopped.
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
