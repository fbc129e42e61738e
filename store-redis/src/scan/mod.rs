//! Visiting all sessions, page by page.

pub(crate) mod cluster;
pub(crate) mod node;

use redis::{Cmd, Value};
use session_core::{Record, StoreKey};

use crate::{
    answer,
    command::Request,
    error::ClientError,
    keys::{Keys, key_at},
    link::{Links, Repeat},
};

/// The most records on a page.
pub(crate) const MOST: usize = 1_000;

/// The live records at these places, which are on one node. What cannot be read is left out.
async fn records(links: &Links, keys: &Keys, places: &[String]) -> Result<Vec<(StoreKey, Record)>, ClientError> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let hashes = places.iter().map(|place| {
        let mut hash = redis::cmd("HGETALL");
        hash.arg(keys.at(place));
        hash
    });
    let commands: Vec<Cmd> = hashes.chain([redis::cmd("TIME")]).collect();
    let mut answers = answer::list(links.send(&Request::All(&commands), Repeat::Once).await?)?;
    let time = answers.pop().unwrap_or_default().extract_error()?;
    let now = answer::time(&time).ok_or(ClientError::Answer("TIME answers with seconds and microseconds"))? / 1000;
    let mut records = Vec::with_capacity(places.len());
    for (place, hash) in places.iter().zip(answers) {
        let hash = match hash {
            // Somebody else's key under the name of a session.
            Value::ServerError(error) if error.code() == "WRONGTYPE" => continue,
            hash => hash.extract_error()?,
        };
        if let (Some(key), Ok(Some(record))) = (key_at(place), answer::record(hash, now)) {
            records.push((key, record));
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
