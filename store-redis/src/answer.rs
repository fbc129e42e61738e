//! What servers answer, read back.

use std::{collections::BTreeMap, time::Duration};

use redis::Value;
use session_core::{Change, Commit, Committed, Json, JsonError, Lifetime, Listed, Name, Outcome, Principal, Record, Rejection};

use crate::{error::ClientError, keys::key_at};

/// The format of a record that this version reads and writes: the first field of its head.
const FORMAT: &str = "1";

/// Why what is stored is not a record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("the key holds no hash with a head")]
    NoHead,
    #[error("the record has another format than {FORMAT}; a newer version may have written it")]
    Format,
    #[error("the record's {0} cannot be read")]
    Part(&'static str),
    #[error("a value is not JSON")]
    Json(#[source] JsonError),
}

/// What is stored: nothing that lives, a record, or something else.
pub(crate) type Stored = Result<Option<Record>, Unreadable>;

/// The head of a record: `format|version|bytes|created|deadline|lifetime`, times in milliseconds of the server's clock.
struct Head {
    version: u64,
    created: u64,
    deadline: u64,
    lifetime: Lifetime,
}

impl Head {
    fn read(text: &str) -> Result<Self, Unreadable> {
        let mut parts = text.split('|');
        if parts.next() != Some(FORMAT) {
            return Err(Unreadable::Format);
        }
        // Longer ones are not exact where scripts calculate.
        let exact = |digits: &&str| digits.len() <= 14;
        let mut number = |part| parts.next().filter(exact).and_then(|digits| digits.parse().ok()).ok_or(Unreadable::Part(part));
        let (version, _bytes, created, deadline) = (number("version")?, number("size")?, number("creation")?, number("deadline")?);
        let lifetime = parts.next().and_then(Lifetime::from_text).ok_or(Unreadable::Part("lifetime"))?;
        Ok(Self { version, created, deadline, lifetime })
    }

    fn age(&self, now: u64) -> Duration {
        Duration::from_millis(now.saturating_sub(self.created))
    }

    /// `None` if its time is over, whether or not the server still has it.
    fn ttl(&self, now: u64) -> Option<Duration> {
        let left = self.deadline.saturating_sub(now);
        (left > 0).then(|| Duration::from_millis(left))
    }
}

/// Reads the answer of `HGETALL`.
pub(crate) fn record(hash: Value, now: u64) -> Stored {
    let Value::Map(fields) = hash else { return Err(Unreadable::NoHead) };
    if fields.is_empty() {
        return Ok(None);
    }
    let (mut head, mut principal, mut values) = (None, None, Vec::with_capacity(fields.len() - 1));
    for (name, value) in fields {
        let (name, value) = (owned(name).ok_or(Unreadable::Part("names"))?, owned(value).ok_or(Unreadable::Part("values"))?);
        match name.as_str() {
            "" => head = Some(Head::read(&value)?),
            "\t" => principal = Some(Principal::new(value).map_err(|_| Unreadable::Part("principal"))?),
            _ => {
                let name = Name::new(name).map_err(|_| Unreadable::Part("names"))?;
                values.push((name, Json::from_text(value).map_err(Unreadable::Json)?));
            }
        }
    }
    let head = head.ok_or(Unreadable::NoHead)?;
    let Some(ttl) = head.ttl(now) else { return Ok(None) };
    Ok(Some(Record { data: values.into(), version: head.version, age: head.age(now), ttl, principal, lifetime: head.lifetime }))
}

/// Reads the head of a session at a place. `None` if it is dead or cannot be read.
pub(crate) fn listed(place: &str, head: &Value, now: u64) -> Option<Listed> {
    let head = Head::read(text(head)?).ok()?;
    Some(Listed { key: key_at(place)?, age: head.age(now), ttl: head.ttl(now)? })
}

/// What the script for commits says.
pub(crate) enum Committing {
    /// It is settled. `former` is the principal from before, if the commit took effect.
    Settled {
        outcome: Outcome,
        former: Option<Principal>,
    },
    /// The index of this principal needs the final place first, for at least this long.
    Index {
        principal: Principal,
        ttl: Duration,
    },
    Corrupt,
    Rejected(Rejection),
}

/// Reads the answer of the script for commits: the lines of one text.
pub(crate) fn committing(answer: &Value, commit: &Commit, limit: usize) -> Result<Committing, ClientError> {
    const SHAPE: ClientError = ClientError::Answer("a commit answers with lines");
    // Neither principals nor lifetimes nor numbers have line breaks.
    let mut lines = text(answer).ok_or(SHAPE)?.split('\n');
    let mut line = || lines.next().ok_or(SHAPE);
    let number = |line: &str| line.parse::<u64>().map_err(|_| SHAPE);
    let changed = |line: &str| {
        let at = number(line)?.checked_sub(1).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| commit.changes.keys().nth(at)).cloned().ok_or(SHAPE)
    };
    let settled = |outcome| Committing::Settled { outcome, former: None };
    Ok(match line()? {
        "0" => {
            let (version, seconds, micros) = (number(line()?)?, number(line()?)?, number(line()?)?);
            let now = seconds.checked_mul(1000).and_then(|millis| millis.checked_add(micros / 1000)).ok_or(SHAPE)?;
            let (created, deadline) = (number(line()?)?, number(line()?)?);
            let (age, ttl) = (now.saturating_sub(created), deadline.saturating_sub(now));
            let lifetime = Lifetime::from_text(line()?).ok_or(SHAPE)?;
            let former = Principal::new(line()?).ok();
            let mut added = BTreeMap::new();
            for (name, _) in commit.changes.iter().filter(|(_, change)| matches!(change, Change::Add(_))) {
                added.insert(name.clone(), line()?.parse().map_err(|_| SHAPE)?);
            }
            let (age, ttl) = (Duration::from_millis(age), Duration::from_millis(ttl));
            Committing::Settled { outcome: Outcome::Done(Committed { version, added, age, ttl, lifetime }), former }
        }
        "1" => settled(Outcome::Conflict),
        "2" => settled(Outcome::Gone),
        "3" => Committing::Corrupt,
        "4" => Committing::Rejected(Rejection::NotAnInteger { name: changed(line()?)? }),
        "5" => Committing::Rejected(Rejection::Overflow { name: changed(line()?)? }),
        "6" => {
            let bytes = usize::try_from(number(line()?)?).unwrap_or(usize::MAX);
            Committing::Rejected(Rejection::DataTooLarge { bytes, limit })
        }
        "7" => Committing::Index { principal: Principal::new(line()?).map_err(|_| SHAPE)?, ttl: Duration::from_millis(number(line()?)?) },
        _ => return Err(SHAPE),
    })
}

