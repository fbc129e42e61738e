//! From rows to records.

use std::time::Duration;

use session_core::{
    Attributes, Grace, JsonError, Principal, Record, SecretHash, SessionSummary, StoreKey,
};

use crate::{data, error::ClientError, row::Row};

/// Why a row cannot be read as a record. Contains nothing of the values.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("the row's {0} cannot be read")]
    Part(&'static str),
    #[error("a value of the row is not JSON")]
    Json(#[source] JsonError),
}

/// What is stored: no live session, a record, or a row that cannot be read.
pub(crate) type Loaded = Result<Option<Record>, Unreadable>;

/// The columns of a row beside its `id`, as [`Columns`] reads them. `expires` is the last one, see
/// `Sql::upsert`.
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

/// The format that this version writes, and the only one that it reads.
pub(crate) const FORMAT: i64 = 2;

/// What `COLUMNS` hold, and the database's time. All times are in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "fuzzing"), expect(unreachable_pub, reason = "the fuzz targets name it"))]
pub struct Columns<'r> {
    /// Names and values.
    pub data: &'r [u8],
    /// The version.
    pub version: i64,
    /// The hash of the current secret.
    pub secret: &'r [u8],
    /// The generation of the secret.
    pub generation: i64,
    /// The generation of the sign-in.
    pub since: i64,
    /// When the session was created.
    pub created: i64,
    /// When the secret was rotated last; null before the first rotation.
    pub rotated: Option<i64>,
    /// When the user proved who they are; null without a principal.
    pub authenticated: Option<i64>,
    /// Who is signed in.
    pub principal: Option<&'r [u8]>,
    /// The attributes.
    pub attributes: &'r [u8],
    /// The hash of the former secret.
    pub former_secret: Option<&'r [u8]>,
    /// Until when the former secret may read.
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

    /// The record; `Ok(None)` if it has expired.
    pub(crate) fn record(&self) -> Loaded {
        let Some(ttl) = left(self.expires, self.now) else { return Ok(None) };
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
            self.former_secret.zip(self.former_until.and_then(|until| left(until, self.now)));
        let generation =
            |number: i64| u32::try_from(number).map_err(|_| Unreadable::Part("generation"));
        Ok(Some(Record {
            data: data::read(self.data)?,
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
/// `None` if it cannot be read.
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
            ttl: left(expires, now)?,
            attributes: attributes.ok()?,
        })
    })())
}

/// The key in a column, if the bytes can be one.
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

/// What is left until a deadline; `None` if it is over.
pub(crate) fn left(deadline: i64, now: i64) -> Option<Duration> {
    Some(between(now, deadline)).filter(|left| !left.is_zero())
}

/// The duration between two times in milliseconds; zero if they are in the other order.
pub(crate) fn between(from: i64, to: i64) -> Duration {
    Duration::from_millis(u64::try_from(to.saturating_sub(from)).unwrap_or(0))
}
