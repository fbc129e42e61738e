//! Indexes of a Cluster: a user's index is in one slot, and the user's sessions are in others.
//!
//! No step spans two slots, so the order of steps carries the law that an index never misses a live
//! session:
//!
//! 1. The index is written before the session is. It may hold an entry of a session that is not
//!    there yet.
//! 2. A list shows an entry only after a look at the session.
//! 3. An entry goes only when its session is dead for good: it has ended or changed its user, or
//!    the entry no longer counts and a look found no session. An entry counts for [`MARGIN`] longer
//!    than the session was to live. Entries that stopped to count a day ago go without a look, when
//!    another session of the user is entered, so that an index that no call reads does not grow for
//!    ever.
//!
//! An entry's text has the time until which it counts. One that was prolonged meanwhile is another
//! text, so a late removal misses it.

use std::time::Duration;

use redis::{Cmd, Value};
use session_core::{Claim, Deleted, Principal, SessionSummary, StoreKey, SummaryPage};

use crate::{
    answer,
    command::{Request, millis},
    error::ClientError,
    keys::Keys,
    link::{Links, Repeat},
    scan::{MOST, list_cursor},
    script::{DELETE, Durability, INDEX},
    together::together,
};

/// How much longer than its session an entry counts. Longer than any call takes.
pub(crate) const MARGIN: Duration = Duration::from_secs(60);

/// The sessions of a store, as far as their ends and their indexes go.
#[derive(Clone, Copy)]
pub(crate) struct Index<'s> {
    pub(crate) links: &'s Links,
    pub(crate) keys: &'s Keys,
    pub(crate) apart: bool,
}

/// What leads to an entry of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A session that does not exist yet. A full server refuses it.
    Creation,
    /// An existing session changes its user. It goes on where there is no room for new ones.
    SignIn,
    /// A session lives longer.
    Extension,
}

/// What an end came to.
pub(crate) struct Ended {
    pub(crate) deleted: Deleted,
    pub(crate) principal: Option<Principal>,
}

struct Entry {
    text: String,
    key: StoreKey,
    /// It no longer counts.
    overdue: bool,
}

