//! The verdict on a commit, from the stored record.

use std::collections::BTreeMap;

use session_core::{
    Change, Commit, Committed, Data, Guard, Json, Name, Outcome, Record, Rejection,
};

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

/// Compares a commit with the stored record, in the order of verdicts that the contract demands.
pub(super) fn judge(commit: &Commit, record: Option<&Record>, cap: usize) -> Verdict {
    let Some(record) = record else { return Verdict::Settled(Outcome::Gone) };
    if commit.secret != record.secret {
        return Verdict::Settled(Outcome::Superseded);
    }
    if let Guard::Version(version) = commit.guard
        && version != record.version
    {
        return Verdict::Settled(Outcome::Conflict);
    }
    if commit.is_empty() {
        return Verdict::Settled(Outcome::Done(Committed {
            version: record.version,
            added: BTreeMap::new(),
            age: record.age,
            authenticated: record.authenticated,
            ttl: record.ttl,
            attributes: record.attributes.clone(),
        }));
    }
    let mut data = if commit.clear { Data::new() } else { record.data.clone() };
    let mut added = BTreeMap::new();
    for (name, change) in &commit.changes {
        match change {
            Change::Set(value) => drop(data.insert(name.clone(), value.clone())),
            Change::Remove => drop(data.remove(name.as_str())),
            Change::Add(by) => {
                let Some(current) = data.get(name.as_str()).map_or(Some(0), Json::as_integer)
                else {
                    return Verdict::Rejected(Rejection::NotAnInteger { name: name.clone() });
                };
                let Some(sum) = current.checked_add(*by) else {
                    return Verdict::Rejected(Rejection::Overflow { name: name.clone() });
                };
                data.insert(name.clone(), Json::integer(sum));
                added.insert(name.clone(), sum);
            }
        }
    }
    // Data that does not grow is accepted, even if the cap was lowered.
    if data.bytes() > cap.max(record.data.bytes()) {
        return Verdict::Rejected(Rejection::DataTooLarge { bytes: data.bytes(), limit: cap });
    }
    let mut rewritten = commit.clone();
    if commit.clear || !commit.changes.is_empty() {
        rewritten.clear = true;
        rewritten.changes =
            data.into_iter().map(|(name, value)| (name, Change::Set(value))).collect();
    }
    rewritten.guard = Guard::Version(record.version);
    Verdict::Rewrite(Box::new(rewritten), added)
}
