//! The effect of a commit on a stored record, for stores whose server cannot tell why a commit did
//! not take effect.

use std::collections::BTreeMap;

use session_core::{
    Change, Commit, Committed, Data, Guard, Json, Name, Outcome, Record, Rejection,
};

/// The verdict on a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The outcome of the commit.
    Settled(Outcome),
    /// The commit breaks a limit.
    Rejected(Rejection),
    /// The commit fits the record.
    Fits {
        /// The version of the record.
        version: u64,
        /// All values after the commit.
        data: Data,
        /// The sums that the commit makes.
        added: BTreeMap<Name, i64>,
    },
}

/// Compares a commit with the stored record, in the order of verdicts that the contract demands.
/// The data may have at most `limit` bytes after the commit.
#[must_use]
pub fn judge(commit: &Commit, record: Option<Record>, limit: usize) -> Verdict {
    let Some(record) = record else { return Verdict::Settled(Outcome::Gone) };
    if commit.secret != record.secret {
        return Verdict::Settled(Outcome::Superseded);
    }
    if let Guard::Version(version) = commit.guard
        && version != record.version
    {
        return Verdict::Settled(Outcome::Conflict);
    }
    let Record { data, version, age, authenticated, ttl, attributes, .. } = record;
    let mut added = BTreeMap::new();
    if commit.is_empty() {
        let committed = Committed { version, added, age, authenticated, ttl, attributes };
        return Verdict::Settled(Outcome::Done(committed));
    }
    let before = data.bytes();
    let mut data = if commit.clear { Data::new() } else { data };
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
    // Data that does not grow is accepted even above the limit, because an operator may have
    // lowered the limit.
    if data.bytes() > limit.max(before) {
        return Verdict::Rejected(Rejection::DataTooLarge { bytes: data.bytes(), limit });
    }
    Verdict::Fits { version, data, added }
}

/// The data after a commit that clears the session.
#[must_use]
pub fn data_after_clear(commit: &Commit) -> Data {
    let mut data = Data::new();
    for (name, change) in &commit.changes {
        match change {
            Change::Set(value) => drop(data.insert(name.clone(), value.clone())),
            Change::Add(by) => drop(data.insert(name.clone(), Json::integer(*by))),
            Change::Remove => {}
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use session_core::{Attributes, SecretHash};

    use super::*;

    fn record() -> Record {
        let mut data = Data::new();
        data.insert(name("count"), Json::integer(5));
        Record {
            data,
            version: 3,
            secret: secret(1),
            generation: 0,
            since: 0,
            grace: None,
            age: Duration::ZERO,
            rotated: Duration::ZERO,
            authenticated: None,
            ttl: Duration::from_secs(60),
            principal: None,
            attributes: Attributes::default(),
        }
    }

    fn name(name: &str) -> Name {
        Name::new(name).unwrap()
    }

    fn secret(byte: u8) -> SecretHash {
        SecretHash::from_bytes([byte; 32])
    }

    #[test]
    fn verdicts_come_in_the_order_of_the_contract() {
        let add = |secret| Commit::new(secret).change(name("count"), Change::Add(2));
        let stale = |secret| add(secret).guard(Guard::Version(2));
        let cases = [
            (stale(secret(2)), None, Verdict::Settled(Outcome::Gone)),
            (stale(secret(2)), Some(record()), Verdict::Settled(Outcome::Superseded)),
            (stale(secret(1)), Some(record()), Verdict::Settled(Outcome::Conflict)),
            (
                add(secret(1)).change(name("long"), Change::Set(Json::integer(1_000))),
                Some(record()),
                Verdict::Rejected(Rejection::DataTooLarge { bytes: 14, limit: 8 }),
            ),
        ];
        for (commit, record, verdict) in cases {
            assert_eq!(judge(&commit, record, 8), verdict, "{commit:?}");
        }
        let Verdict::Fits { version: 3, data, added } = judge(&add(secret(1)), Some(record()), 0)
        else {
            panic!("data that does not grow is accepted")
        };
        assert_eq!(data.get("count"), Some(&Json::integer(7)));
        assert_eq!(added, BTreeMap::from([(name("count"), 7)]));
    }

    #[test]
    fn add_is_rejected_unless_the_sum_is_an_integer() {
        let add = |by| Commit::new(secret(1)).change(name("count"), Change::Add(by));
        assert_eq!(
            judge(&add(i64::MAX), Some(record()), 100),
            Verdict::Rejected(Rejection::Overflow { name: name("count") })
        );
        let mut record = record();
        record.data.insert(name("count"), Json::encode("five").unwrap());
        assert_eq!(
            judge(&add(1), Some(record), 100),
            Verdict::Rejected(Rejection::NotAnInteger { name: name("count") })
        );
    }
}
