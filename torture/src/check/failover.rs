//! What a failover may undo, and what it may not.
//!
//! A store that acknowledges before its replicas have heard of it loses the last moment of a
//! primary with it. That is documented, and it is no excuse for anything else. So a history is
//! looked at three times: as it is told; up to each failover as it is told, since until then nobody
//! but the former primary had answered; and as a whole without the answers that may be undone. What
//! breaks a law in either of the last two is a violation. What does so only in the first is undone.

use std::collections::HashSet;

use super::{
    laws::{Scope, check_laws},
    spans::Spans,
    violation::{Law, Verdict, Violation},
};
use crate::history::{Answer, Call, CallOutcome, Failover, History, Op};

/// The verdict on a history with failovers.
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
    // These need no other call to be wrong.
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

/// Texts and proofs differ with what is known.
fn is_same(one: &Violation, other: &Violation) -> bool {
    one.law == other.law && one.of == other.of && one.calls.last() == other.calls.last()
}

/// The history without answers that may be undone: a write may have happened or not, and what was
/// read proves nothing.
fn without_undone(history: &History, spans: &Spans) -> History {
    let mut trusted = history.clone();
    trusted.calls.retain_mut(|call| !spans.overlap(call) || make_unknown(call));
    trusted
}

/// Takes its answer for unknown. Says whether anything is left of it: of a read and of what was
/// refused nothing is.
fn make_unknown(call: &mut Call) -> bool {
    let has_written = !matches!(call.op, Op::Load { .. } | Op::List { .. });
    if call.outcome() == CallOutcome::Refused || !has_written {
        return false;
    }
    call.answer = Some(Answer::Unknown("it may be undone by a failover".to_owned()));
    true
}

/// The history up to a failover of the sessions that were in use when answers began that it may
/// undo, and these sessions.
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
    // Lists and revocations are about all sessions.
    for call in calls().filter(|call| call.key().is_none_or(|key| of.contains(key))) {
        let mut call = call.clone();
        if earlier.overlap(&call) && !make_unknown(&mut call) {
            continue;
        }
        // What came later came from somebody else, maybe.
        if call.end.is_some_and(|end| end > failover.until) {
            (call.end, call.answer) = (None, None);
        }
        before.calls.push(call);
    }
    (before, of)
}
