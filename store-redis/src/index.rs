//! Indexes of a Cluster: a user's index lies in a slot of its own, apart from the user's sessions.
//!
//! No step spans two slots, so the order of steps carries the law that an index never misses a live session:
//!
//! 1. The index is written before the session is: it may hold a place where nothing is yet.
//! 2. What the index holds is believed only after a look at the session.
//! 3. A place is taken out only when its key is dead for good (ended or moved away), or when its time in the index is over, which is
//!    [`GRACE`] longer than the session was to live, and the session is not alive; a step that is under way meanwhile puts it in anew. What has
//!    been overdue for a day goes without a look, so that an index that nobody reads does not grow for ever.

use std::{collections::HashSet, time::Duration};

use redis::Value;
use session_core::{Listed, Principal, StoreKey};

use crate::{
    answer,
    command::{Request, millis},
    error::ClientError,
    keys::{Keys, key_at, place},
    link::{Links, Repeat},
    script::{DELETE, Durability, INDEX, PRUNE},
    together::together,
};

/// How much longer than its session a place stays in the index. Longer than any call takes.
pub(crate) const GRACE: Duration = Duration::from_secs(60);

/// The indexes of a store.
pub(crate) struct Index<'s> {
    pub(crate) links: &'s Links,
    pub(crate) keys: &'s Keys,
}

/// Whose places are put into an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sessions {
    /// Sessions that do not exist yet. A server that is full refuses them.
    New,
    /// Sessions that are kept already. They go on where there is no room for new ones.
    Kept,
}

/// What an end came to.
pub(crate) struct Ended {
    pub(crate) live: bool,
    pub(crate) principal: Option<Principal>,
}

struct Entry {
    place: String,
    /// Its time in the index is over.
    overdue: bool,
}

