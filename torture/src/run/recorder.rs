//! A store that records its calls.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use session_core::{
    Change, Claim, Commit, Created, Data, Deleted, Guard, Json, Name, NewRecord, Outcome,
    Principal, PrincipalChange, Rotation, SecretHash, SessionStore, StoreError, StoreKey, Stored,
};
use tests::with_sources;

use super::error::BoxError;
use crate::history::{Answer, CallLog, ListedSession, LoadedSession, Op, Rotate, Write, now};

/// The number of sessions on a page of a list. It is small, so that most lists have several pages.
const PAGE: usize = 3;

/// A store that records its calls.
#[derive(Debug)]
pub(super) struct Recorder {
    store: Arc<dyn SessionStore>,
    log: CallLog,
    next: AtomicU64,
}

impl Recorder {
    pub(super) fn new(store: Arc<dyn SessionStore>, log: &Path) -> io::Result<Self> {
        Ok(Self { store, log: CallLog::create(log)?, next: AtomicU64::new(0) })
    }

    /// Records the call, makes it, and records the answer.
    pub(super) async fn call(&self, by: &str, op: Op) -> Result<Answer, BoxError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.log.begin(id, by, op.clone())?;
        let answered = perform(self.store.as_ref(), op).await?;
        let at = now();
        let answer = answered.unwrap_or_else(|error| failed(&error));
        self.log.end(id, at, answer.clone())?;
        Ok(answer)
    }
}

async fn perform(store: &dyn SessionStore, op: Op) -> Result<Result<Answer, StoreError>, BoxError> {
    Ok(match op {
        Op::Create { key, secret, write } => store
            .create(&StoreKey::from_text(key), new_record(&secret, write)?)
            .await
            .map(|created| match created {
                Created::New => Answer::New,
                Created::Taken => Answer::Taken,
            }),
        Op::Load { key } => store
            .load(&StoreKey::from_text(key))
            .await
            .map(|found| found.map_or(Answer::Absent, found_record)),
        Op::Commit { key, secret, guard, write, rotate } => store
            .commit(&StoreKey::from_text(key), commit(&secret, guard, write, rotate)?)
            .await
            .map(outcome),
        Op::Delete { key, claim } => {
            let claim = claim.map_or(Claim::Any, Claim::Generation);
            store.delete(&StoreKey::from_text(key), claim).await.map(|deleted| match deleted {
                Deleted::Ended => Answer::Deleted(true),
                Deleted::Missing => Answer::Deleted(false),
                Deleted::Superseded => Answer::Superseded,
            })
        }
        Op::List { principal } => list(store, &Principal::new(principal)?).await,
        Op::Revoke { principal, except } => {
            let except = except.map(StoreKey::from_text);
            store
                .delete_all(&Principal::new(principal)?, except.as_ref())
                .await
                .map(Answer::Revoked)
        }
    })
}

/// Reads all pages of a list.
async fn list(store: &dyn SessionStore, principal: &Principal) -> Result<Answer, StoreError> {
    let (mut shown, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(principal, after, PAGE).await?;
        shown.extend(page.sessions.into_iter().map(|summary| ListedSession {
            key: summary.key.as_str().to_owned(),
            authenticated: millis(summary.authenticated),
            ttl: millis(summary.ttl),
        }));
        after = page.next;
        if after.is_none() {
            return Ok(Answer::Listed(shown));
        }
    }
}

/// Encodes a secret of the history as a stored hash: its text with all bits inverted, so that the
/// bytes are not valid text.
fn hash(secret: &str) -> Result<SecretHash, BoxError> {
    let mut bytes = [0xff; SecretHash::BYTES];
    let text = bytes.get_mut(..secret.len()).ok_or("a secret is longer than a hash")?;
    text.copy_from_slice(secret.as_bytes());
    for byte in &mut bytes[..secret.len()] {
        *byte = !*byte;
    }
    Ok(SecretHash::from_bytes(bytes))
}

/// Decodes the secret of the history from a hash.
fn secret(hash: &SecretHash) -> String {
    let bytes: Vec<u8> = hash.as_bytes().iter().map(|byte| !byte).collect();
    String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned()
}

fn new_record(secret: &str, write: Write) -> Result<NewRecord, BoxError> {
    let values: Result<Data, BoxError> = write
        .set
        .into_iter()
        .map(|(name, value)| Ok((Name::new(name)?, Json::from_text(value)?)))
        .collect();
    let mut record =
        NewRecord::new(hash(secret)?, Duration::from_millis(write.ttl.unwrap_or_default()))
            .data(values?);
    if let Some(Some(name)) = write.principal {
        record = record.principal(Principal::new(name)?);
    }
    Ok(record)
}

fn commit(
    secret: &str,
    guard: Option<u64>,
    write: Write,
    rotate: Option<Rotate>,
) -> Result<Commit, BoxError> {
    let mut commit = Commit::new(hash(secret)?).guard(guard.map_or(Guard::Any, Guard::Version));
    for (name, value) in write.set {
        commit = commit.change(Name::new(name)?, Change::Set(Json::from_text(value)?));
    }
    for name in write.remove {
        commit = commit.change(Name::new(name)?, Change::Remove);
    }
    for (name, by) in write.add {
        commit = commit.change(Name::new(name)?, Change::Add(by));
    }
    commit.principal = match write.principal {
        None => PrincipalChange::Keep,
        Some(None) => PrincipalChange::Unset,
        Some(Some(name)) => PrincipalChange::Set(Principal::new(name)?),
    };
    commit.ttl = write.ttl.map(Duration::from_millis);
    if let Some(Rotate { secret, generation, grace }) = rotate {
        commit.rotate = Some(Rotation {
            secret: hash(&secret)?,
            generation,
            grace: grace.map(Duration::from_millis),
        });
    }
    Ok(commit)
}

fn outcome(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Done(done) => Answer::Done {
            version: done.version,
            added: done
                .added
                .into_iter()
                .map(|(name, sum)| (name.as_str().to_owned(), sum))
                .collect(),
            age: millis(done.age),
            authenticated: done.authenticated.map(millis),
            ttl: millis(done.ttl),
        },
        Outcome::Conflict => Answer::Conflict,
        Outcome::Superseded => Answer::Superseded,
        Outcome::Gone => Answer::Gone,
    }
}

fn found_record(stored: Stored) -> Answer {
    let record = stored.into_record();
    let values: BTreeMap<_, _> = record
        .data
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_str().to_owned()))
        .collect();
    Answer::Found(LoadedSession {
        values,
        version: record.version,
        secret: secret(&record.secret),
        generation: record.generation,
        since: record.since,
        grace: record.grace.map(|grace| (secret(&grace.secret), millis(grace.left))),
        principal: record.principal.map(|principal| principal.as_str().to_owned()),
        age: millis(record.age),
        rotated: millis(record.rotated),
        authenticated: record.authenticated.map(millis),
        ttl: millis(record.ttl),
    })
}

fn failed(error: &StoreError) -> Answer {
    match error {
        StoreError::Rejected(rejection) => Answer::Rejected(rejection.to_string()),
        StoreError::Corrupt { .. } => Answer::Corrupt(with_sources(error)),
        _ => Answer::Unknown(with_sources(error)),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
