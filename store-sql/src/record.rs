//! From rows to records.

use std::time::Duration;

use session_core::{JsonError, Lifetime, Listed, Principal, Record, StoreKey};

use crate::{data, error::ClientError, row::Row};

/// Why a row is no record. It holds nothing of the values.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("the row's {0} cannot be read")]
    Part(&'static str),
    #[error("a value of the row is not JSON")]
    Json(#[source] JsonError),
}

/// What is stored: nothing that lives, a record, or something else.
pub(crate) type Stored = Result<Option<Record>, Unreadable>;

/// The columns of a record, as [`record`] reads them; the last one is the database's time.
pub(crate) const COLUMNS: [&str; 7] = ["data", "version", "created", "expires", "principal", "lifetime", "format"];

/// The format that this version writes, and the only one that it reads.
pub(crate) const FORMAT: i64 = 1;

/// Reads a row of [`COLUMNS`] and the database's time. `Ok(None)` if its time is over.
pub(crate) fn record(row: &Row) -> Result<Stored, ClientError> {
    let (version, created, expires) = (row.integer(1)?, row.integer(2)?, row.integer(3)?);
    let (format, now) = (row.integer(6)?, row.integer(7)?);
    if ttl(expires, now).is_none() {
        return Ok(Ok(None));
    }
    let (data, principal, lifetime) = (row.bytes(0)?.unwrap_or_default(), row.bytes(4)?, row.bytes(5)?.unwrap_or_default());
    Ok(Columns { data, version, created, expires, principal, lifetime, format, now }.record())
}

/// What [`COLUMNS`] hold, and the database's time.
pub(crate) struct Columns<'r> {
    pub(crate) data: &'r [u8],
    pub(crate) version: i64,
    pub(crate) created: i64,
    pub(crate) expires: i64,
    pub(crate) principal: Option<&'r [u8]>,
    pub(crate) lifetime: &'r [u8],
    pub(crate) format: i64,
    pub(crate) now: i64,
}

impl Columns<'_> {
    /// `Ok(None)` if its time is over.
    pub(crate) fn record(&self) -> Stored {
        let Some(ttl) = ttl(self.expires, self.now) else { return Ok(None) };
        if self.format != FORMAT {
            return Err(Unreadable::Part("format"));
        }
        let principal = self.principal.map(|bytes| {
            let text = std::str::from_utf8(bytes).ok();
            text.and_then(|text| Principal::new(text).ok()).ok_or(Unreadable::Part("principal"))
        });
        Ok(Some(Record {
            data: data::read(self.data)?,
            version: version(self.version)?,
            age: since(self.created, self.now),
            ttl,
            principal: principal.transpose()?,
            lifetime: lifetime(self.lifetime)?,
        }))
    }
}

/// Reads a row of a list: key, creation, deadline, the database's time.
pub(crate) fn listed(row: &Row) -> Result<Option<Listed>, ClientError> {
    let (created, expires, now) = (row.integer(1)?, row.integer(2)?, row.integer(3)?);
    let (key, ttl) = (key(row, 0)?, ttl(expires, now));
    Ok(key.zip(ttl).map(|(key, ttl)| Listed { key, age: since(created, now), ttl }))
}

/// The key in a column, if it can be one.
pub(crate) fn key(row: &Row, column: usize) -> Result<Option<StoreKey>, ClientError> {
    let text = row.bytes(column)?.and_then(|bytes| std::str::from_utf8(bytes).ok());
    Ok(text.map(StoreKey::from_text).filter(StoreKey::is_storable))
}

pub(crate) fn version(version: i64) -> Result<u64, Unreadable> {
    u64::try_from(version).map_err(|_| Unreadable::Part("version"))
}

pub(crate) fn lifetime(text: &[u8]) -> Result<Lifetime, Unreadable> {
    std::str::from_utf8(text).ok().and_then(Lifetime::from_text).ok_or(Unreadable::Part("lifetime"))
}

/// What is left until a deadline; `None` if it is over.
pub(crate) fn ttl(expires: i64, now: i64) -> Option<Duration> {
    Some(since(now, expires)).filter(|ttl| !ttl.is_zero())
}

/// From one time to another, in milliseconds; nothing if they are in the other order.
pub(crate) fn since(from: i64, to: i64) -> Duration {
    Duration::from_millis(u64::try_from(to.saturating_sub(from)).unwrap_or(0))
}

/// A duration in whole milliseconds, as databases add it to a time.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
