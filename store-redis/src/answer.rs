//! What servers answer, read back.

use std::{collections::BTreeMap, time::Duration};

use redis::Value;
use session_core::{
    Attributes, Change, Commit, Committed, Grace, Json, JsonError, Limits, Name, Outcome,
    Principal, Record, Rejection, SecretHash, SessionSummary, StoreKey,
};

use crate::{clock::ServerTime, error::ClientError};

/// The format of a record that this version reads and writes: the first byte of its head. The first
/// version wrote the character `1`.
const FORMAT: u8 = 2;

/// Why what is stored is not a record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("the key holds no hash with a head")]
    NoHead,
    #[error(
        "the record has another format than {FORMAT}; another version of this library wrote it"
    )]
    Format,
    #[error("the record's {0} cannot be read")]
    Part(&'static str),
    #[error("a value is not JSON")]
    Json(#[source] JsonError),
}

/// The head of a record. Times are milliseconds of the server's clock.
#[derive(Clone, Copy)]
struct Head {
    deadline: i64,
    created: i64,
    /// 0 for none.
    authenticated: i64,
    version: u64,
    attributes_bytes: usize,
}

impl Head {
    const BYTES: usize = 31;

    fn read(bytes: &[u8]) -> Result<Self, Unreadable> {
        if bytes.first().is_none_or(|format| *format != FORMAT) {
            return Err(Unreadable::Format);
        }
        let bytes: &[u8; Self::BYTES] = bytes.try_into().map_err(|_| Unreadable::Part("head"))?;
        let [_, numbers @ .., attributes_bytes] = bytes;
        // 6 bytes for each time and 7 for the version. The last 4 are the size of the data, which
        // only scripts use.
        let [deadline, created, authenticated] = [0, 6, 12].map(|at| time_at(numbers, at));
        let version = numbers[18..25].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        if version == 0 || version > Limits::LARGEST_VERSION {
            return Err(Unreadable::Part("version"));
        }
        Ok(Self {
            deadline,
            created,
            authenticated,
            version,
            attributes_bytes: usize::from(*attributes_bytes),
        })
    }

    fn age(&self, now: u64) -> Duration {
        since(self.created, now)
    }

    fn authenticated(&self, now: u64) -> Option<Duration> {
        (self.authenticated != 0).then(|| since(self.authenticated, now))
    }

    /// `None` if its time is over, whether or not the server still has it.
    fn ttl(&self, now: u64) -> Option<Duration> {
        until(self.deadline, now)
    }

    fn attributes(&self, text: &str) -> Result<Attributes, Unreadable> {
        let complete = text.len() == self.attributes_bytes;
        Attributes::from_text(text).filter(|_| complete).ok_or(Unreadable::Part("attributes"))
    }
}

/// A signed number of 6 bytes, most significant first.
fn time_at(bytes: &[u8], at: usize) -> i64 {
    let number = bytes[at..at + 6].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    // Up and down again, so that the sign fills the two bytes that are not stored.
    (number << 16).cast_signed() >> 16
}

fn signed(now: u64) -> i64 {
    i64::try_from(now).unwrap_or(i64::MAX)
}

fn since(time: i64, now: u64) -> Duration {
    Duration::from_millis(u64::try_from(signed(now).saturating_sub(time)).unwrap_or(0))
}

fn until(time: i64, now: u64) -> Option<Duration> {
    let left = u64::try_from(time.saturating_sub(signed(now))).unwrap_or(0);
    (left > 0).then(|| Duration::from_millis(left))
}

/// Generation, since, and when the secret was rotated last.
fn rotated(bytes: &[u8]) -> Option<(u32, u32, i64)> {
    let bytes: &[u8; 14] = bytes.try_into().ok()?;
    let [g0, g1, g2, g3, s0, s1, s2, s3, ..] = *bytes;
    Some((
        u32::from_be_bytes([g0, g1, g2, g3]),
        u32::from_be_bytes([s0, s1, s2, s3]),
        time_at(bytes, 8),
    ))
}

/// The former secret and the end of its grace.
fn former_secret(bytes: &[u8]) -> Option<(SecretHash, i64)> {
    let (secret, end) =
        bytes.split_at_checked(SecretHash::BYTES).filter(|(_, end)| end.len() == 6)?;
    Some((SecretHash::from_slice(secret)?, time_at(end, 0)))
}

/// Reads the answer of `HGETALL`. `None` if there is no record that lives.
pub(crate) fn record(hash: Value, now: u64) -> Result<Option<Record>, Unreadable> {
    let Value::Map(fields) = hash else { return Err(Unreadable::NoHead) };
    if fields.is_empty() {
        return Ok(None);
    }
    let (mut head, mut secret, mut numbers, mut former, mut principal, mut attributes) =
        (None, None, None, None, None, String::new());
    let mut values = Vec::with_capacity(fields.len().saturating_sub(2));
    for (name, value) in fields {
        let (Value::BulkString(name), Value::BulkString(value)) = (name, value) else {
            return Err(Unreadable::Part("fields"));
        };
        match name.as_slice() {
            b"" => head = Some(Head::read(&value)?),
            b"\x01" => secret = SecretHash::from_slice(&value),
            b"\x02" => numbers = Some(rotated(&value).ok_or(Unreadable::Part("generation"))?),
            b"\x03" => {
                former = Some(former_secret(&value).ok_or(Unreadable::Part("former secret"))?)
            }
            b"\x04" => {
                attributes = String::from_utf8(value).map_err(|_| Unreadable::Part("attributes"))?
            }
            b"\t" => {
                let text = String::from_utf8(value).map_err(|_| Unreadable::Part("principal"))?;
                principal = Some(Principal::new(text).map_err(|_| Unreadable::Part("principal"))?);
            }
            _ => {
                let name = String::from_utf8(name)
                    .ok()
                    .and_then(|name| Name::new(name).ok())
                    .ok_or(Unreadable::Part("names"))?;
                let text = String::from_utf8(value).map_err(|_| Unreadable::Part("values"))?;
                values.push((name, Json::from_text(text).map_err(Unreadable::Json)?));
            }
        }
    }
    let head = head.ok_or(Unreadable::NoHead)?;
    let Some(ttl) = head.ttl(now) else { return Ok(None) };
    let secret = secret.ok_or(Unreadable::Part("secret"))?;
    let authenticated = head.authenticated(now);
    if principal.is_some() != authenticated.is_some() {
        return Err(Unreadable::Part("authentication"));
    }
    let (generation, sign_in, rotated) = numbers.unwrap_or((0, 0, head.created));
    Ok(Some(Record {
        data: values.into(),
        version: head.version,
        secret,
        generation,
        since: sign_in,
        grace: former.and_then(|(secret, end)| Some(Grace { secret, left: until(end, now)? })),
        age: head.age(now),
        rotated: since(rotated, now),
        authenticated,
        ttl,
        principal,
        attributes: head.attributes(&attributes)?,
    }))
}

/// Reads the head and the attributes of a signed-in session. `None` if it is dead or cannot be
/// read.
pub(crate) fn summary(
    key: StoreKey,
    head: &Value,
    attributes: &Value,
    now: u64,
) -> Option<SessionSummary> {
    let Value::BulkString(head) = head else { return None };
    let head = Head::read(head).ok()?;
    let attributes =
        head.attributes(if *attributes == Value::Nil { "" } else { text(attributes)? }).ok()?;
    Some(SessionSummary {
        key,
        age: head.age(now),
        authenticated: head.authenticated(now)?,
        ttl: head.ttl(now)?,
        attributes,
    })
}

/// What the script for commits says.
pub(crate) enum Committing {
    /// It took effect. `former` is the principal from before if there is another one, or none, now;
    /// `now` is the server's time in milliseconds, if the script asked for it.
    Done {
        committed: Committed,
        former: Option<Principal>,
        now: Option<u64>,
    },
    /// Nothing changed.
    Refused(Outcome),
    /// The index of this principal needs the session first, for at least this long.
    Index {
        principal: Principal,
        ttl: Duration,
    },
    Corrupt,
    Rejected(Rejection),
}

/// Reads the answer of the script for commits. `time` is the server's time for a script that did
/// not ask for it.
pub(crate) fn committing(
    answer: &Value,
    commit: &Commit,
    limit: usize,
    time: Option<&ServerTime>,
) -> Result<Committing, ClientError> {
    const SHAPE: ClientError = ClientError::Answer("a commit answers with a verdict");
    let Value::BulkString(bytes) = answer else { return Err(SHAPE) };
    let (verdict, rest) = bytes.split_first().ok_or(SHAPE)?;
    if *verdict == b'0' {
        return done(rest, commit, time).ok_or(SHAPE);
    }
    // Principals and numbers have no line breaks.
    let mut lines = str::from_utf8(rest).map_err(|_| SHAPE)?.split('\n').skip(1);
    let mut line = || lines.next().ok_or(SHAPE);
    let number = |line: &str| line.parse::<u64>().map_err(|_| SHAPE);
    let changed = |line: &str| {
        let at = number(line)?.checked_sub(1).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| commit.changes.keys().nth(at)).cloned().ok_or(SHAPE)
    };
    Ok(match verdict {
        b'1' => Committing::Refused(Outcome::Conflict),
        b'2' => Committing::Refused(Outcome::Gone),
        b'3' => Committing::Corrupt,
        b'4' => Committing::Rejected(Rejection::NotAnInteger { name: changed(line()?)? }),
        b'5' => Committing::Rejected(Rejection::Overflow { name: changed(line()?)? }),
        b'6' => {
            let bytes = usize::try_from(number(line()?)?).unwrap_or(usize::MAX);
            Committing::Rejected(Rejection::DataTooLarge { bytes, limit })
        }
        b'7' => Committing::Index {
            principal: Principal::new(line()?).map_err(|_| SHAPE)?,
            ttl: Duration::from_millis(number(line()?)?),
        },
        b'8' => Committing::Refused(Outcome::Superseded),
        _ => return Err(SHAPE),
    })
}

