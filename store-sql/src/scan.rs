//! The calls that walk over all sessions, in pages and in the order of their keys. A key never
//! changes, so a walk returns each session once.

use session_core::{Cursor, DeletedPage, Page, StoreKey};

use crate::{
    codec::{Columns, cursor, key, position},
    connect::{Client, MAX_ROWS},
    dialect::{Arg, Statement},
    error::ClientError,
};

/// A value that is greater than every key.
const AFTER_ALL_KEYS: [u8; StoreKey::MAX_BYTES + 1] = [0xff; StoreKey::MAX_BYTES + 1];

/// Reads a page of records.
pub(crate) async fn scan(
    client: &Client,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Page, ClientError> {
    let limit = limit.clamp(1, MAX_ROWS);
    let args = [Arg::bytes(position(after)?), Arg::number(limit)];
    let rows = client.rows(&Statement::new(&client.statements.scan, args)).await?;
    let mut page = Page { records: Vec::with_capacity(rows.len()), next: None };
    for row in &rows {
        if let (Some(key), Ok(Some(record))) = (key(row, 15)?, Columns::of(row)?.record()) {
            page.records.push((key, record));
        }
        page.next = row.bytes(15)?.filter(|_| rows.len() == limit).map(cursor);
    }
    Ok(page)
}

/// Ends a page of sessions. A page takes two statements, because MySQL does not return the keys of
/// the rows that it deletes.
pub(crate) async fn delete_everyone(
    client: &Client,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<DeletedPage, ClientError> {
    let after = position(after)?;
    let args = [Arg::bytes(&after), Arg::number(limit.clamp(1, MAX_ROWS) - 1)];
    let rows = client.rows(&Statement::new(&client.statements.page_end, args)).await?;
    let end = rows.first().map(|row| row.bytes(0)).transpose()?.flatten();
    let args = [Arg::bytes(after), Arg::bytes(end.unwrap_or(&AFTER_ALL_KEYS))];
    let page = client.delete_rows(&client.statements.delete_range, args).await?;
    Ok(DeletedPage { ended: page.live, next: end.map(cursor) })
}

/// Deletes at most `limit` expired rows and returns their number. The result is 0 if no other purge
/// leaves an expired row to this one.
pub(crate) async fn delete_expired(client: &Client, limit: usize) -> Result<u64, ClientError> {
    let mut deleted = 0;
    while deleted < limit {
        let step = (limit - deleted).min(MAX_ROWS);
        let page = client.delete_rows(&client.statements.purge, [Arg::number(step)]).await?;
        deleted += page.rows;
        if page.rows < step {
            break;
        }
    }
    Ok(deleted as u64)
}
