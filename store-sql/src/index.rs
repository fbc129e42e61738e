//! The calls that use the index of a user's sessions.

use session_core::{Cursor, Principal, StoreKey, SummaryPage};

use crate::{
    codec::{cursor, position, summary},
    connect::{Client, MAX_ROWS},
    dialect::{Arg, Statement},
    error::ClientError,
};

/// Reads a page of a user's sessions, ordered by key. A key never changes, so a walk over the pages
/// returns each session once.
pub(crate) async fn list(
    client: &Client,
    principal: &Principal,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<SummaryPage, ClientError> {
    let limit = limit.clamp(1, MAX_ROWS);
    let args = [Arg::bytes(principal.as_str()), Arg::bytes(position(after)?), Arg::number(limit)];
    let rows = client.rows(&Statement::new(&client.statements.list, args)).await?;
    let next = if rows.len() == limit {
        rows.last().and_then(|row| row.bytes(0).transpose()).transpose()?.map(cursor)
    } else {
        None
    };
    let sessions = rows.iter().filter_map(|row| summary(row).transpose());
    Ok(SummaryPage { sessions: sessions.collect::<Result<_, _>>()?, next })
}

/// Ends a user's sessions. One pass is enough: a statement finds every session that the user had
/// when the statement began.
pub(crate) async fn delete_all(
    client: &Client,
    principal: &Principal,
    except: Option<&StoreKey>,
) -> Result<u64, ClientError> {
    // A key is never empty, so the empty text excludes nothing.
    let except = except.map_or("", StoreKey::as_str);
    let mut ended = 0;
    loop {
        let args = [Arg::bytes(principal.as_str()), Arg::bytes(except), Arg::number(MAX_ROWS)];
        let page = client.delete_rows(&client.statements.delete_all, args).await?;
        ended += page.live;
        if page.rows < MAX_ROWS {
            return Ok(ended);
        }
    }
}
