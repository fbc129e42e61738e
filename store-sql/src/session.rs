//! The calls that are about one session.

use std::{borrow::Cow, collections::BTreeMap};

use session_core::{Change, Commit, Created, NewRecord, Outcome, StoreKey, observe::retried};

use crate::{
    STORE,
    commit::{self, Committing},
    data::object,
    error::ClientError,
    inner::Inner,
    record::{self, Stored, millis},
    statement::{Arg, Statement},
};

/// How often a call is tried. Every time after the first means that the session changed, just so that the call fits again.
const TRIES: usize = 32;

impl Inner {
    pub(crate) async fn create(&self, key: &StoreKey, new: &NewRecord) -> Result<Created, ClientError> {
        let principal = new.principal.as_ref().map_or(Arg::NoBytes, |principal| Arg::bytes(principal.as_str()));
        let args = vec![
            Arg::bytes(key.as_str()),
            Arg::Text(object(&new.data).into()),
            Arg::Integer(millis(new.ttl)),
            principal,
            Arg::Text(new.lifetime.to_text().into()),
        ];
        let insert = Statement::new(&self.texts.create, args);
        for attempt in 0..TRIES {
            if attempt > 0 {
                retried(STORE);
            }
            match self.change(&insert).await {
                // Where it says so by an error, a row whose time is over is still in the way.
                Err(ClientError::Taken) if self.make_room(key).await? => {}
                Err(ClientError::Taken) | Ok(0) => return Ok(Created::Taken),
                Ok(_) => return Ok(Created::New),
                Err(error) => return Err(error),
            }
        }
        Err(ClientError::Taken)
    }

    /// Whether no row has the key any more: one whose time is over is deleted.
    async fn make_room(&self, key: &StoreKey) -> Result<bool, ClientError> {
        let of_key = |text| Statement::new(text, vec![Arg::bytes(key.as_str())]);
        if self.change(&of_key(&self.texts.make_room)).await? > 0 {
            return Ok(true);
        }
        Ok(self.rows(&of_key(&self.texts.exists)).await?.is_empty())
    }

    pub(crate) async fn load(&self, key: &StoreKey) -> Result<Stored, ClientError> {
        let rows = self.rows(&Statement::new(&self.texts.load, vec![Arg::bytes(key.as_str())])).await?;
        rows.first().map_or(Ok(Ok(None)), record::record)
    }

    pub(crate) async fn commit(&self, key: &StoreKey, commit: &Commit) -> Result<Committing, ClientError> {
        let cap = self.config.limits.data_bytes;
        let sums = commit.changes.values().any(|change| matches!(change, Change::Add(_)));
        // What needs the record first, or has no statement, is worked out from it.
        let too_large = commit.clear && sums && commit::kept(commit).bytes() > cap;
        let mut next = if commit.is_empty() || !commit::is_one_statement(self.engine.dialect(), commit) || too_large {
            match self.whole(key, commit).await? {
                Committing::Whole(whole, added) => (Cow::Owned(*whole), added),
                settled => return Ok(settled),
            }
        } else {
            (Cow::Borrowed(commit), BTreeMap::new())
        };
        for attempt in 0..TRIES {
            if attempt > 0 {
                retried(STORE);
            }
            let (now, added) = &next;
            match self.change_one(&self.target(key).statements(now, cap)).await {
                Ok(Some(row)) => {
                    return Ok(match commit::committed(&row, now)? {
                        Ok(mut committed) => {
                            committed.added.extend(added.iter().map(|(name, sum)| (name.clone(), *sum)));
                            Committing::Settled(Outcome::Done(committed))
                        }
                        Err(unreadable) => Committing::Corrupt(unreadable),
                    });
                }
                Ok(None) | Err(ClientError::Taken | ClientError::Unreadable) => {}
                Err(error) => return Err(error),
            }
            next = match self.whole(key, commit).await? {
                Committing::Whole(whole, added) => (Cow::Owned(*whole), added),
                settled => return Ok(settled),
            };
            if let Some(target) = commit.move_to.as_ref().filter(|target| *target != key)
                && !self.make_room(target).await?
            {
                return Ok(Committing::Settled(Outcome::Conflict));
            }
        }
        Err(ClientError::Again("the session changed each time".to_owned()))
    }

    /// What a commit comes to, by the record as it is now.
    async fn whole(&self, key: &StoreKey, commit: &Commit) -> Result<Committing, ClientError> {
        Ok(match self.load(key).await? {
            Ok(record) => commit::explain(commit, record.as_ref(), self.config.limits.data_bytes),
            Err(unreadable) => Committing::Corrupt(unreadable),
        })
    }

    pub(crate) async fn delete(&self, key: &StoreKey) -> Result<bool, ClientError> {
        Ok(self.delete_living(&Statement::new(&self.texts.delete, vec![Arg::bytes(key.as_str())])).await? > 0)
    }
}
