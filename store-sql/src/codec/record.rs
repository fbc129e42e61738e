//! From a row to a record.

use std::time::Duration;

use session_core::{Attributes, Grace, Principal, Record, SecretHash, SessionSummary, StoreKey};

use super::{object, row::Row};
use crate::error::{ClientError, Unreadable};

/// The result of reading a row: no live session, a record, or an unreadable row.
pub(crate) type Loaded = Result<Option<Record>, Unreadable>;

/// The columns of a row except `id`, in the order in which [`Columns`] reads them. `expires` is
/// last; see `Sql::upsert`.
pub(crate) const COLUMNS: [&str; 14] = [
    "data",
    "version",
    "secret",
    "generation",
    "since",
    "created",
    "rotated",
    "authenticated",
    "principal",
    "attributes",
    "former_secret",
    "former_until",
    "format",
    "expires",
];

/// The row format that this version writes. It reads no other format.
pub(crate) const FORMAT: i64 = 2;

/// The values of `COLUMNS`, and the database's time. All times are in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "fuzzing"), expect(unreachable_pub, reason = "the fuzz targets use it"))]
pub struct Columns<'r> {
    /// The names and values.
    pub data: &'r [u8],
    /// The number of changes, starting with 1.
    pub version: i64,
    /// The hash of the current secret.
    pub secret: &'r [u8],
    /// The generation of the secret.
    pub generation: i64,
    /// The generation of the secret at the sign-in.
    pub since: i64,
    /// When the session was created.
    pub created: i64,
    /// When the secret was last rotated. Null before the first rotation.
    pub rotated: Option<i64>,
    /// When the user last authenticated. Null without a principal.
    pub authenticated: Option<i64>,
    /// The user who is signed in.
    pub principal: Option<&'r [u8]>,
    /// The attributes.
    pub attributes: &'r [u8],
    /// The hash of the secret before the last rotation. Null without a grace.
    pub former_secret: Option<&'r [u8]>,
    /// When the former secret stops being valid. Null without a grace.
    pub former_until: Option<i64>,
    /// The format of the row.
    pub format: i64,
    /// When the session expires.
    pub expires: i64,
    /// The database's time.
    pub now: i64,
}

impl<'r> Columns<'r> {
    /// Reads a row of [`COLUMNS`] and the database's time.
    pub(crate) fn of(row: &'r Row) -> Result<Self, ClientError> {
        Ok(Self {
            data: row.bytes(0)?.unwrap_or_default(),
            version: row.integer(1)?,
            secret: row.bytes(2)?.unwrap_or_default(),
            generation: row.integer(3)?,
            since: row.integer(4)?,
            created: row.integer(5)?,
            rotated: row.optional(6)?,
            authenticated: row.optional(7)?,
            principal: row.bytes(8)?,
            attributes: row.bytes(9)?.unwrap_or_default(),
            former_secret: row.bytes(10)?,
            former_until: row.optional(11)?,
            format: row.integer(12)?,
            expires: row.integer(13)?,
            now: row.integer(14)?,
        })
    }

    /// The record. `Ok(None)` if it has expired.
    pub(crate) fn record(&self) -> Loaded {
        let Some(ttl) = remaining(self.expires, self.now) else { return Ok(None) };
        if self.format != FORMAT {
            return Err(Unreadable::Part("format"));
        }
        if self.principal.is_some() != self.authenticated.is_some() {
            return Err(Unreadable::Part("time of the authentication"));
        }
        let principal = self.principal.map(|bytes| {
            let text = std::str::from_utf8(bytes).ok();
            text.and_then(|text| Principal::new(text).ok()).ok_or(Unreadable::Part("principal"))
        });
        let grace =
            self.former_secret.zip(self.former_until.and_then(|until| remaining(until, self.now)));
        let generation =
            |number: i64| u32::try_from(number).map_err(|_| Unreadable::Part("generation"));
        Ok(Some(Record {
            data: object::read(self.data)?,
            version: version(self.version)?,
            secret: secret(self.secret)?,
            generation: generation(self.generation)?,
            since: generation(self.since)?,
            grace: grace
                .map(|(bytes, left)| Ok(Grace { secret: secret(bytes)?, left }))
                .transpose()?,
            age: between(self.created, self.now),
            rotated: between(self.rotated.unwrap_or(self.created), self.now),
            authenticated: self.authenticated.map(|time| between(time, self.now)),
            ttl,
            principal: principal.transpose()?,
            attributes: attributes(self.attributes)?,
        }))
    }
}

/// Reads a row of a list: key, creation, authentication, deadline, attributes, the database's time.
/// `None` if the row is unreadable.
pub(crate) fn summary(row: &Row) -> Result<Option<SessionSummary>, ClientError> {
    let (created, authenticated, expires, now) =
        (row.integer(1)?, row.optional(2)?, row.integer(3)?, row.integer(5)?);
    let (key, attributes) = (key(row, 0)?, attributes(row.bytes(4)?.unwrap_or_default()));
    Ok((|| {
        let authenticated = between(authenticated?, now);
        Some(SessionSummary {
            key: key?,
            age: between(created, now),
            authenticated,
            ttl: remaining(expires, now)?,
            attributes: attributes.ok()?,
        })
    })())
}

/// The key in a column. `None` if the bytes are not a valid key.
pub(crate) fn key(row: &Row, column: usize) -> Result<Option<StoreKey>, ClientError> {
    let text = row.bytes(column)?.and_then(|bytes| std::str::from_utf8(bytes).ok());
    Ok(text.map(StoreKey::from_text).filter(StoreKey::is_storable))
}

pub(crate) fn version(version: i64) -> Result<u64, Unreadable> {
    u64::try_from(version).map_err(|_| Unreadable::Part("version"))
}

pub(crate) fn attributes(text: &[u8]) -> Result<Attributes, Unreadable> {
    std::str::from_utf8(text)
        .ok()
        .and_then(Attributes::from_text)
        .ok_or(Unreadable::Part("attributes"))
}

fn secret(bytes: &[u8]) -> Result<SecretHash, Unreadable> {
    SecretHash::from_slice(bytes).ok_or(Unreadable::Part("secret"))
}

/// The time until a deadline. `None` if the deadline has passed.
fn remaining(deadline: i64, now: i64) -> Option<Duration> {
    Some(between(now, deadline)).filter(|left| !left.is_zero())
}

/// The duration between two times in milliseconds. Zero if `from` is later.
pub(crate) fn between(from: i64, to: i64) -> Duration {
    Duration::from_millis(u64::try_from(to.saturating_sub(from)).unwrap_or(0))
}
