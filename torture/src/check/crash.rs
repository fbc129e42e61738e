//! Reads that a crash of the store may have taken back.

use crate::history::{Answer, Call, CallOutcome, History, Op};

/// Returns the history without the read answers that prove nothing. A read proves nothing if it
/// came shortly before the store was killed: the store may have shown a write that was not yet on
/// disk, and the crash then removed it. Returns `None` if the store shows only what is on disk, or
/// was never killed.
///
/// Acknowledged writes stay. They were on disk, with everything that they build on.
pub(super) fn without_unsynced_reads(history: &History) -> Option<History> {
    let margin = history.unsynced * 1_000_000;
    let crashes: Vec<_> = history
        .faults
        .iter()
        .filter(|fault| fault.crash)
        .map(|fault| (fault.begin.saturating_sub(margin), fault.end))
        .collect();
    if margin == 0 || crashes.is_empty() {
        return None;
    }
    let mut trusted = history.clone();
    for call in &mut trusted.calls {
        let ended = |end| crashes.iter().any(|(from, until)| (*from..=*until).contains(&end));
        if call.end.is_some_and(ended) && only_reads(call) {
            call.answer =
                Some(Answer::Unknown("the store was killed shortly after this answer".to_owned()));
        }
    }
    Some(trusted)
}

/// Whether the call only observed the record. A refused write leaves the record unchanged, with or
/// without the crash.
fn only_reads(call: &Call) -> bool {
    let is_read = matches!(call.op, Op::Load { .. } | Op::List { .. });
    let found_nothing = matches!(call.answer, Some(Answer::Deleted(false) | Answer::Revoked(0)));
    is_read
        || found_nothing
        || (call.outcome() == CallOutcome::Refused
            && !matches!(call.answer, Some(Answer::Rejected(_) | Answer::Corrupt(_))))
}
