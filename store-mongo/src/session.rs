//! The calls that are about one session.

use std::time::Instant;

use mongodb::{
    bson::{DateTime, Document, RawDocumentBuf, doc, oid::ObjectId},
    options::{Hint, ReadConcern, ReturnDocument},
};
use session_core::{Commit, Created, Guard, NewRecord, Outcome, Record, StoreKey, observe::retried};

use crate::{
    STORE,
    address::Address,
    clients::Sessions,
    clock::later,
    commit::{self, Committing},
    document::{self, Head, Unreadable, creation, expired, is_of, record_and_now, with_key},
    error::ClientError,
    field::{EXPIRES, FORMAT, ID, NOW},
    index::{Deployment, by_key},
    inner::Inner,
};

/// How often a call is tried. Every time after the first means that the session changed, just so that the call fits again.
const TRIES: usize = 8;

/// What is stored: nothing that lives, a record, or something else.
pub(crate) type Stored = Result<Option<Record>, Unreadable>;

/// What a read waits for.
#[derive(Debug, Clone, Copy)]
enum Waits {
    /// Whatever the settings and elections say.
    AsItHasTo,
    /// A majority that has all that the primary has.
    ForThePrimary,
}

impl Inner {
    /// Where the key's document lies, if that is known and of use.
    fn address(&self, key: &StoreKey, deployment: Deployment) -> Option<Address> {
        self.addresses.of(key).filter(|_| deployment == Deployment::Whole)
    }

    fn remember(&self, key: &StoreKey, document: &RawDocumentBuf) {
        if let Some(address) = document::address(document) {
            self.addresses.put(key, address);
        }
    }

    pub(crate) async fn create(&self, key: &StoreKey, new: &NewRecord) -> Result<Created, ClientError> {
        let (sessions, _) = self.ready().await?;
        for attempt in 0..TRIES {
            if attempt > 0 {
                retried(STORE);
            }
            // Nothing has this `_id`, so this inserts or fails, and is no change of anything: an insert as such cannot tell the time. The hint
            // makes it fail where no index keeps keys apart.
            let id = ObjectId::new();
            let mut nobody = with_key(key);
            nobody.insert(ID, id);
            match sessions.update_one(nobody, creation(key, new)).upsert(true).hint(by_key()).await.map_err(ClientError::from) {
                Err(ClientError::Taken) if self.make_room(&sessions, key).await? => {}
                Err(ClientError::Taken) => return Ok(Created::Taken),
                Err(error) => return Err(error),
                Ok(_) => {
                    self.addresses.put(key, Address { id, small: document::is_small(new.data.bytes()) });
                    return Ok(Created::New);
                }
            }
        }
        // Each time a document had the key, and none had it a moment later; or an index that is none of these keeps the new one out.
        Err(ClientError::Taken)
    }

    /// Whether no document has the key any more: one whose time is over is deleted.
    async fn make_room(&self, sessions: &Sessions, key: &StoreKey) -> Result<bool, ClientError> {
        let mut leftover = with_key(key);
        leftover.insert(FORMAT, document::CURRENT);
        leftover.extend(expired());
        if sessions.delete_one(leftover).hint(by_key()).await?.deleted_count > 0 {
            return Ok(true);
        }
        // What is in the way is what the primary has, whether a majority has it or not.
        let there = sessions.find_one(with_key(key)).projection(doc! { ID: 1 }).hint(by_key()).read_concern(ReadConcern::local()).await?;
        Ok(there.is_none())
    }

    pub(crate) async fn load(&self, key: &StoreKey) -> Result<Stored, ClientError> {
        {
            let Some((document, now)) = self.look(key, Waits::AsItHasTo).await? else { return Ok(Ok(None)) };
            let stored = document::record(&document, now);
            if !matches!(stored, Ok(None)) {
                return Ok(stored);
            }
        }
        // Seldom, and so in a box.
        Box::pin(self.load_again(key)).await
    }

    /// Looks at a session whose time is over by what a majority has. A commit may have given it more in time and still wait for that
    /// majority: the session would be over to this call, and live to the next one. This look waits for whatever the primary has.
    async fn load_again(&self, key: &StoreKey) -> Result<Stored, ClientError> {
        if !self.reading().await?.is_of_a_set() {
            return Ok(Ok(None));
        }
        let Some((document, now)) = self.look(key, Waits::ForThePrimary).await? else { return Ok(Ok(None)) };
        Ok(document::record(&document, now))
    }

    /// The key's document, and the server's time.
    async fn look(&self, key: &StoreKey, waits: Waits) -> Result<Option<(RawDocumentBuf, DateTime)>, ClientError> {
        let (sessions, deployment) = self.ready().await?;
        if let Some(address) = self.address(key, deployment) {
            match self.find(&sessions, doc! { ID: address.id }, None, waits).await? {
                Some((document, now)) if is_of(&document, key) => return Ok(Some((document, now))),
                // It has moved or ended. There may be another one, if the key was used once more.
                _ => self.addresses.forget(key),
            }
        }
        let found = self.find(&sessions, with_key(key), Some(by_key()), waits).await?;
        if let Some((document, _)) = &found {
            self.remember(key, document);
        }
        Ok(found)
    }

    /// A document, and the server's time.
    async fn find(
        &self,
        sessions: &Sessions,
        filter: Document,
        hint: Option<Hint>,
        waits: Waits,
    ) -> Result<Option<(RawDocumentBuf, DateTime)>, ClientError> {
        loop {
            let reading = self.reading().await?;
            let concern = match waits {
                Waits::AsItHasTo => reading.concern(),
                Waits::ForThePrimary => Some(ReadConcern::linearizable()),
            };
            let found = self.find_once(sessions, filter.clone(), hint.clone(), concern).await?;
            if reading.counts() {
                return Ok(found);
            }
            retried(STORE);
        }
    }