/// Head, time, then lines: the former principal, the sums, the attributes.
fn done(bytes: &[u8], commit: &Commit, time: Option<&ServerTime>) -> Option<Committing> {
    let (head, rest) = bytes.split_at_checked(Head::BYTES)?;
    let (told, lines) = rest.split_at_checked(6)?;
    let head = Head::read(head).ok()?;
    let told = u64::try_from(time_at(told, 0)).ok().filter(|told| *told > 0);
    let now = told.or_else(|| Some(time?.micros() / 1000))?;
    let mut rest = str::from_utf8(lines).ok()?;
    let mut line = || {
        let (line, after) = rest.split_once('\n')?;
        rest = after;
        Some(line)
    };
    let former = Principal::new(line()?).ok();
    let mut added = BTreeMap::new();
    for (name, _) in commit.changes.iter().filter(|(_, change)| matches!(change, Change::Add(_))) {
        added.insert(name.clone(), line()?.parse().ok()?);
    }
    let committed = Committed {
        version: head.version,
        added,
        age: head.age(now),
        authenticated: head.authenticated(now),
        // A script that did not ask for the time knows that the deadline is far.
        ttl: head.ttl(now).unwrap_or_default(),
        attributes: head.attributes(rest).ok()?,
    };
    Some(Committing::Done { committed, former, now: told })
}