/// Reads the answer of `TIME`, as microseconds.
pub(crate) fn time(answer: &Value) -> Option<u64> {
    let Value::Array(parts) = answer else { return None };
    let mut numbers = parts.iter().map(|part| text(part).and_then(|digits| digits.parse::<u64>().ok()));
    let (seconds, micros) = (numbers.next()??, numbers.next()??);
    seconds.checked_mul(1_000_000)?.checked_add(micros)
}

/// Reads the answer of a [`Timed`](crate::command::Request::Timed) request.
pub(crate) fn timed(answer: Value) -> Result<(Value, u64), ClientError> {
    const SHAPE: ClientError = ClientError::Answer("an answer and a time");
    let [answer, now] = <[Value; 2]>::try_from(list(answer)?).map_err(|_| SHAPE)?;
    let now = int(&now).and_then(|now| u64::try_from(now).ok()).ok_or(SHAPE)?;
    Ok((answer, now))
}

/// The list that a pipeline, or a script, answers with.
pub(crate) fn list(answer: Value) -> Result<Vec<Value>, ClientError> {
    match answer {
        Value::Array(answers) => Ok(answers),
        _ => Err(ClientError::Answer("a list")),
    }
}

pub(crate) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// A field of what is a map, or a list of names and values.
pub(crate) fn field<'a>(fields: &'a Value, wanted: &str) -> Option<&'a str> {
    match fields {
        Value::Map(pairs) => pairs.iter().find(|(name, _)| text(name) == Some(wanted)).and_then(|(_, value)| text(value)),
        Value::Array(list) => {
            let (pairs, _) = list.as_chunks::<2>();
            pairs.iter().find(|[name, _]| text(name) == Some(wanted)).and_then(|[_, value]| text(value))
        }
        _ => None,
    }
}

pub(crate) fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        _ => None,
    }
}

fn owned(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn hash<const N: usize>(fields: [(&str, &str); N]) -> Value {
        Value::Map(fields.into_iter().map(|(name, value)| (bulk(name), bulk(value))).collect())
    }

    #[test]
    fn a_hash_is_a_record() {
        let stored = hash([("", "1|7|9|1000|5000|i60000 p"), ("\t", "bob"), ("n", "18446744073709551615")]);
        let record = record(stored, 2000).unwrap().unwrap();
        assert_eq!((record.version, record.age.as_millis(), record.ttl.as_millis()), (7, 1000, 3000));
        assert_eq!(record.principal.as_ref().map(Principal::as_str), Some("bob"));
        assert_eq!(record.data.get("n").map(Json::as_str), Some("18446744073709551615"));
        assert_eq!(record.lifetime.to_text(), "i60000 p");
    }

    #[test]
    fn c26_a_record_is_dead_exactly_at_its_deadline() {
        let stored = || hash([("", "1|1|0|1000|5000|")]);
        assert!(record(stored(), 4999).unwrap().is_some());
        assert!(record(stored(), 5000).unwrap().is_none());
        assert!(record(Value::Map(Vec::new()), 0).unwrap().is_none());
    }

    #[test]
    fn a_commit_at_a_time_that_is_none_is_no_answer() {
        for seconds in ["18446744073709551", "18446744073709551615"] {
            let answer = bulk(&format!("0\n7\n{seconds}\n999999999\n1\n2\n\n\n"));
            assert!(committing(&answer, &Commit::new(), 0).is_err(), "{seconds}");
        }
    }

    #[test]
    fn c39_c40_anything_else_is_unreadable() {
        let head = ("", "1|1|0|1000|5000|");
        assert!(matches!(record(hash([("", "2|1|0|1000|5000|")]), 0), Err(Unreadable::Format)));
        for stored in [
            hash([("n", "1")]),
            hash([("", "1|x|0|1000|5000|")]),
            hash([("", "1|1|0|1000")]),
            hash([("", "1|1|0|1000|5000|nonsense")]),
            hash([head, ("n", "{")]),
            hash([head, ("\t", "")]),
            hash([head, ("a\nb", "1")]),
            Value::Map(vec![(bulk(""), bulk(head.1)), (bulk("n"), Value::BulkString(vec![0xff]))]),
            Value::Nil,
        ] {
            assert!(record(stored, 0).is_err());
        }
    }
}
