//! Calls on one session: create, load, commit, delete.

use std::time::Instant;

use mongodb::{
    bson::{DateTime, RawDocument, RawDocumentBuf, doc},
    options::{ReadConcern, ReturnDocument},
};
use session_core::{
    Change, Claim, Commit, Created, Deleted, Name, NewRecord, Outcome, SecretHash, StoreKey,
    observe::retried,
};

use crate::{
    codec::{
        decode::{self, DecodedRecord, has_expired},
        expression::{creation, expires_and_now, record_and_now, with_key},
        field::{NOW, SINCE},
    },
    commit::{self, CommitAttempt},
    connect::{
        clock::{earliest, later},
        hello::server_time,
        inner::Inner,
    },
    error::{ClientError, STORE},
    index::SessionCollection,
};

/// The most attempts of one call. A further attempt happens only if another client changed the
/// session between two steps of the call.
const MAX_ATTEMPTS: usize = 8;

/// A document and the server's time at its response.
type TimedDocument = (RawDocumentBuf, DateTime);

/// How up to date the result of a read has to be.
#[derive(Debug, Clone, Copy)]
enum Freshness {
    /// As the settings and the last election require.
    Configured,
    /// The same, and the response contains the server's time.
    WithServerTime,
    /// A linearizable read: it waits until a majority has everything that the primary has.
    Linearizable,
}

impl Inner {
    /// Executes a commit on a session that does not exist. A server that lacks an operator of
    /// commits fails it, at the start and not at the first sign-in.
    pub(crate) async fn check_operators(&self) -> Result<(), ClientError> {
        let mut commit = Commit::new(SecretHash::from_bytes([0; 32]));
        for (name, change) in [("added", Change::Add(1)), ("removed", Change::Remove)] {
            if let Ok(name) = Name::new(name) {
                commit = commit.change(name, change);
            }
        }
        self.commit(&StoreKey::from_text("start"), &commit).await.map(drop)
    }

    pub(crate) async fn create(
        &self,
        key: &StoreKey,
        new: &NewRecord,
    ) -> Result<Created, ClientError> {
        let sessions = self.sessions().await?;
        for attempt in 0..MAX_ATTEMPTS {
            if attempt > 0 {
                retried(STORE);
            }
            match sessions
                .update_one(with_key(key), creation(key, new))
                .upsert(true)
                .await
                .map_err(ClientError::from)
            {
                // Two upserts of one `_id` collided. The next attempt finds the other document.
                Err(ClientError::DuplicateKey) => {}
                Err(error) => return Err(error),
                Ok(update) if update.upserted_id.is_some() || update.modified_count > 0 => {
                    return Ok(Created::New);
                }
                Ok(_) => return Ok(Created::Taken),
            }
        }
        Err(ClientError::DuplicateKey)
    }

    pub(crate) async fn load(&self, key: &StoreKey) -> Result<DecodedRecord, ClientError> {
        let has_certainly_expired = {
            let Some((document, now)) = self.find(key, Freshness::Configured).await? else {
                return Ok(Ok(None));
            };
            let found = decode::record(&document, now);
            if !matches!(found, Ok(None)) {
                return Ok(found);
            }
            has_certainly_expired(&document, now)
        };
        if has_certainly_expired && !self.start_read().await?.is_replica_set() {
            return Ok(Ok(None));
        }
        // Boxed, because this case is rare and would enlarge the future of every load.
        Box::pin(self.confirm_expiry(key)).await
    }

    /// Reads a session again that seems to have expired, for two reasons. A computed server time
    /// can be ahead by one round trip. And in a replica set, a commit may have extended the session
    /// in time but still wait for a majority: this call would report the session as expired, and
    /// the next one as alive. This read asks for the server's time, and in a replica set it is
    /// linearizable.
    async fn confirm_expiry(&self, key: &StoreKey) -> Result<DecodedRecord, ClientError> {
        let freshness = if self.start_read().await?.is_replica_set() {
            Freshness::Linearizable
        } else {
            Freshness::WithServerTime
        };
        let Some((document, now)) = self.find(key, freshness).await? else { return Ok(Ok(None)) };
        Ok(decode::record(&document, now))
    }

    async fn find(
        &self,
        key: &StoreKey,
        freshness: Freshness,
    ) -> Result<Option<TimedDocument>, ClientError> {
        loop {
            let (attempt, sessions) = self.start_read_of_sessions().await?;
            let concern = match freshness {
                Freshness::Configured | Freshness::WithServerTime => attempt.concern(),
                Freshness::Linearizable => Some(ReadConcern::linearizable()),
            };
            // A linearizable read returns the state before its wait. So the time has to come from
            // the same response, and a computed time would be too late.
            let may_compute_time = concern.is_none() && matches!(freshness, Freshness::Configured);
            let recent = self.clock.recent().filter(|_| may_compute_time);
            let mut find = sessions.find_one(with_key(key));
            if let Some(concern) = concern {
                find = find.read_concern(concern);
            }
            if recent.is_none() {
                find = find.projection(record_and_now());
            }
            let sent_at = Instant::now();
            let found = find.await?;
            if attempt.is_valid() {
                return self.with_server_time(&sessions, found, recent, sent_at).await;
            }
            retried(STORE);
        }
    }

