//! The calls that concern one session.

use std::{borrow::Cow, collections::BTreeMap};

use session_core::{
    Claim, Commit, Created, Deleted, NewRecord, Outcome, StoreKey, observe::retried,
};

use crate::{
    STORE,
    commit::{self, Committing, Statements},
    data::object,
    error::ClientError,
    inner::Inner,
    record::{Columns, Loaded},
    statement::{Arg, Statement},
};

/// How often a commit is tried. Every try after the first means that the session changed in
/// between, such that the commit fits again.
const TRIES: usize = 32;

/// The generation that reaches every session.
const ANY: i64 = i64::MAX;

impl Inner {
    pub(crate) async fn create(
        &self,
        key: &StoreKey,
        new: &NewRecord,
    ) -> Result<Created, ClientError> {
        let args = [
            Arg::bytes(key.as_str()),
            Arg::text(object(&new.data)),
            Arg::number(new.version),
            Arg::bytes(new.secret.as_bytes()),
            Arg::number(new.generation),
            Arg::number(new.since),
            Arg::number(new.age.as_millis()),
            new.authenticated.map_or(Arg::Integer(None), |age| Arg::number(age.as_millis())),
            new.principal
                .as_ref()
                .map_or(Arg::Bytes(None), |principal| Arg::bytes(principal.as_str())),
            Arg::text(new.attributes.to_text()),
            Arg::number(new.ttl.as_millis()),
        ];
        let written = self.write(&Statement::new(&self.texts.create, args), None).await?;
        Ok(if written.affected > 0 && !written.is_marked { Created::New } else { Created::Taken })
    }

    pub(crate) async fn load(&self, key: &StoreKey) -> Result<Loaded, ClientError> {
        let rows = self.rows(&Statement::new(&self.texts.load, [Arg::bytes(key.as_str())])).await?;
        rows.first().map_or(Ok(Ok(None)), |row| Ok(Columns::of(row)?.record()))
    }

    pub(crate) async fn commit(
        &self,
        key: &StoreKey,
        commit: &Commit,
    ) -> Result<Committing, ClientError> {
        let (sql, cap) = (self.engine.dialect().sql(), self.config.limits.data_bytes);
        let mut next = commit::is_one_statement(sql, commit, cap)
            .then(|| (Cow::Borrowed(commit), BTreeMap::new()));
        for attempt in 0..TRIES {
            let (fitting, added) = match next.take() {
                Some(first) => first,
                None => match self.judge(key, commit).await? {
                    Committing::Whole(whole, added) => {
                        if attempt > 0 {
                            retried(STORE);
                        }
                        (Cow::Owned(*whole), added)
                    }
                    settled => return Ok(settled),
                },
            };
            let Statements { change, answer } =
                Statements::new(sql, &self.texts.table, key, &fitting, cap);
            let rows = match self.write(&change, answer.as_ref()).await {
                Ok(written) => written.rows,
                Err(ClientError::Unreadable) => continue,
                Err(error) => return Err(error),
            };
            if let Some(row) = rows.first() {
                return Ok(match commit::committed(row, &fitting)? {
                    Ok(mut committed) => {
                        committed.added.extend(added);
                        Committing::Settled(Outcome::Done(committed))
                    }
                    Err(unreadable) => Committing::Corrupt(unreadable),
                });
            }
        }
        Err(ClientError::Again("the session changed each time".to_owned()))
    }

    /// What a commit comes to, judged by the record as it is now.
    async fn judge(&self, key: &StoreKey, commit: &Commit) -> Result<Committing, ClientError> {
        Ok(match self.load(key).await? {
            Ok(record) => commit::explain(commit, record.as_ref(), self.config.limits.data_bytes),
            Err(unreadable) => Committing::Corrupt(unreadable),
        })
    }

    pub(crate) async fn delete(
        &self,
        key: &StoreKey,
        claim: Claim,
    ) -> Result<Deleted, ClientError> {
        let mut reach = match claim {
            Claim::Any => ANY,
            Claim::Generation(generation) => generation.into(),
        };
        loop {
            let deleted = self
                .end(&self.texts.delete, [Arg::bytes(key.as_str()), Arg::number(reach)])
                .await?;
            if deleted.live > 0 {
                return Ok(Deleted::Ended);
            }
            if deleted.rows > 0 || reach == ANY {
                return Ok(Deleted::Missing);
            }
            match self.load(key).await? {
                Ok(None) => return Ok(Deleted::Missing),
                Ok(Some(record)) if i64::from(record.since) > reach => {
                    return Ok(Deleted::Superseded);
                }
                // The principal changed in between, and the claim reaches the session now.
                Ok(Some(_)) => retried(STORE),
                // Every claim ends a record that cannot be read.
                Err(_) => reach = ANY,
            }
        }
    }
}
