//! What a store shows before it is on disk.

use crate::history::{Answer, Call, CallOutcome, History, Op};

/// The history without the answers that prove nothing: those to reads which came so shortly before
/// the store was killed that it may have shown what nobody had been told to be written, and what
/// its end then took back. `None` if there is no such store, or it was never killed.
///
/// What was acknowledged stays: it was on disk, and so was all that it rests on.
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
                Some(Answer::Unknown("shown shortly before the store was killed".to_owned()));
        }
    }
    Some(trusted)
}

/// Whether the answer tells of the record and wrote nothing itself. A write that was refused was
/// not written either way.
fn only_reads(call: &Call) -> bool {
    let is_read = matches!(call.op, Op::Load { .. } | Op::List { .. });
    let found_nothing = matches!(call.answer, Some(Answer::Deleted(false) | Answer::Revoked(0)));
    is_read
        || found_nothing
        || (call.outcome() == CallOutcome::Refused
            && !matches!(call.answer, Some(Answer::Rejected(_) | Answer::Corrupt(_))))
}