impl Index<'_> {
    /// Puts a session into a user's index for at least `ttl`, and [`MARGIN`].
    pub(crate) async fn add(
        &self,
        principal: &Principal,
        key: &StoreKey,
        ttl: Duration,
        cause: Cause,
    ) -> Result<(), ClientError> {
        let mut command = INDEX.on([self.keys.index(principal).as_str()], 0);
        command.arg(millis(ttl + MARGIN)).arg(key.as_str()).arg(if cause == Cause::Creation {
            "1"
        } else {
            ""
        });
        let added = match cause {
            Cause::Extension => INDEX.run(self.links, command, Repeat::Once).await,
            Cause::Creation | Cause::SignIn => INDEX.run_durably(self.links, command).await,
        };
        added.map(drop)
    }

    /// Takes out a session that is dead for good. It may fail: an entry too many is only passed
    /// over.
    pub(crate) async fn forget(&self, principal: &Principal, key: &StoreKey) {
        let mut command = redis::cmd("ZREMRANGEBYLEX");
        command
            .arg(self.keys.index(principal))
            .arg(["[", key.as_str(), "\t"].concat())
            .arg(["(", key.as_str(), "\n"].concat());
        if let Err(error) = self.links.send(&Request::One(&command), Repeat::Once).await {
            tracing::debug!(%error, "an index keeps the entry of a session that has ended");
        }
    }

    /// Ends a session, if `whose` is given only one of that user.
    pub(crate) async fn end(
        &self,
        key: &StoreKey,
        claim: Claim,
        whose: Option<&Principal>,
        durability: Durability,
    ) -> Result<Ended, ClientError> {
        let mut command = DELETE.on([self.keys.session(key).as_str()], 0);
        match claim {
            Claim::Any => command.arg(""),
            Claim::Generation(generation) => command.arg(generation),
        };
        command.arg(whose.map(|principal| ["=", principal.as_str()].concat()).unwrap_or_default());
        command.arg(if self.apart { "" } else { "1" });
        command.arg(if self.links.waits() && durability == Durability::Replicas {
            "1"
        } else {
            ""
        });
        let answer = answer::list(match durability {
            Durability::Primary => DELETE.run(self.links, command, Repeat::Never).await?,
            Durability::Replicas => DELETE.run_durably(self.links, command).await?,
        })?;
        let deleted = match answer.first().and_then(answer::int) {
            Some(0) => Deleted::Missing,
            Some(1) => Deleted::Ended,
            Some(2) => Deleted::Superseded,
            _ => return Err(ClientError::Answer("an end answers with 0, 1 or 2")),
        };
        let principal =
            answer.get(1).and_then(answer::text).and_then(|text| Principal::new(text).ok());
        Ok(Ended { deleted, principal })
    }

    /// Ends these sessions, if `whose` is given only those of that user, and says how many live
    /// ones there were.
    pub(crate) async fn end_each(
        &self,
        keys: &[StoreKey],
        whose: Option<&Principal>,
    ) -> Result<u64, ClientError> {
        let end = |key, durability| self.end(key, Claim::Any, whose, durability);
        // All end now. Only then it waits for replicas, if at all, because those waits go one after
        // the other.
        let ends = together(keys.iter().map(|key| end(key, Durability::Primary)).collect()).await?;
        if self.links.waits() {
            // Replicas of one server have what came before the last end once they have that. Nodes
            // of a Cluster have replicas of their own.
            let last = keys.len().saturating_sub(if self.apart { keys.len() } else { 1 });
            together(keys[last..].iter().map(|key| end(key, Durability::Replicas)).collect())
                .await?;
        }
        let ended: Vec<_> =
            keys.iter().zip(&ends).filter(|(_, end)| end.deleted == Deleted::Ended).collect();
        let indexed = ended
            .iter()
            .filter_map(|(key, end)| Some((key, end.principal.as_ref().filter(|_| self.apart)?)));
        let forget = indexed.map(|(key, principal)| async {
            self.forget(principal, key).await;
            Ok::<_, ClientError>(())
        });
        together(forget.collect()).await?;
        Ok(ended.len() as u64)
    }

    /// One page of a list.
    pub(crate) async fn list(
        &self,
        principal: &Principal,
        after: Option<&str>,
        limit: usize,
    ) -> Result<SummaryPage, ClientError> {
        let entries = self.entries(principal, after, limit).await?;
        let looked =
            together(entries.iter().map(|entry| self.look(&entry.key, principal)).collect())
                .await?;
        let next = entries
            .last()
            .filter(|_| entries.len() >= limit)
            .map(|entry| list_cursor(entry.key.as_str()));
        let (mut sessions, mut dead) = (Vec::new(), Vec::new());
        for (entry, live) in entries.into_iter().zip(looked) {
            match live {
                Some(live) => {
                    if entry.overdue {
                        // The index lost the extension of this session in a failover.
                        self.add(principal, &entry.key, live.ttl, Cause::Extension).await?;
                    }
                    sessions.push(live);
                }
                None if entry.overdue => dead.push(entry.text),
                None => {}
            }
        }
        if !dead.is_empty() {
            let mut command = redis::cmd("ZREM");
            command.arg(self.keys.index(principal)).arg(dead);
            self.links.send(&Request::One(&command), Repeat::Once).await?;
        }
        Ok(SummaryPage { sessions, next })
    }

    /// Ends the sessions of a user but `except`, and says how many there were.
    ///
    /// One pass is enough: entries are in the order of keys, which no commit changes, and whatever
    /// is the user's at the beginning has an entry.
    pub(crate) async fn end_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, ClientError> {
        let (mut ended, mut after) = (0, None::<StoreKey>);
        loop {
            let entries =
                self.entries(principal, after.as_ref().map(StoreKey::as_str), MOST).await?;
            let is_last = entries.len() < MOST;
            after = entries.last().map(|entry| entry.key.clone());
            let keys: Vec<StoreKey> = entries
                .into_iter()
                .map(|entry| entry.key)
                .filter(|key| Some(key) != except)
                .collect();
            ended += self.end_each(&keys, Some(principal)).await?;
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
        let (range, now) =
            answer::timed(self.links.send(&Request::Timed(&range), Repeat::Once).await?)?;
        let entry = |value: &Value| {
            let (key, counts_until) = answer::text(value)?.split_once('\t')?;
            let overdue = counts_until.parse::<u64>().ok()? < now;
            Some(Entry {
                text: answer::text(value)?.to_owned(),
                key: StoreKey::from_text(key),
                overdue,
            })
        };
        Ok(answer::list(range.extract_error()?)?.iter().filter_map(entry).collect())
    }

    async fn look(
        &self,
        key: &StoreKey,
        principal: &Principal,
    ) -> Result<Option<SessionSummary>, ClientError> {
        let mut fields: Cmd = redis::cmd("HMGET");
        fields.arg(self.keys.session(key)).arg("").arg("\t").arg("\x04");
        let (fields, now) =
            answer::timed(self.links.send(&Request::Timed(&fields), Repeat::Once).await?)?;
        let Value::Array(fields) = fields else { return Ok(None) };
        let [head, user, attributes] = fields.as_slice() else { return Ok(None) };
        let theirs = answer::text(user) == Some(principal.as_str());
        Ok(if theirs { answer::summary(key.clone(), head, attributes, now) } else { None })
    }
}
