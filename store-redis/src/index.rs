//! Ends sessions, and maintains the index of each user if it has its own commands.
//!
//! In a Cluster the index of a user is in one slot, and the user's sessions are in others. A script
//! cannot span two slots. With the setting `declared_keys`, a script on one server accesses only
//! the key that its command declares. In both cases the index has its own commands. Three rules
//! keep every live session in its index:
//!
//! 1. The store writes the index before the session. An index may have an entry whose session does
//!    not exist yet.
//! 2. A list shows an entry only after it has read the session.
//! 3. The store removes an entry only when its session no longer exists. Either the session has
//!    ended or changed its user, or the entry is no longer valid and a read found no session. An
//!    entry is valid for [`ENTRY_MARGIN`] longer than the ttl of its session. When the store adds
//!    an entry, it also removes entries that became invalid more than a day ago, without a read. So
//!    an index that is never listed does not grow without bound.
//!
//! The text of an entry contains the time until which it is valid. An extension replaces the text,
//! so a late removal of the former text does not remove the extended entry.

use std::time::Duration;

use redis::{Cmd, Value};
use session_core::{Claim, Cursor, Deleted, Principal, SessionSummary, StoreKey, SummaryPage};

use crate::{
    codec,
    connect::{
        bounded::try_join_bounded,
        command::{Request, millis},
        connections::{Connections, Retry},
        decode,
        script::{DELETE, Durability, INDEX},
    },
    error::ClientError,
    keys::Keys,
};

/// The most sessions on a page.
pub(crate) const MAX_PAGE: usize = 1_000;
/// How much longer than its session an entry is valid. This is more than the duration of any call.
pub(crate) const ENTRY_MARGIN: Duration = Duration::from_secs(60);

/// The operations of a store that end sessions or use an index.
#[derive(Clone, Copy)]
pub(crate) struct Index<'s> {
    pub(crate) connections: &'s Connections,
    pub(crate) keys: &'s Keys,
    /// Whether the index has its own commands.
    pub(crate) is_separate: bool,
}

/// Why an entry is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryCause {
    /// A session is created. A full server refuses the entry.
    Creation,
    /// An existing session changes its user. A full server accepts the entry.
    SignIn,
    /// A session lives longer.
    Extension,
}

/// The result of [`Index::delete`].
pub(crate) struct DeleteResult {
    pub(crate) deleted: Deleted,
    pub(crate) principal: Option<Principal>,
}

struct Entry {
    text: String,
    key: StoreKey,
    is_valid: bool,
}

