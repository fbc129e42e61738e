//! The verdict on a commit, from the stored record.

use std::collections::BTreeMap;

use session_core::{Change, Commit, Guard, Name, Outcome, Record, Rejection};
use store_support::commit;

use crate::error::Unreadable;

/// The result of a commit.
#[derive(Debug)]
pub(crate) enum Verdict {
    Settled(Outcome),
    Rejected(Rejection),
    Corrupt(Unreadable),
    /// The commit fits the record. This rewritten commit replaces all the data, and has the same
    /// effect as long as the record has the version in its guard. The map contains the sums that it
    /// makes.
    Rewrite(Box<Commit>, BTreeMap<Name, i64>),
}

/// Compares a commit with the stored record.
pub(super) fn judge(commit: &Commit, record: Option<Record>, cap: usize) -> Verdict {
    let (version, data, added) = match commit::judge(commit, record, cap) {
        commit::Verdict::Settled(outcome) => return Verdict::Settled(outcome),
        commit::Verdict::Rejected(rejection) => return Verdict::Rejected(rejection),
        commit::Verdict::Fits { version, data, added } => (version, data, added),
    };
    let mut rewritten = commit.clone();
    if commit.clear || !commit.changes.is_empty() {
        rewritten.clear = true;
        rewritten.changes =
            data.into_iter().map(|(name, value)| (name, Change::Set(value))).collect();
    }
    rewritten.guard = Guard::Version(version);
    Verdict::Rewrite(Box::new(rewritten), added)
}