/// Reads the answer of `TIME`, as microseconds.
pub(crate) fn time(answer: &Value) -> Option<u64> {
    let Value::Array(parts) = answer else { return None };
    let mut numbers =
        parts.iter().map(|part| text(part).and_then(|digits| digits.parse::<u64>().ok()));
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
        Value::Map(pairs) => pairs
            .iter()
            .find(|(name, _)| text(name) == Some(wanted))
            .and_then(|(_, value)| text(value)),
        Value::Array(list) => {
            let (pairs, _) = list.as_chunks::<2>();
            pairs
                .iter()
                .find(|[name, _]| text(name) == Some(wanted))
                .and_then(|[_, value]| text(value))
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

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 32] = [7; 32];

    fn bulk(bytes: &[u8]) -> Value {
        Value::BulkString(bytes.to_vec())
    }

    fn hash<const N: usize>(fields: [(&[u8], &[u8]); N]) -> Value {
        Value::Map(fields.into_iter().map(|(name, value)| (bulk(name), bulk(value))).collect())
    }

    fn time(millis: i64) -> [u8; 6] {
        let [_, _, bytes @ ..] = millis.to_be_bytes();
        bytes
    }

    /// A record of version 7 that was created at 1000 and lives until 5000.
    fn head(authenticated: i64, attributes: &str) -> Vec<u8> {
        let version = [0, 0, 0, 0, 0, 0, 7];
        let bytes = u8::try_from(attributes.len()).unwrap();
        [&[FORMAT][..], &time(5000), &time(1000), &time(authenticated), &version, &[0; 4], &[bytes]]
            .concat()
    }

    #[test]
    fn hash_is_a_record() {
        let numbers = [&[0, 0, 0, 9, 0, 0, 0, 4][..], &time(1500)].concat();
        let former = [&[8; 32][..], &time(2500)].concat();
        let stored = hash([
            (b"", &head(1200, "i60000 p")),
            (b"\x01", &SECRET),
            (b"\x02", &numbers),
            (b"\x03", &former),
            (b"\x04", b"i60000 p"),
            (b"\t", b"bob"),
            (b"n", b"18446744073709551615"),
        ]);
        let read = record(stored, 2000).unwrap().unwrap();
        let millis = |duration: Duration| duration.as_millis();
        assert_eq!((read.version, read.generation, read.since), (7, 9, 4));
        assert_eq!(
            [read.age, read.ttl, read.rotated, read.authenticated.unwrap()].map(millis),
            [1000, 3000, 500, 800]
        );
        assert_eq!(read.secret, SecretHash::from_bytes(SECRET));
        assert_eq!(
            read.grace,
            Some(Grace {
                secret: SecretHash::from_bytes([8; 32]),
                left: Duration::from_millis(500)
            })
        );
        assert_eq!(read.principal.as_ref().map(Principal::as_str), Some("bob"));
        assert_eq!(read.data.get("n").map(Json::as_str), Some("18446744073709551615"));
        assert_eq!(read.attributes.to_text(), "i60000 p");
    }

    #[test]
    fn plain_session_has_two_fields_beside_its_values() {
        let read = record(hash([(b"", &head(0, "")), (b"\x01", &SECRET)]), 2000).unwrap().unwrap();
        assert_eq!(
            (read.generation, read.since, read.rotated, read.authenticated),
            (0, 0, read.age, None)
        );
    }

    #[test]
    fn times_before_1970_are_read() {
        assert_eq!(time_at(&time(-5), 0), -5);
        assert_eq!(since(-5, 10), Duration::from_millis(15));
    }

    #[test]
    fn c26_record_is_dead_exactly_at_its_deadline() {
        let stored = || hash([(b"", &head(0, "")), (b"\x01", &SECRET)]);
        assert!(record(stored(), 4999).unwrap().is_some());
        assert!(record(stored(), 5000).unwrap().is_none());
        assert!(record(Value::Map(Vec::new()), 0).unwrap().is_none());
    }

    #[test]
    fn grace_is_over_exactly_at_its_end() {
        let former = [&[8; 32][..], &time(2500)].concat();
        let stored = || hash([(b"", &head(0, "")), (b"\x01", &SECRET), (b"\x03", &former)]);
        assert!(record(stored(), 2499).unwrap().unwrap().grace.is_some());
        assert!(record(stored(), 2500).unwrap().unwrap().grace.is_none());
    }

    #[test]
    fn commit_without_a_time_takes_the_one_that_was_known() {
        let answer = bulk(&[&b"0"[..], &head(0, ""), &[0; 6], b"\n"].concat());
        let commit = Commit::new(SecretHash::from_bytes(SECRET));
        assert!(committing(&answer, &commit, 0, None).is_err());
        let known = ServerTime::new(std::time::Instant::now(), 2_000_000);
        let Committing::Done { committed, now: None, .. } =
            committing(&answer, &commit, 0, Some(&known)).unwrap()
        else {
            panic!("done")
        };
        assert!((3.0 - committed.ttl.as_secs_f64()).abs() < 0.9, "{committed:?}");
    }

    #[test]
    fn c39_c40_anything_else_is_unreadable() {
        let head_bytes = head(0, "");
        let (good, secret) = ((&b""[..], &head_bytes[..]), (&b"\x01"[..], &SECRET[..]));
        let mut newer = head(0, "");
        newer[0] = 3;
        let mut unversioned = head(0, "");
        unversioned[25] = 0;
        for other in [newer.as_slice(), b"1|1|0|1000|5000|", b""] {
            assert!(matches!(record(hash([(b"", other), secret]), 0), Err(Unreadable::Format)));
        }
        for stored in [
            hash([(b"n", b"1")]),
            hash([good]),
            hash([good, (b"\x01", &SECRET[1..])]),
            hash([(b"", &head(0, "")[..30]), secret]),
            hash([(b"", &unversioned), secret]),
            hash([(b"", &head(0, "nonsense")), secret, (b"\x04", b"nonsense")]),
            hash([(b"", &head(0, "")), secret, (b"\x04", b"p")]),
            hash([(b"", &head(0, "p")), secret]),
            hash([(b"", &head(9, "")), secret]),
            hash([good, secret, (b"\t", b"bob")]),
            hash([(b"", &head(9, "")), secret, (b"\t", b"")]),
            hash([good, secret, (b"\x02", b"9")]),
            hash([good, secret, (b"\x03", &SECRET)]),
            hash([good, secret, (b"\x05", b"1")]),
            hash([good, secret, (b"n", b"{")]),
            hash([good, secret, (b"a\nb", b"1")]),
            hash([good, secret, (b"n", &[0xff])]),
            Value::Nil,
        ] {
            assert!(record(stored, 0).is_err());
        }
    }
}
