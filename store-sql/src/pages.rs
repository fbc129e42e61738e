//! The calls that walk over many sessions, in pages and in the order of their keys. A key never
//! changes, so a walk meets each session once.

use std::sync::Arc;

use session_core::{Cursor, DeletedPage, Page, Principal, StoreKey, SummaryPage};

use crate::{
    error::ClientError,
    inner::Inner,
    record::{self, Columns},
    statement::{Arg, Statement},
};

/// The most rows of one statement: a deletion holds their locks, and in SQLite the whole file,
/// until its end.
const MOST: usize = 1_000;

/// Greater than every key.
const LAST: [u8; StoreKey::MAX_BYTES + 1] = [0xff; StoreKey::MAX_BYTES + 1];

/// What a deletion did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ended {
    /// How many rows it deleted.
    pub(crate) rows: usize,
    /// How many of them were live sessions.
    pub(crate) live: u64,
}

impl Inner {
    /// Executes one of the deletions.
    pub(crate) async fn end(
        &self,
        text: &Arc<str>,
        args: impl Into<Vec<Arg>>,
    ) -> Result<Ended, ClientError> {
        let written = self.write(&Statement::new(text, args), None).await?;
        // A database that returns no rows deletes live sessions only.
        let live = if self.engine.dialect().sql().returns_rows {
            let live = written.rows.iter().map(|row| row.integer(0));
            live.sum::<Result<i64, _>>()?.unsigned_abs()
        } else {
            written.affected
        };
        Ok(Ended { rows: usize::try_from(written.affected).unwrap_or(usize::MAX), live })
    }

    pub(crate) async fn list(
        &self,
        principal: &Principal,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<SummaryPage, ClientError> {
        let limit = limit.clamp(1, MOST);
        let args = [Arg::bytes(principal.as_str()), Arg::bytes(start(after)?), Arg::number(limit)];
        let rows = self.rows(&Statement::new(&self.texts.list, args)).await?;
        let next = if rows.len() == limit {
            rows.last().and_then(|row| row.bytes(0).transpose()).transpose()?.map(cursor)
        } else {
            None
        };
        let sessions = rows.iter().filter_map(|row| record::summary(row).transpose());
        Ok(SummaryPage { sessions: sessions.collect::<Result<_, _>>()?, next })
    }

    /// One pass is enough: a statement finds every session that was the principal's when the
    /// statement began.
    pub(crate) async fn delete_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, ClientError> {
        // No key is empty.
        let except = except.map_or("", StoreKey::as_str);
        let mut ended = 0;
        loop {
            let args = [Arg::bytes(principal.as_str()), Arg::bytes(except), Arg::number(MOST)];
            let page = self.end(&self.texts.delete_all, args).await?;
            ended += page.live;
            if page.rows < MOST {
                return Ok(ended);
            }
        }
    }

    /// Two statements for a page, because not every database returns the keys of the rows that it
    /// deletes.
    pub(crate) async fn delete_everyone(
        &self,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<DeletedPage, ClientError> {
        let after = start(after)?;
        let args = [Arg::bytes(&after), Arg::number(limit.clamp(1, MOST) - 1)];
        let rows = self.rows(&Statement::new(&self.texts.page_end, args)).await?;
        let end = rows.first().map(|row| row.bytes(0)).transpose()?.flatten();
        let page = self
            .end(&self.texts.delete_range, [Arg::bytes(after), Arg::bytes(end.unwrap_or(&LAST))])
            .await?;
        Ok(DeletedPage { ended: page.live, next: end.map(cursor) })
    }

    pub(crate) async fn scan(
        &self,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page, ClientError> {
        let limit = limit.clamp(1, MOST);
        let rows = self
            .rows(&Statement::new(
                &self.texts.scan,
                [Arg::bytes(start(after)?), Arg::number(limit)],
            ))
            .await?;
        let mut page = Page { records: Vec::with_capacity(rows.len()), next: None };
        for row in &rows {
            if let (Some(key), Ok(Some(record))) =
                (record::key(row, 15)?, Columns::of(row)?.record())
            {
                page.records.push((key, record));
            }
            page.next = row.bytes(15)?.filter(|_| rows.len() == limit).map(cursor);
        }
        Ok(page)
    }

    /// Deletes at most `limit` expired rows and says how many; 0 if there is none that no other
    /// purge is deleting.
    pub(crate) async fn delete_expired(&self, limit: usize) -> Result<u64, ClientError> {
        let mut deleted = 0;
        while deleted < limit {
            let step = (limit - deleted).min(MOST);
            let page = self.end(&self.texts.purge, [Arg::number(step)]).await?;
            deleted += page.rows;
            if page.rows < step {
                break;
            }
        }
        Ok(deleted as u64)
    }
}

/// The key that a walk goes on after; empty at the start.
fn start(cursor: Option<&Cursor>) -> Result<Vec<u8>, ClientError> {
    let Some(cursor) = cursor else { return Ok(Vec::new()) };
    let (pairs, rest) = cursor.as_str().as_bytes().as_chunks::<2>();
    let half = |digit: u8| char::from(digit).to_digit(16).and_then(|half| u8::try_from(half).ok());
    let key: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some((half(*high)? << 4) | half(*low)?)).collect();
    key.filter(|key| !key.is_empty() && rest.is_empty()).ok_or(ClientError::Cursor)
}

/// The key in hexadecimal digits: what another program put into the table need not be text.
fn cursor(key: &[u8]) -> Cursor {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
    Cursor::new(
        key.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect::<String>(),
    )
}
