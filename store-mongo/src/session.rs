//! The calls that are about one session.

use std::time::Instant;

use mongodb::{
    bson::{DateTime, RawDocument, RawDocumentBuf, doc},
    options::{ReadConcern, ReturnDocument},
};
use session_core::{
    Claim, Commit, Created, Deleted, NewRecord, Outcome, Record, StoreKey, observe::retried,
};

use crate::{
    STORE,
    clients::Sessions,
    clock::{earlier, later},
    commit::{self, Committing},
    document::{self, Unreadable, creation, has_expired, record_and_now, with_key},
    error::ClientError,
    field::{EXPIRES, NOW, SINCE},
    index::server_time,
    inner::Inner,
};

/// How often a call is tried. Each time after the first means that the session changed just so that
/// the call fits again.
const TRIES: usize = 8;

/// What a document holds: nothing that lives, a record, or something else.
pub(crate) type Found = Result<Option<Record>, Unreadable>;

/// A document, and the server's time.
type Dated = (RawDocumentBuf, DateTime);

/// What a read waits for.
#[derive(Debug, Clone, Copy)]
enum Waits {
    /// What the settings and elections ask for.
    AsSet,
    /// The same, and the server tells the time.
    ForTheTime,
    /// A majority that has all that the primary has.
    ForThePrimary,
}

impl Inner {
    pub(crate) async fn create(
        &self,
        key: &StoreKey,
        new: &NewRecord,
    ) -> Result<Created, ClientError> {
        let sessions = self.ready().await?;
        for attempt in 0..TRIES {
            if attempt > 0 {
                retried(STORE);
            }
            match sessions
                .update_one(with_key(key), creation(key, new))
                .upsert(true)
                .await
                .map_err(ClientError::from)
            {
                // Two upserts of one `_id` met. This one finds the document of the other now.
                Err(ClientError::Taken) => {}
                Err(error) => return Err(error),
                Ok(update) if update.upserted_id.is_some() || update.modified_count > 0 => {
                    return Ok(Created::New);
                }
                Ok(_) => return Ok(Created::Taken),
            }
        }
        Err(ClientError::Taken)
    }

    pub(crate) async fn load(&self, key: &StoreKey) -> Result<Found, ClientError> {
        let certainly = {
            let Some((document, now)) = self.look(key, Waits::AsSet).await? else {
                return Ok(Ok(None));
            };
            let found = document::record(&document, now);
            if !matches!(found, Ok(None)) {
                return Ok(found);
            }
            has_certainly_expired(&document, now)
        };
        if certainly && !self.reading().await?.is_of_a_set() {
            return Ok(Ok(None));
        }
        // Seldom, and so in a box.
        Box::pin(self.load_again(key)).await
    }

    /// Looks again at a session that seems to have expired. The time was computed, which can be
    /// ahead of the server's by a round trip. And by what a majority has, a commit may have
    /// extended it in time and still wait for that majority: the session would be over to this
    /// call, and alive to the next one. This look asks for the time, and waits for whatever the
    /// primary has.
    async fn load_again(&self, key: &StoreKey) -> Result<Found, ClientError> {
        let waits = if self.reading().await?.is_of_a_set() {
            Waits::ForThePrimary
        } else {
            Waits::ForTheTime
        };
        let Some((document, now)) = self.look(key, waits).await? else { return Ok(Ok(None)) };
        Ok(document::record(&document, now))
    }

    async fn look(&self, key: &StoreKey, waits: Waits) -> Result<Option<Dated>, ClientError> {
        let sessions = self.ready().await?;
        loop {
            let reading = self.reading().await?;
            let concern = match waits {
                Waits::AsSet | Waits::ForTheTime => reading.concern(),
                Waits::ForThePrimary => Some(ReadConcern::linearizable()),
            };
            // A read that waits shows the state before its wait, and must be judged by the time of
            // that.
            let recent =
                self.clock.recent().filter(|_| concern.is_none() && matches!(waits, Waits::AsSet));
            let mut find = sessions.find_one(with_key(key));
            if let Some(concern) = concern {
                find = find.read_concern(concern);
            }
            if recent.is_none() {
                find = find.projection(record_and_now());
            }
            let asked = Instant::now();
            let found = find.await?;
            if reading.counts() {
                return self.dated(&sessions, found, recent, asked).await;
            }
            retried(STORE);
        }
    }