impl Index<'_> {
    /// Puts a place into a user's index for at least `ttl`, and [`GRACE`].
    pub(crate) async fn add(&self, principal: &Principal, place: &str, ttl: Duration, of: Sessions) -> Result<(), ClientError> {
        let mut command = INDEX.on([self.keys.index(principal).as_str()], 0);
        command.arg(millis(ttl + GRACE)).arg(if of == Sessions::New { "1" } else { "" }).arg(place);
        INDEX.run(self.links, command, Repeat::Once).await.map(drop)
    }

    /// Takes out a place whose key is dead for good. It may fail: a place too many is only passed over.
    pub(crate) async fn forget(&self, principal: &Principal, place: &str) {
        let mut command = redis::cmd("ZREM");
        command.arg(self.keys.index(principal)).arg(place);
        if let Err(error) = self.links.send(&Request::One(&command), Repeat::Once).await {
            tracing::debug!(%error, "an index keeps the place of a session that has ended");
        }
    }

    /// Ends a session, if `whose` is given only one of that user.
    pub(crate) async fn end(
        &self,
        key: &StoreKey,
        whose: Option<&Principal>,
        index_prefix: &str,
        durability: Durability,
    ) -> Result<Ended, ClientError> {
        let mut command = DELETE.on([self.keys.session(key).as_str()], 0);
        command.arg(index_prefix).arg(place(key));
        command.arg(whose.map(|principal| ["=", principal.as_str()].concat()).unwrap_or_default());
        command.arg(if self.links.waits() && durability == Durability::Replicas { "1" } else { "" });
        let answer = answer::list(match durability {
            Durability::Primary => DELETE.run(self.links, command, Repeat::Never).await?,
            Durability::Replicas => DELETE.run_durably(self.links, command).await?,
        })?;
        let live = answer.first().and_then(answer::int).ok_or(ClientError::Answer("an end answers with a number"))? == 1;
        let principal = answer.get(1).and_then(answer::text).and_then(|text| Principal::new(text).ok());
        Ok(Ended { live, principal })
    }

    /// The live sessions of a user.
    pub(crate) async fn list(&self, principal: &Principal) -> Result<Vec<Listed>, ClientError> {
        let entries = self.entries(principal).await?;
        let looked = together(entries.iter().map(|entry| self.look(&entry.place, principal)).collect()).await?;
        let (mut listed, mut dead) = (Vec::new(), Vec::new());
        for (entry, live) in entries.iter().zip(looked) {
            match live {
                Some(live) => {
                    if entry.overdue {
                        // It was extended, and the index did not learn of it.
                        self.add(principal, &entry.place, live.ttl, Sessions::Kept).await?;
                    }
                    listed.push(live);
                }
                None if entry.overdue => dead.push(entry.place.as_str()),
                None => {}
            }
        }
        self.prune(principal, &dead).await?;
        Ok(listed)
    }

    /// Ends the sessions of a user but `except`, and says how many there were.
    ///
    /// A session that is being rotated meanwhile is in the index under its new place before its old key dies. So when a look at all places has
    /// found no new one, whatever was the user's at the beginning is dead.
    pub(crate) async fn end_all(&self, principal: &Principal, except: Option<&str>) -> Result<u64, ClientError> {
        let (mut seen, mut ended) = (HashSet::new(), 0);
        loop {
            let entries = self.entries(principal).await?;
            let fresh = entries.into_iter().map(|entry| entry.place);
            let fresh: Vec<String> = fresh.filter(|place| Some(place.as_str()) != except && seen.insert(place.clone())).collect();
            if fresh.is_empty() {
                return Ok(ended);
            }
            let keys: Vec<StoreKey> = fresh.iter().filter_map(|place| key_at(place)).collect();
            let end = |durability| together(keys.iter().map(|key| self.end(key, Some(principal), "", durability)).collect());
            // All are to end now; only then it is waited for replicas, if it is, and one after the other.
            let ends = end(Durability::Primary).await?;
            if self.links.waits() {
                end(Durability::Replicas).await?;
            }
            let gone: Vec<String> = keys.iter().zip(ends).filter(|(_, end)| end.live).map(|(key, _)| place(key)).collect();
            ended += gone.len() as u64;
            if !gone.is_empty() {
                let mut command = redis::cmd("ZREM");
                command.arg(self.keys.index(principal)).arg(gone);
                self.links.send(&Request::One(&command), Repeat::Once).await?;
            }
        }
    }

    async fn entries(&self, principal: &Principal) -> Result<Vec<Entry>, ClientError> {
        let mut range = redis::cmd("ZRANGE");
        range.arg(self.keys.index(principal)).arg(0).arg(-1).arg("WITHSCORES");
        let (range, now) = answer::timed(self.links.send(&Request::Timed(&range), Repeat::Once).await?)?;
        let entry = |pair: Value| {
            let Value::Array(pair) = pair else { return None };
            let [place, Value::Double(due)] = pair.as_slice() else { return None };
            // Milliseconds are exact in a double for longer than anybody will run this.
            #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 have far fewer than 53 bits")]
            Some(Entry { place: answer::text(place)?.to_owned(), overdue: *due < now as f64 })
        };
        Ok(answer::list(range.extract_error()?)?.into_iter().filter_map(entry).collect())
    }

    async fn look(&self, place: &str, principal: &Principal) -> Result<Option<Listed>, ClientError> {
        let mut fields = redis::cmd("HMGET");
        fields.arg(self.keys.at(place)).arg("").arg("\t");
        let (fields, now) = answer::timed(self.links.send(&Request::Timed(&fields), Repeat::Once).await?)?;
        let Value::Array(fields) = fields else { return Ok(None) };
        let theirs = fields.get(1).and_then(answer::text) == Some(principal.as_str());
        Ok(fields.first().filter(|_| theirs).and_then(|head| answer::listed(place, head, now)))
    }

    async fn prune(&self, principal: &Principal, places: &[&str]) -> Result<(), ClientError> {
        for places in places.chunks(1000) {
            let mut command = PRUNE.on([self.keys.index(principal).as_str()], 0);
            command.arg(places);
            PRUNE.run(self.links, command, Repeat::Once).await?;
        }
        Ok(())
    }
}
