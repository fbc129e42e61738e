//! Reads records, summaries and the answers of commits.

use std::{collections::BTreeMap, time::Duration};

use redis::Value;
use session_core::{
    Attributes, Change, Commit, Committed, Grace, Json, JsonError, Limits, Name, Outcome,
    Principal, Record, Rejection, SecretHash, SessionSummary, StoreKey,
};

use crate::{
    connect::{clock::ServerTime, decode::text},
    error::ClientError,
};

/// The format of the records that this version reads and writes: the first byte of the head. The
/// first version wrote the character `1`.
const FORMAT: u8 = 2;

/// Why a record is unreadable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("the key does not contain a hash with a head")]
    NoHead,
    #[error(
        "the format of the record is not {FORMAT}; another version of this library wrote the record"
    )]
    Format,
    #[error("cannot read the {0} of the record")]
    Part(&'static str),
    #[error("a value of the record is not JSON")]
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

    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.first().is_none_or(|format| *format != FORMAT) {
            return Err(DecodeError::Format);
        }
        let bytes: &[u8; Self::BYTES] = bytes.try_into().map_err(|_| DecodeError::Part("head"))?;
        let [_, numbers @ .., attributes_bytes] = bytes;
        // Each time has 6 bytes and the version has 7. The last 4 are the size of the data, which
        // only the scripts use.
        let [deadline, created, authenticated] = [0, 6, 12].map(|at| time_at(numbers, at));
        let version = numbers[18..25].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        if version == 0 || version > Limits::LARGEST_VERSION {
            return Err(DecodeError::Part("version"));
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

    /// `None` if the session is expired, even if the server still stores it.
    fn ttl(&self, now: u64) -> Option<Duration> {
        if is_expired(self.deadline, now) { None } else { until(self.deadline, now) }
    }

    fn attributes(&self, text: &str) -> Result<Attributes, DecodeError> {
        let complete = text.len() == self.attributes_bytes;
        Attributes::from_text(text).filter(|_| complete).ok_or(DecodeError::Part("attributes"))
    }
}

/// Whether a session with this deadline is expired at `now`. Both are milliseconds of the server's
/// clock. A session is expired from the millisecond of its deadline on.
///
/// The function `is_expired` in `scripts/head.lua` applies the same rule in the scripts: change
/// both together. Its comment lists the other places that depend on the rule.
fn is_expired(deadline: i64, now: u64) -> bool {
    deadline <= signed(now)
}

/// A signed number of 6 bytes, most significant byte first.
fn time_at(bytes: &[u8], at: usize) -> i64 {
    let number = bytes[at..at + 6].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    // The two shifts fill the two bytes that are not stored with the sign.
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

/// Generation, since, and the time of the last rotation.
fn rotation(bytes: &[u8]) -> Option<(u32, u32, i64)> {
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

/// Reads the answer of `HGETALL`. `None` if there is no live record.
pub(crate) fn record(hash: Value, now: u64) -> Result<Option<Record>, DecodeError> {
    let Value::Map(fields) = hash else { return Err(DecodeError::NoHead) };
    if fields.is_empty() {
        return Ok(None);
    }
    let (mut head, mut secret, mut numbers, mut former, mut principal, mut attributes) =
        (None, None, None, None, None, String::new());
    let mut values = Vec::with_capacity(fields.len().saturating_sub(2));
    for (name, value) in fields {
        let (Value::BulkString(name), Value::BulkString(value)) = (name, value) else {
            return Err(DecodeError::Part("fields"));
        };
        match name.as_slice() {
            b"" => head = Some(Head::read(&value)?),
            b"\x01" => secret = SecretHash::from_slice(&value),
            b"\x02" => numbers = Some(rotation(&value).ok_or(DecodeError::Part("generation"))?),
            b"\x03" => {
                former = Some(former_secret(&value).ok_or(DecodeError::Part("former secret"))?);
            }
            b"\x04" => {
                attributes =
                    String::from_utf8(value).map_err(|_| DecodeError::Part("attributes"))?;
            }
            b"\t" => {
                let text = String::from_utf8(value).map_err(|_| DecodeError::Part("principal"))?;
                principal = Some(Principal::new(text).map_err(|_| DecodeError::Part("principal"))?);
            }
            _ => {
                let name = String::from_utf8(name)
                    .ok()
                    .and_then(|name| Name::new(name).ok())
                    .ok_or(DecodeError::Part("names"))?;
                let text = String::from_utf8(value).map_err(|_| DecodeError::Part("values"))?;
                values.push((name, Json::from_text(text).map_err(DecodeError::Json)?));
            }
        }
    }
    let head = head.ok_or(DecodeError::NoHead)?;
    let Some(ttl) = head.ttl(now) else { return Ok(None) };
    let secret = secret.ok_or(DecodeError::Part("secret"))?;
    let authenticated = head.authenticated(now);
    if principal.is_some() != authenticated.is_some() {
        return Err(DecodeError::Part("authentication"));
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

/// Reads the head and the attributes of a signed-in session. `None` if it is expired or unreadable.
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

/// The answer of the script for commits.
pub(crate) enum CommitAnswer {
    /// The commit took effect. `former` is the former principal if the principal changed. `now` is
    /// the server's time in milliseconds, if the script asked for it.
    Done { committed: Committed, former: Option<Principal>, now: Option<u64> },
    /// The commit changed nothing.
    Refused(Outcome),
    /// The commit changed nothing: first the index of this principal needs an entry that is valid
    /// for at least this long.
    NeedsIndex { principal: Principal, ttl: Duration },
    /// The commit changed nothing: the record is unreadable.
    Corrupt,
    /// The commit changed nothing: a change is not possible.
    Rejected(Rejection),
}

/// Reads the answer of the script for commits. `time` is the cached time of the server, for a
/// script that did not ask for it.
pub(crate) fn commit_answer(
    answer: &Value,
    commit: &Commit,
    limit: usize,
    time: Option<&ServerTime>,
) -> Result<CommitAnswer, ClientError> {
    const SHAPE: ClientError = ClientError::UnexpectedAnswer("expected the verdict of a commit");
    let Value::BulkString(bytes) = answer else { return Err(SHAPE) };
    let (verdict, rest) = bytes.split_first().ok_or(SHAPE)?;
    if *verdict == b'0' {
        return done(rest, commit, time).ok_or(SHAPE);
    }
    // Principals and numbers contain no line breaks.
    let mut lines = str::from_utf8(rest).map_err(|_| SHAPE)?.split('\n').skip(1);
    let mut line = || lines.next().ok_or(SHAPE);
    let number = |line: &str| line.parse::<u64>().map_err(|_| SHAPE);
    let changed = |line: &str| {
        let at = number(line)?.checked_sub(1).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| commit.changes.keys().nth(at)).cloned().ok_or(SHAPE)
    };
    Ok(match verdict {
        b'1' => CommitAnswer::Refused(Outcome::Conflict),
        b'2' => CommitAnswer::Refused(Outcome::Gone),
        b'3' => CommitAnswer::Corrupt,
        b'4' => CommitAnswer::Rejected(Rejection::NotAnInteger { name: changed(line()?)? }),
        b'5' => CommitAnswer::Rejected(Rejection::Overflow { name: changed(line()?)? }),
        b'6' => {
            let bytes = usize::try_from(number(line()?)?).unwrap_or(usize::MAX);
            CommitAnswer::Rejected(Rejection::DataTooLarge { bytes, limit })
        }
        b'7' => CommitAnswer::NeedsIndex {
            principal: Principal::new(line()?).map_err(|_| SHAPE)?,
            ttl: Duration::from_millis(number(line()?)?),
        },
        b'8' => CommitAnswer::Refused(Outcome::Superseded),
        _ => return Err(SHAPE),
    })
}

/// Reads the head, the time, and then lines: the former principal, the sums, the attributes.
fn done(bytes: &[u8], commit: &Commit, time: Option<&ServerTime>) -> Option<CommitAnswer> {
    let (head, rest) = bytes.split_at_checked(Head::BYTES)?;
    let (time_bytes, lines) = rest.split_at_checked(6)?;
    let head = Head::read(head).ok()?;
    let script_time = u64::try_from(time_at(time_bytes, 0)).ok().filter(|time| *time > 0);
    let now = script_time.or_else(|| Some(time?.micros() / 1000))?;
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
        // The script asks for the time unless the deadline is far away.
        ttl: head.ttl(now).unwrap_or_default(),
        attributes: head.attributes(rest).ok()?,
    };
    Some(CommitAnswer::Done { committed, former, now: script_time })
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
    fn record_is_read_from_a_hash() {
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
    fn new_anonymous_session_needs_only_two_fields() {
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
    fn c26_record_expires_exactly_at_its_deadline() {
        let stored = || hash([(b"", &head(0, "")), (b"\x01", &SECRET)]);
        assert!(record(stored(), 4999).unwrap().is_some());
        assert!(record(stored(), 5000).unwrap().is_none());
        assert!(record(Value::Map(Vec::new()), 0).unwrap().is_none());
    }

    #[test]
    fn grace_ends_exactly_at_its_end() {
        let former = [&[8; 32][..], &time(2500)].concat();
        let stored = || hash([(b"", &head(0, "")), (b"\x01", &SECRET), (b"\x03", &former)]);
        assert!(record(stored(), 2499).unwrap().unwrap().grace.is_some());
        assert!(record(stored(), 2500).unwrap().unwrap().grace.is_none());
    }

    #[test]
    fn commit_answer_without_a_time_uses_the_cached_time() {
        let answer = bulk(&[&b"0"[..], &head(0, ""), &[0; 6], b"\n"].concat());
        let commit = Commit::new(SecretHash::from_bytes(SECRET));
        assert!(commit_answer(&answer, &commit, 0, None).is_err());
        let known = ServerTime::new(std::time::Instant::now(), 2_000_000);
        let CommitAnswer::Done { committed, now: None, .. } =
            commit_answer(&answer, &commit, 0, Some(&known)).unwrap()
        else {
            panic!("the commit took effect")
        };
        assert!((3.0 - committed.ttl.as_secs_f64()).abs() < 0.9, "{committed:?}");
    }

    #[test]
    fn c39_c40_other_content_is_unreadable() {
        let head_bytes = head(0, "");
        let (good, secret) = ((&b""[..], &head_bytes[..]), (&b"\x01"[..], &SECRET[..]));
        let mut newer = head(0, "");
        newer[0] = 3;
        let mut unversioned = head(0, "");
        unversioned[25] = 0;
        for other in [newer.as_slice(), b"1|1|0|1000|5000|", b""] {
            assert!(matches!(record(hash([(b"", other), secret]), 0), Err(DecodeError::Format)));
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