    pub(crate) async fn commit(
        &self,
        key: &StoreKey,
        commit: &Commit,
    ) -> Result<Committing, ClientError> {
        let cap = self.config.limits.data_bytes;
        let explained = |found: Found| {
            found.map_or_else(Committing::Corrupt, |record| commit::explain(commit, record, cap))
        };
        if commit.is_empty() {
            return Ok(explained(Box::pin(self.load(key)).await?));
        }
        let sessions = self.ready().await?;
        // Any number that the last commit did not leave will do.
        let mark = fastrand::i64(..);
        for attempt in 0..TRIES {
            if attempt > 0 {
                retried(STORE);
            }
            let mut update =
                sessions.find_one_and_update(with_key(key), commit::pipeline(commit, cap, mark));
            let recent = self.clock.recent();
            if recent.is_none() {
                update = update.projection(record_and_now());
            }
            let asked = Instant::now();
            let after = update.return_document(ReturnDocument::After).await?;
            let Some((after, now)) = self.dated(&sessions, after, recent, asked).await? else {
                return Ok(Committing::Settled(Outcome::Gone));
            };
            if commit::took_effect(&after, mark) {
                let committed = commit::committed(&after, commit, now);
                return Ok(committed.map_or_else(Committing::Corrupt, |committed| {
                    Committing::Settled(Outcome::Done(committed))
                }));
            }
            let mut why = explained(document::record(&after, now));
            if recent.is_some()
                && matches!(why, Committing::Settled(Outcome::Gone))
                && !has_certainly_expired(&after, now)
            {
                why = explained(Box::pin(self.load_again(key)).await?);
            }
            if !matches!(why, Committing::Again) {
                return Ok(why);
            }
        }
        Err(changed_again())
    }

    /// The answer to a call, and the server's time: the one that it computed, or a recent one and
    /// the time that has passed since.
    async fn dated(
        &self,
        sessions: &Sessions,
        answer: Option<RawDocumentBuf>,
        recent: Option<DateTime>,
        asked: Instant,
    ) -> Result<Option<Dated>, ClientError> {
        let Some(document) = answer else { return Ok(None) };
        if let Some(now) = recent {
            // The answer may have taken long.
            return Ok(Some((document, later(now, asked.elapsed()))));
        }
        let Ok(now) = document::time(&document, NOW) else {
            // A server that gets a write twice sends what it noted the first time, and computes
            // nothing.
            let now = Box::pin(server_time(sessions)).await?;
            return Ok(Some((document, now)));
        };
        self.clock.note(asked, now);
        Ok(Some((document, now)))
    }

    pub(crate) async fn delete(
        &self,
        key: &StoreKey,
        claim: Claim,
    ) -> Result<Deleted, ClientError> {
        let sessions = self.ready().await?;
        let mut filter = with_key(key);
        if let Claim::Generation(generation) = claim {
            // Also true of a document without such a number.
            filter.insert(SINCE, doc! { "$not": { "$gt": i64::from(generation) } });
        }
        for attempt in 0..TRIES {
            if attempt > 0 {
                retried(STORE);
            }
            let deleted = sessions
                .find_one_and_delete(filter.clone())
                .projection(doc! { EXPIRES: 1, NOW: "$$NOW" })
                .await?;
            if let Some(deleted) = deleted {
                return Ok(if has_expired(&deleted) { Deleted::Missing } else { Deleted::Ended });
            }
            let Claim::Generation(generation) = claim else { return Ok(Deleted::Missing) };
            match Box::pin(self.load(key)).await? {
                Ok(None) => return Ok(Deleted::Missing),
                Ok(Some(record)) if record.since > generation => return Ok(Deleted::Superseded),
                // The principal changed meanwhile.
                Ok(Some(_)) => {}
                // What a corrupt record says of its principal does not count.
                Err(_) => filter = with_key(key),
            }
        }
        Err(changed_again())
    }
}

/// Whether a document has expired even if `now` is ahead of the server's time.
fn has_certainly_expired(document: &RawDocument, now: DateTime) -> bool {
    matches!(document::record(document, earlier(now)), Ok(None))
}

fn changed_again() -> ClientError {
    ClientError::Busy("the session changed again and again".to_owned())
}
