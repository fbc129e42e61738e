//! The verdict on a history with failovers.
//!
//! Redis acknowledges a write before its replicas have received it, so a failover loses the last
//! writes of the former primary. That loss is documented. It excuses nothing else. The history is
//! therefore checked three times:
//!
//! 1. as recorded,
//! 2. up to each failover, as recorded: until then every answer came from the former primary,
//! 3. as a whole, without the answers that a failover may undo.
//!
//! A law that is broken in check 2 or 3 is a violation. A law that is broken only in check 1 is a
//! documented loss.

use std::collections::HashSet;

use super::{
    laws::{Scope, check_laws},
    spans::Spans,
    violation::{Law, Verdict, Violation},
};
use crate::history::{Answer, Call, CallOutcome, Failover, History, Op};

/// Checks a history that has failovers.
pub(super) fn check(history: &History) -> Verdict {
    let strict = check_laws(history, &Scope::default());
    let all = Spans::of(&history.failovers);
    let apart = |spans| if history.apart { spans } else { Spans::default() };
    let mut proved = check_laws(
        &without_undone(history, &all),
        &Scope { undone: apart(Spans::of(&history.failovers)), only: None },
    )
    .violations;
    for (at, failover) in
        history.failovers.iter().enumerate().filter(|(_, failover)| !failover.spans.is_empty())
    {
        let earlier = Spans::of(&history.failovers[..at]);
        let (before, of) = history_before(history, failover, &earlier);
        let scope = Scope { undone: apart(earlier), only: Some(of) };
        proved.extend(check_laws(&before, &scope).violations);
    }
    // These violations depend on one call alone, so a failover cannot explain them.
    proved.extend(
        strict
            .violations
            .iter()
            .filter(|found| matches!(found.law, Law::Refused | Law::Overdue | Law::NeverWritten))
            .cloned(),
    );
    proved.sort_unstable();
    proved.dedup_by(|one, other| is_same(one, other));
    proved.sort_by_key(|violation| violation.calls.last().copied());
    let undone = strict
        .violations
        .into_iter()
        .filter(|found| !proved.iter().any(|proved| is_same(found, proved)))
        .collect();
    Verdict { violations: proved, undone, ..strict }
}

/// Compares without text and proof, because these depend on what else is known.
fn is_same(one: &Violation, other: &Violation) -> bool {
    one.law == other.law && one.of == other.of && one.calls.last() == other.calls.last()
}

/// Returns the history without the answers that a failover may undo. A write in such a span may
/// have happened or not. A read proves nothing.
fn without_undone(history: &History, spans: &Spans) -> History {
    let mut trusted = history.clone();
    trusted.calls.retain_mut(|call| !spans.overlap(call) || make_unknown(call));
    trusted
}

/// Replaces the answer of a write by an unknown one. Returns whether the call stays in the history:
/// reads and refused calls do not.
fn make_unknown(call: &mut Call) -> bool {
    let has_written = !matches!(call.op, Op::Load { .. } | Op::List { .. });
    if call.outcome() == CallOutcome::Refused || !has_written {
        return false;
    }
    call.answer = Some(Answer::Unknown("a failover may have undone the call".to_owned()));
    true
}

/// Returns the history up to a failover, limited to the sessions that were used while the failover
/// could undo answers, and the keys of these sessions.
fn history_before<'a>(
    history: &'a History,
    failover: &Failover,
    earlier: &Spans,
) -> (History, HashSet<&'a str>) {
    let own = Spans::of(std::slice::from_ref(failover));
    let until = history.calls.partition_point(|call| call.begin <= failover.until);
    let calls = || history.calls[..until].iter();
    let of: HashSet<_> = calls().filter(|call| own.overlap(call)).filter_map(Call::key).collect();
    let mut before = History { calls: Vec::new(), ..history.clone_head() };
    // Lists and revocations concern all sessions, so they stay.
    for call in calls().filter(|call| call.key().is_none_or(|key| of.contains(key))) {
        let mut call = call.clone();
        if earlier.overlap(&call) && !make_unknown(&mut call) {
            continue;
        }
        // A later answer may come from the new primary, so it is removed.
        if call.end.is_some_and(|end| end > failover.until) {
            (call.end, call.answer) = (None, None);
        }
        before.calls.push(call);
    }
    (before, of)
}
