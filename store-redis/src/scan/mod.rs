//! Visiting all sessions, page by page.

mod cluster;
mod node;

use redis::{Cmd, Value};
use session_core::{Cursor, Page, Record, StoreKey};

use crate::{
    answer,
    command::Request,
    error::ClientError,
    index::Index,
    keys::Keys,
    link::{Links, Repeat},
    together::together,
};

/// The most sessions on a page.
pub(crate) const MOST: usize = 1_000;

/// The keys of one page of at most `limit` sessions, live or not, and where to go on.
pub(crate) async fn keys(
    of: &Index<'_>,
    after: Option<Cursor>,
    limit: usize,
) -> Result<(Vec<StoreKey>, Option<Cursor>), ClientError> {
    if of.apart {
        cluster::keys(of.links, of.keys, after, limit).await
    } else {
        node::keys(of.links, of.keys, after, limit).await
    }
}

/// One page of at most `limit` records.
pub(crate) async fn page(
    of: &Index<'_>,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page, ClientError> {
    let (keys, next) = keys(of, after, limit).await?;
    if !of.apart {
        return Ok(Page { records: records(of.links, of.keys, &keys).await?, next });
    }
    // Each by itself: in a slot that is on its way from one node to another, some are here and some
    // are there.
    let read = together(
        keys.iter().map(|key| records(of.links, of.keys, std::slice::from_ref(key))).collect(),
    )
    .await?;
    Ok(Page { records: read.into_iter().flatten().collect(), next })
}

/// Where a list goes on that has visited this key. Cursors of scans begin with a digit or a letter.
pub(crate) fn list_cursor(key: &str) -> Cursor {
    Cursor::new(["\t", key].concat())
}

/// The key that a list visited last.
pub(crate) fn listed(cursor: &Cursor) -> Result<&str, ClientError> {
    cursor
        .as_str()
        .strip_prefix('\t')
        .filter(|key| StoreKey::from_text(key).is_storable())
        .ok_or(ClientError::Cursor)
}

/// The live records under these keys, which are on one node. What cannot be read is left out.
async fn records(
    links: &Links,
    keys: &Keys,
    of: &[StoreKey],
) -> Result<Vec<(StoreKey, Record)>, ClientError> {
    if of.is_empty() {
        return Ok(Vec::new());
    }
    let hashes = of.iter().map(|key| {
        let mut hash = redis::cmd("HGETALL");
        hash.arg(keys.session(key));
        hash
    });
    let commands: Vec<Cmd> = hashes.chain([redis::cmd("TIME")]).collect();
    let mut answers = answer::list(links.send(&Request::All(&commands), Repeat::Once).await?)?;
    let time = answers.pop().unwrap_or_default().extract_error()?;
    let now = answer::time(&time)
        .ok_or(ClientError::Answer("TIME answers with seconds and microseconds"))?
        / 1000;
    let mut records = Vec::with_capacity(of.len());
    for (key, hash) in of.iter().zip(answers) {
        let hash = match hash {
            // Another application's key under the name of a session.
            Value::ServerError(error) if error.code() == "WRONGTYPE" => continue,
            hash => hash.extract_error()?,
        };
        if let Ok(Some(record)) = answer::record(hash, now) {
            records.push((key.clone(), record));
        }
    }
    Ok(records)
}

/// A command of two words, which the driver routes by its first argument only if both are in one.
fn words(command: &[&str]) -> Cmd {
    let mut built = Cmd::new();
    for word in command {
        built.arg(word);
    }
    built
}