impl Index<'_> {
    /// Adds an entry for a session that lives for `ttl`. The entry is valid for [`ENTRY_MARGIN`]
    /// longer.
    pub(crate) async fn add(
        &self,
        principal: &Principal,
        key: &StoreKey,
        ttl: Duration,
        cause: EntryCause,
    ) -> Result<(), ClientError> {
        let refused_if_full = if cause == EntryCause::Creation { "1" } else { "" };
        let mut command = INDEX.on([self.keys.index(principal).as_str()], 0);
        command.arg(millis(ttl + ENTRY_MARGIN)).arg(key.as_str()).arg(refused_if_full);
        let added = match cause {
            EntryCause::Extension => INDEX.run(self.connections, command, Retry::IfLost).await,
            EntryCause::Creation | EntryCause::SignIn => {
                INDEX.run_durably(self.connections, command).await
            }
        };
        added.map(drop)
    }

    /// Removes the entry of a session that no longer exists. A failure is only logged: a list
    /// ignores such an entry.
    pub(crate) async fn remove(&self, principal: &Principal, key: &StoreKey) {
        let mut command = redis::cmd("ZREMRANGEBYLEX");
        command
            .arg(self.keys.index(principal))
            .arg(["[", key.as_str(), "\t"].concat())
            .arg(["(", key.as_str(), "\n"].concat());
        if let Err(error) = self.connections.send(&Request::Single(&command), Retry::IfLost).await {
            tracing::debug!(%error, "removing an index entry of an ended session failed");
        }
    }

    /// Ends a session. With `owner`, only a session of that user.
    pub(crate) async fn delete(
        &self,
        key: &StoreKey,
        claim: Claim,
        owner: Option<&Principal>,
        durability: Durability,
    ) -> Result<DeleteResult, ClientError> {
        let flag = |set: bool| if set { "1" } else { "" };
        let waits = self.connections.waits_for_replicas() && durability == Durability::Replicas;
        let mut command = DELETE.on([self.keys.session(key).as_str()], 0);
        match claim {
            Claim::Any => command.arg(""),
            Claim::Generation(generation) => command.arg(generation),
        };
        command
            .arg(owner.map(|principal| ["=", principal.as_str()].concat()).unwrap_or_default())
            .arg(flag(!self.is_separate))
            .arg(flag(waits));
        let answer = decode::list(match durability {
            Durability::Primary => DELETE.run(self.connections, command, Retry::Never).await?,
            Durability::Replicas => DELETE.run_durably(self.connections, command).await?,
        })?;
        let deleted = match answer.first().and_then(decode::int) {
            Some(0) => Deleted::Missing,
            Some(1) => Deleted::Ended,
            Some(2) => Deleted::Superseded,
            _ => return Err(ClientError::UnexpectedAnswer("expected 0, 1 or 2 from a delete")),
        };
        let principal =
            answer.get(1).and_then(decode::text).and_then(|text| Principal::new(text).ok());
        Ok(DeleteResult { deleted, principal })
    }

    /// Ends these sessions and returns how many of them were live. With `owner`, only the sessions
    /// of that user.
    pub(crate) async fn delete_each(
        &self,
        keys: &[StoreKey],
        owner: Option<&Principal>,
    ) -> Result<u64, ClientError> {
        let delete = |key, durability| self.delete(key, Claim::Any, owner, durability);
        // First end all sessions on the primaries. Waits for replicas block each other, so they
        // come afterwards.
        let deletes = keys.iter().map(|key| delete(key, Durability::Primary)).collect();
        let results = try_join_bounded(deletes).await?;
        if self.connections.waits_for_replicas() {
            // On one server, replicas that have the last change also have all earlier ones. In a
            // Cluster each node has its own replicas. A delete with an owner changes nothing if the
            // session has another one, and then it would wait for nothing.
            let is_each = self.connections.are_of_cluster() || owner.is_some();
            let waits = if is_each { keys.len() } else { 1 };
            let last = &keys[keys.len().saturating_sub(waits)..];
            let deletes = last.iter().map(|key| delete(key, Durability::Replicas)).collect();
            try_join_bounded(deletes).await?;
        }
        let ended: Vec<_> = keys
            .iter()
            .zip(&results)
            .filter(|(_, result)| result.deleted == Deleted::Ended)
            .collect();
        let indexed = ended.iter().filter_map(|(key, result)| {
            Some((key, result.principal.as_ref().filter(|_| self.is_separate)?))
        });
        let removals = indexed.map(|(key, principal)| async {
            self.remove(principal, key).await;
            Ok::<_, ClientError>(())
        });
        try_join_bounded(removals.collect()).await?;
        Ok(ended.len() as u64)
    }

    /// One page of a user's list, if the index has its own commands.
    pub(crate) async fn list(
        &self,
        principal: &Principal,
        after: Option<&str>,
        limit: usize,
    ) -> Result<SummaryPage, ClientError> {
        let entries = self.entries(principal, after, limit).await?;
        let reads = entries.iter().map(|entry| self.summary(&entry.key, principal)).collect();
        let summaries = try_join_bounded(reads).await?;
        let next = entries
            .last()
            .filter(|_| entries.len() >= limit)
            .map(|entry| list_cursor(entry.key.as_str()));
        let (mut sessions, mut dead) = (Vec::new(), Vec::new());
        for (entry, summary) in entries.into_iter().zip(summaries) {
            match summary {
                Some(summary) => {
                    if !entry.is_valid {
                        // The index lost an extension of this session in a failover.
                        self.add(principal, &entry.key, summary.ttl, EntryCause::Extension).await?;
                    }
                    sessions.push(summary);
                }
                None if !entry.is_valid => dead.push(entry.text),
                None => {}
            }
        }
        if !dead.is_empty() {
            let mut command = redis::cmd("ZREM");
            command.arg(self.keys.index(principal)).arg(dead);
            self.connections.send(&Request::Single(&command), Retry::IfLost).await?;
        }
        Ok(SummaryPage { sessions, next })
    }

    /// Ends all sessions of a user except `except`, if the index has its own commands. Returns how
    /// many there were.
    ///
    /// One pass is enough. Entries are in the order of their keys, which no commit changes, and
    /// each session that the user has at the start has an entry.
    pub(crate) async fn delete_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, ClientError> {
        let (mut ended, mut after) = (0, None::<StoreKey>);
        loop {
            let entries =
                self.entries(principal, after.as_ref().map(StoreKey::as_str), MAX_PAGE).await?;
            let is_last = entries.len() < MAX_PAGE;
            after = entries.last().map(|entry| entry.key.clone());
            let keys: Vec<StoreKey> = entries
                .into_iter()
                .map(|entry| entry.key)
                .filter(|key| Some(key) != except)
                .collect();
            ended += self.delete_each(&keys, Some(principal)).await?;
            if is_last {
                return Ok(ended);
            }
        }
    }

    async fn entries(
        &self,
        principal: &Principal,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Entry>, ClientError> {
        let mut range = redis::cmd("ZRANGE");
        range
            .arg(self.keys.index(principal))
            .arg(after.map_or_else(|| "-".to_owned(), |key| ["(", key, "\n"].concat()));
        range.arg("+").arg("BYLEX").arg("LIMIT").arg(0).arg(limit);
        let answer = self.connections.send(&Request::WithTime(&range), Retry::IfLost).await?;
        let (range, now) = decode::answer_and_time(answer)?;
        let entry = |value: &Value| {
            let text = decode::text(value)?;
            let (key, valid_until) = text.split_once('\t')?;
            Some(Entry {
                text: text.to_owned(),
                key: StoreKey::from_text(key),
                is_valid: valid_until.parse::<u64>().ok()? >= now,
            })
        };
        Ok(decode::list(range.extract_error()?)?.iter().filter_map(entry).collect())
    }

    /// The summary of a live session of this user.
    async fn summary(
        &self,
        key: &StoreKey,
        principal: &Principal,
    ) -> Result<Option<SessionSummary>, ClientError> {
        let mut fields: Cmd = redis::cmd("HMGET");
        fields.arg(self.keys.session(key)).arg("").arg("\t").arg("\x04");
        let answer = self.connections.send(&Request::WithTime(&fields), Retry::IfLost).await?;
        let (fields, now) = decode::answer_and_time(answer)?;
        let Value::Array(fields) = fields else { return Ok(None) };
        let [head, owner, attributes] = fields.as_slice() else { return Ok(None) };
        if decode::text(owner) != Some(principal.as_str()) {
            return Ok(None);
        }
        Ok(codec::summary(key.clone(), head, attributes, now))
    }
}

/// The cursor of a list that has visited this key. It begins with a tab, and the cursor of a scan
/// begins with a digit or a letter.
pub(crate) fn list_cursor(key: &str) -> Cursor {
    Cursor::new(["\t", key].concat())
}

/// The key that a list visited last.
pub(crate) fn listed_key(cursor: &Cursor) -> Result<&str, ClientError> {
    cursor
        .as_str()
        .strip_prefix('\t')
        .filter(|key| StoreKey::from_text(key).is_storable())
        .ok_or(ClientError::InvalidCursor)
}
