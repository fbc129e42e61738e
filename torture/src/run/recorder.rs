//! A store whose calls are written down.

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
    Change, Commit, Created, Data, Guard, Json, Name, NewRecord, Outcome, Principal, PrincipalChange, Record, SessionStore, StoreError,
    StoreKey,
};

use crate::history::{Answer, Log, Op, Seen, Shown, Write, now};

/// A store whose calls are written down.
#[derive(Debug)]
pub(super) struct Recorder {
    store: Arc<dyn SessionStore>,
    log: Log,
    next: AtomicU64,
}

/// What is asked for is nothing that a store understands. The program asks for no such thing.
type Malformed = Box<dyn std::error::Error + Send + Sync>;

impl Recorder {
    pub(super) fn new(store: Arc<dyn SessionStore>, log: &Path) -> io::Result<Self> {
        Ok(Self { store, log: Log::create(log)?, next: AtomicU64::new(0) })
    }

    /// Makes a call and returns the answer, each written down in time.
    pub(super) async fn call(&self, by: &str, op: Op) -> Result<Answer, Malformed> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.log.begin(id, by, op.clone())?;
        let answered = perform(self.store.as_ref(), op).await?;
        let at = now();
        let answer = answered.unwrap_or_else(|error| failed(&error));
        self.log.end(id, at, answer.clone())?;
        Ok(answer)
    }
}

async fn perform(store: &dyn SessionStore, op: Op) -> Result<Result<Answer, StoreError>, Malformed> {
    Ok(match op {
        Op::Create { key, write } => store.create(&StoreKey::from_text(key), new_record(write)?).await.map(|created| match created {
            Created::New => Answer::New,
            Created::Taken => Answer::Taken,
        }),
        Op::Load { key } => store.load(&StoreKey::from_text(key)).await.map(|found| found.map_or(Answer::Absent, found_record)),
        Op::Commit { key, guard, write, to } => store.commit(&StoreKey::from_text(key), commit(guard, write, to)?).await.map(outcome),
        Op::Delete { key } => store.delete(&StoreKey::from_text(key)).await.map(Answer::Deleted),
        Op::List { principal } => store.list(&Principal::new(principal)?).await.map(|listed| {
            let shown = |one: session_core::Listed| Shown { key: one.key.as_str().to_owned(), ttl: millis(one.ttl) };
            Answer::Listed(listed.into_iter().map(shown).collect())
        }),
        Op::Revoke { principal, except } => {
            let except = except.map(StoreKey::from_text);
            store.delete_all(&Principal::new(principal)?, except.as_ref()).await.map(Answer::Revoked)
        }
    })
}

fn new_record(write: Write) -> Result<NewRecord, Malformed> {
    let values: Result<Data, Malformed> =
        write.set.into_iter().map(|(name, value)| Ok((Name::new(name)?, Json::from_text(value)?))).collect();
    let mut record = NewRecord::new(Duration::from_millis(write.ttl.unwrap_or_default())).data(values?);
    if let Some(Some(name)) = write.principal {
        record = record.principal(Principal::new(name)?);
    }
    Ok(record)
}

fn commit(guard: Option<u64>, write: Write, to: Option<String>) -> Result<Commit, Malformed> {
    let mut commit = Commit { guard: guard.map_or(Guard::Any, Guard::Version), ..Commit::new() };
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
    commit.move_to = to.map(StoreKey::from_text);
    Ok(commit)
}

fn outcome(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Done(done) => Answer::Done {
            version: done.version,
            added: done.added.into_iter().map(|(name, sum)| (name.as_str().to_owned(), sum)).collect(),
            age: millis(done.age),
            ttl: millis(done.ttl),
        },
        Outcome::Conflict => Answer::Conflict,
        Outcome::Gone => Answer::Gone,
    }
}

fn found_record(record: Record) -> Answer {
    let values: BTreeMap<_, _> = record.data.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_str().to_owned())).collect();
    Answer::Found(Seen {
        values,
        version: record.version,
        principal: record.principal.map(|principal| principal.as_str().to_owned()),
        age: millis(record.age),
        ttl: millis(record.ttl),
    })
}

fn failed(error: &StoreError) -> Answer {
    match error {
        StoreError::Rejected(rejection) => Answer::Rejected(rejection.to_string()),
        StoreError::Corrupt { .. } => Answer::Corrupt(told(error)),
        _ => Answer::Unknown(told(error)),
    }
}

/// An error with its sources.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