    async fn find_once(
        &self,
        sessions: &Sessions,
        filter: Document,
        hint: Option<Hint>,
        concern: Option<ReadConcern>,
    ) -> Result<Option<(RawDocumentBuf, DateTime)>, ClientError> {
        let mut find = sessions.find_one(filter);
        if let Some(hint) = hint {
            find = find.hint(hint);
        }
        // A read that waits shows what was there before it did, and has to be judged by the time of that.
        let recent = self.clock.recent().filter(|_| concern.is_none());
        if let Some(concern) = concern {
            find = find.read_concern(concern);
        }
        let asked = Instant::now();
        let found = match recent {
            Some(_) => find.await?,
            None => find.projection(record_and_now()).await?,
        };
        let Some(document) = found else { return Ok(None) };
        if let Some(now) = recent {
            // The answer may have taken long.
            return Ok(Some((document, later(now, asked.elapsed()))));
        }
        let now = document::time(&document, NOW).map_err(|_| ClientError::Answer("a projection has what it computes"))?;
        self.clock.note(asked, now);
        Ok(Some((document, now)))
    }

    pub(crate) async fn commit(&self, key: &StoreKey, commit: &Commit) -> Result<Committing, ClientError> {
        let cap = self.config.limits.data_bytes;
        if commit.is_empty() {
            return Ok(match Box::pin(self.load(key)).await? {
                Ok(record) => commit::explain(commit, record.as_ref(), cap),
                Err(unreadable) => Committing::Corrupt(unreadable),
            });
        }
        let (sessions, deployment) = self.ready().await?;
        // Any number that the last commit did not leave will do.
        let mark = fastrand::i64(..);
        let pipeline = || commit::pipeline(key, commit, cap, mark);
        for attempt in 0..TRIES {
            if attempt > 0 {
                retried(STORE);
            }
            let asked = Instant::now();
            match self.update(&sessions, deployment, key, commit, &pipeline).await {
                Ok(None) => return Ok(Committing::Settled(Outcome::Gone)),
                Ok(Some(after)) if commit::took_effect(&after, mark) => return Ok(self.settle(key, commit, &after, asked)),
                Ok(Some(after)) if self.guard_fails(key, commit, &after) => return Ok(Committing::Settled(Outcome::Conflict)),
                Ok(Some(_)) => {
                    let why = match Box::pin(self.load(key)).await? {
                        Ok(record) => commit::explain(commit, record.as_ref(), cap),
                        Err(unreadable) => Committing::Corrupt(unreadable),
                    };
                    if !matches!(why, Committing::Again) {
                        return Ok(why);
                    }
                }
                Err(ClientError::Taken) => {
                    let Some(target) = &commit.move_to else { return Err(ClientError::Taken) };
                    if !self.make_room(&sessions, target).await? {
                        return Ok(Committing::Settled(Outcome::Conflict));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(ClientError::Busy("the session changed again and again".to_owned()))
    }

    /// Whether a commit changed nothing because a live record has another version, if that can be told from the answer. Many who update one
    /// session learn it so at half the price.
    fn guard_fails(&self, key: &StoreKey, commit: &Commit, after: &RawDocumentBuf) -> bool {
        let (Guard::Version(version), Some(now)) = (commit.guard, self.clock.recent()) else { return false };
        let head = Head::read(after).ok().filter(|head| is_of(after, key) && head.ttl(now).is_some());
        head.is_some_and(|head| head.version != version)
    }

    /// Notes and reads what a commit has made of a document.
    fn settle(&self, key: &StoreKey, commit: &Commit, after: &RawDocumentBuf, asked: Instant) -> Committing {
        let target = commit.move_to.as_ref().unwrap_or(key);
        if target != key {
            self.addresses.forget(key);
        }
        self.remember(target, after);
        match commit::committed(after, commit) {
            Ok((committed, now)) => {
                self.clock.note(asked, now);
                Committing::Settled(Outcome::Done(committed))
            }
            Err(unreadable) => Committing::Corrupt(unreadable),
        }
    }

    /// Sends a commit, and returns the document after it; `None` if no document has the key.
    async fn update(
        &self,
        sessions: &Sessions,
        deployment: Deployment,
        key: &StoreKey,
        commit: &Commit,
        pipeline: &(impl Fn() -> Vec<Document> + Sync),
    ) -> Result<Option<RawDocumentBuf>, ClientError> {
        if let Some(address) = self.address(key, deployment) {
            let mut update = sessions.find_one_and_update(doc! { ID: address.id }, pipeline()).return_document(ReturnDocument::After);
            if !address.small {
                update = update.projection(commit::answer_fields(commit));
            }
            if let Some(after) = update.await? {
                return Ok(Some(after));
            }
            self.addresses.forget(key);
        }
        let update = sessions.find_one_and_update(with_key(key), pipeline()).return_document(ReturnDocument::After);
        Ok(update.projection(commit::answer_fields(commit)).hint(by_key()).await?)
    }

    pub(crate) async fn delete(&self, key: &StoreKey) -> Result<bool, ClientError> {
        let (sessions, _) = self.ready().await?;
        let deletion = sessions.find_one_and_delete(with_key(key)).projection(doc! { EXPIRES: 1, NOW: "$$NOW" }).hint(by_key());
        let deleted = deletion.await?;
        self.addresses.forget(key);
        let Some(deleted) = deleted else { return Ok(false) };
        // What has no time that can be read was a session all the same.
        let times = (document::time(&deleted, EXPIRES), document::time(&deleted, NOW));
        Ok(!matches!(times, (Ok(expires), Ok(now)) if expires <= now))
    }
}
