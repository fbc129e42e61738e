//! Scans: pages of the keys or the records of all sessions.

mod cluster;
mod node;

use redis::{Cmd, Value};
use session_core::{Cursor, Page, Record, StoreKey};

use crate::{
    codec,
    connect::{
        bounded::try_join_bounded,
        command::Request,
        connections::{Connections, Retry},
        decode,
    },
    error::ClientError,
    keys::Keys,
};

/// The scans of one store.
#[derive(Clone, Copy)]
pub(crate) struct Scan<'s> {
    pub(crate) connections: &'s Connections,
    pub(crate) keys: &'s Keys,
    pub(crate) is_cluster: bool,
}

impl Scan<'_> {
    /// The keys of one page of at most `limit` sessions, live or not, and the cursor of the next
    /// page.
    pub(crate) async fn keys(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<(Vec<StoreKey>, Option<Cursor>), ClientError> {
        if self.is_cluster {
            cluster::keys(self.connections, self.keys, after, limit).await
        } else {
            node::keys(self.connections, self.keys, after, limit).await
        }
    }

    /// One page of at most `limit` records.
    pub(crate) async fn page(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, ClientError> {
        let (keys, next) = self.keys(after, limit).await?;
        if !self.is_cluster {
            return Ok(Page { records: self.records(&keys).await?, next });
        }
        // One read for each key: the sessions of a moving slot can be on two nodes.
        let reads = keys.iter().map(|key| self.records(std::slice::from_ref(key))).collect();
        let records = try_join_bounded(reads).await?;
        Ok(Page { records: records.into_iter().flatten().collect(), next })
    }

    /// The live records of these keys, which are on one node. Unreadable records are left out.
    async fn records(&self, keys: &[StoreKey]) -> Result<Vec<(StoreKey, Record)>, ClientError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let hashes = keys.iter().map(|key| {
            let mut hash = redis::cmd("HGETALL");
            hash.arg(self.keys.session(key));
            hash
        });
        let commands: Vec<Cmd> = hashes.chain([redis::cmd("TIME")]).collect();
        let mut answers = decode::list(
            self.connections.send(&Request::Pipeline(&commands), Retry::IfLost).await?,
        )?;
        let time = answers.pop().unwrap_or_default().extract_error()?;
        let now = decode::time(&time)
            .ok_or(ClientError::UnexpectedAnswer("expected seconds and microseconds from TIME"))?
            / 1000;
        let mut records = Vec::with_capacity(keys.len());
        for (key, hash) in keys.iter().zip(answers) {
            let hash = match hash {
                // A key of another application has the name of a session.
                Value::ServerError(error) if error.code() == "WRONGTYPE" => continue,
                hash => hash.extract_error()?,
            };
            if let Ok(Some(record)) = codec::record(hash, now) {
                records.push((key.clone(), record));
            }
        }
        Ok(records)
    }
}