    pub(crate) async fn commit(
        &self,
        key: &StoreKey,
        commit: &Commit,
    ) -> Result<CommitAttempt, ClientError> {
        let limit = self.config.limits.data_bytes;
        let explain = |decoded: DecodedRecord| {
            decoded.map_or_else(CommitAttempt::Corrupt, |record| {
                commit::explain(commit, record, limit)
            })
        };
        if commit.is_empty() {
            return Ok(explain(Box::pin(self.load(key)).await?));
        }
        let sessions = self.sessions().await?;
        // The marker has to differ only from that of the previous commit.
        let mark = fastrand::i64(..);
        for attempt in 0..MAX_ATTEMPTS {
            if attempt > 0 {
                retried(STORE);
            }
            let mut update =
                sessions.find_one_and_update(with_key(key), commit::pipeline(commit, limit, mark));
            let recent = self.clock.recent();
            if recent.is_none() {
                update = update.projection(record_and_now());
            }
            let sent_at = Instant::now();
            let after = update.return_document(ReturnDocument::After).await?;
            let Some((after, now)) =
                self.with_server_time(&sessions, after, recent, sent_at).await?
            else {
                return Ok(CommitAttempt::Final(Outcome::Gone));
            };
            if commit::took_effect(&after, mark) {
                let committed = commit::committed(&after, commit, now);
                return Ok(committed.map_or_else(CommitAttempt::Corrupt, |committed| {
                    CommitAttempt::Final(Outcome::Done(committed))
                }));
            }
            let mut result = explain(decode::record(&after, now));
            if recent.is_some()
                && matches!(result, CommitAttempt::Final(Outcome::Gone))
                && !has_certainly_expired(&after, now)
            {
                result = explain(Box::pin(self.confirm_expiry(key)).await?);
            }
            if !matches!(result, CommitAttempt::Retry) {
                return Ok(result);
            }
        }
        Err(changed_repeatedly())
    }

    /// Adds the server's time to a response: the time in the response, or one that was computed
    /// from the cached time `recent`. `sent_at` is when the command was sent.
    async fn with_server_time(
        &self,
        sessions: &SessionCollection,
        response: Option<RawDocumentBuf>,
        recent: Option<DateTime>,
        sent_at: Instant,
    ) -> Result<Option<TimedDocument>, ClientError> {
        let Some(document) = response else { return Ok(None) };
        if let Some(now) = recent {
            // The response may have taken long.
            return Ok(Some((document, later(now, sent_at.elapsed()))));
        }
        let Ok(now) = decode::time(&document, NOW) else {
            // A server that receives a retried write returns the stored document and does not
            // evaluate the projection, so the response has no time.
            let now = Box::pin(server_time(sessions)).await?;
            return Ok(Some((document, now)));
        };
        self.clock.update(sent_at, now);
        Ok(Some((document, now)))
    }

    pub(crate) async fn delete(
        &self,
        key: &StoreKey,
        claim: Claim,
    ) -> Result<Deleted, ClientError> {
        let sessions = self.sessions().await?;
        let mut filter = with_key(key);
        if let Claim::Generation(generation) = claim {
            // `$not` also matches a document without the field, which stands for generation 0.
            filter.insert(SINCE, doc! { "$not": { "$gt": i64::from(generation) } });
        }
        for attempt in 0..MAX_ATTEMPTS {
            if attempt > 0 {
                retried(STORE);
            }
            let deleted =
                sessions.find_one_and_delete(filter.clone()).projection(expires_and_now()).await?;
            if let Some(deleted) = deleted {
                return Ok(if has_expired(&deleted) { Deleted::Missing } else { Deleted::Ended });
            }
            let Claim::Generation(generation) = claim else { return Ok(Deleted::Missing) };
            match Box::pin(self.load(key)).await? {
                Ok(None) => return Ok(Deleted::Missing),
                Ok(Some(record)) if record.since > generation => return Ok(Deleted::Superseded),
                // The sign-in changed between the two commands.
                Ok(Some(_)) => {}
                // The generation in a corrupt record is ignored.
                Err(_) => filter = with_key(key),
            }
        }
        Err(changed_repeatedly())
    }
}

/// Whether a document has expired even if the computed time `now` is ahead of the server's clock.
fn has_certainly_expired(document: &RawDocument, now: DateTime) -> bool {
    matches!(decode::record(document, earliest(now)), Ok(None))
}

fn changed_repeatedly() -> ClientError {
    ClientError::Busy("other clients changed the session during each attempt".to_owned())
}
