//! The steps that checks are made of, with messages for a store's author.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    sync::Arc,
    time::Duration,
};

use tokio::task::JoinSet;

use super::Fixture;
use crate::{
    Change, Commit, Committed, Created, Cursor, Data, Json, Name, NewRecord, Outcome, Principal, Record, Rejection, SessionId,
    SessionStore, Source, StoreError, StoreKey,
};

pub(super) type Client = Arc<dyn SessionStore>;

/// Longer than any check runs.
pub(super) const LONG: Duration = Duration::from_secs(600);

/// Ends a check with what a law asks and what came.
#[track_caller]
pub(super) fn broken(law: &str, expected: impl fmt::Display, came: impl fmt::Display) -> ! {
    panic!("{law}\n  expected: {expected}\n  came:     {came}")
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "literals and answers are compared as they come")]
pub(super) fn same<T: PartialEq + fmt::Debug>(came: T, expected: T, law: &str) {
    if came != expected {
        broken(law, format_args!("{expected:?}"), format_args!("{came:?}"));
    }
}

#[track_caller]
pub(super) fn holds(condition: bool, law: &str, expected: impl fmt::Display, came: impl fmt::Debug) {
    if !condition {
        broken(law, expected, format_args!("{came:?}"));
    }
}

pub(super) trait Must<T> {
    /// The answer of a call that has to succeed.
    fn must(self, law: &str) -> T;
}

impl<T> Must<T> for Result<T, StoreError> {
    #[track_caller]
    fn must(self, law: &str) -> T {
        self.unwrap_or_else(|error| broken(law, "an answer", chain(&error)))
    }
}

impl<T> Must<T> for Result<T, Source> {
    #[track_caller]
    fn must(self, law: &str) -> T {
        self.unwrap_or_else(|error| broken(law, "a client", chain(error.as_ref())))
    }
}

impl<T> Must<T> for Option<T> {
    #[track_caller]
    fn must(self, law: &str) -> T {
        self.unwrap_or_else(|| broken(law, "a live record", "None"))
    }
}

impl Must<Committed> for Outcome {
    #[track_caller]
    fn must(self, law: &str) -> Committed {
        match self {
            Self::Done(committed) => committed,
            other => broken(law, "Done", format_args!("{other:?}")),
        }
    }
}

/// Everything that an error prints, as `Display` and `Debug`, down to its last source.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = format!("{error} ({error:?})");
    let mut source = error.source();
    while let Some(below) = source {
        text = format!("{text}: {below} ({below:?})");
        source = below.source();
    }
    text
}

/// An id of a fresh lineage.
pub(super) fn id() -> SessionId {
    SessionId::random().unwrap_or_else(|error| panic!("{error}"))
}

/// The key of a session that nobody else has.
pub(super) fn key() -> StoreKey {
    id().store_key()
}

/// Another key of the same lineage.
pub(super) fn successor(id: &SessionId) -> StoreKey {
    id.successor().unwrap_or_else(|error| panic!("{error}")).store_key()
}

pub(super) fn name(text: &str) -> Name {
    Name::new(text).unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn principal(text: &str) -> Principal {
    Principal::new(text).unwrap_or_else(|error| panic!("{error}"))
}

/// A value of this JSON text.
pub(super) fn json(text: &str) -> Json {
    Json::from_text(text).unwrap_or_else(|error| panic!("{error}"))
}

/// Values of these names and JSON texts.
pub(super) fn data<const N: usize>(values: [(&str, &str); N]) -> Data {
    values.into_iter().map(|(text, value)| (name(text), json(value))).collect()
}

pub(super) fn set(text: &str, value: &str) -> Commit {
    Commit::new().and_set(text, value)
}

pub(super) fn add(text: &str, by: i64) -> Commit {
    Commit::new().change(name(text), Change::Add(by))
}

/// Commits in few words.
pub(super) trait CommitWords {
    fn and_set(self, text: &str, value: &str) -> Self;
    fn and_remove(self, text: &str) -> Self;
}

impl CommitWords for Commit {
    fn and_set(self, text: &str, value: &str) -> Self {
        self.change(name(text), Change::Set(json(value)))
    }

    fn and_remove(self, text: &str) -> Self {
        self.change(name(text), Change::Remove)
    }
}

/// The values as texts, because `Json` shows nobody its text and a message without it helps nobody.
pub(super) fn texts(data: &Data) -> BTreeMap<String, String> {
    data.iter().map(|(name, value)| (name.to_string(), value.as_str().to_owned())).collect()
}

/// Keeps a new record that has to be new.
pub(super) async fn create(store: &Client, key: &StoreKey, new: NewRecord) {
    let created = store.create(key, new).await.must("create under a fresh key succeeds");
    same(created, Created::New, "create under a fresh key says New");
}

/// Keeps a new record of this life without values and returns its key.
pub(super) async fn create_any(store: &Client, ttl: Duration) -> StoreKey {
    let key = key();
    create(store, &key, NewRecord::new(ttl)).await;
    key
}

/// Reads a record that has to be there.
pub(super) async fn load(store: &Client, key: &StoreKey, law: &str) -> Record {
    store.load(key).await.must(law).must(law)
}

/// Makes a commit that has to take effect.
pub(super) async fn commit(store: &Client, key: &StoreKey, commit: Commit, law: &str) -> Committed {
    store.commit(key, commit).await.must(law).must(law)
}

/// Sees that there is no live record under the key.
pub(super) async fn absent(store: &Client, key: &StoreKey, law: &str) {
    same(store.load(key).await.must(law), None, law);
}

/// Sees that a call was refused for a reason that `expected` names, and returns the reason.
#[track_caller]
pub(super) fn rejected<T: fmt::Debug>(answer: Result<T, StoreError>, expected: &str, law: &str) -> Rejection {
    match answer {
        Err(StoreError::Rejected(rejection)) => rejection,
        Err(error) => broken(law, format_args!("Rejected({expected})"), chain(&error)),
        Ok(answer) => broken(law, format_args!("Rejected({expected})"), format_args!("{answer:?}")),
    }
}

/// `count` clients of the fixture's storage, the one under test first.
pub(super) async fn clients(fixture: &dyn Fixture, count: usize) -> Vec<Client> {
    let mut clients = vec![fixture.store()];
    while clients.len() < count {
        clients.push(fixture.open().await.must("opening one more client of a storage succeeds"));
    }
    clients
}

/// Runs `count` calls at once, dealt out over the clients, and returns what they answered, in no order.
pub(super) async fn at_once<T, F>(clients: &[Client], count: usize, call: impl Fn(Client, usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut running = JoinSet::new();
    for at in 0..count {
        running.spawn(call(Arc::clone(&clients[at % clients.len()]), at));
    }
    // A panic in a task is a broken law in it: join_all hands it on.
    running.join_all().await
}

/// Keeps `count` records of this life without values.
pub(super) async fn create_many(clients: &[Client], count: usize, ttl: Duration) -> Vec<StoreKey> {
    let tasks = clients.len() * 4;
    let kept = at_once(clients, tasks, move |store: Client, at: usize| async move {
        let mut keys = Vec::new();
        for _ in (at..count).step_by(tasks) {
            keys.push(create_any(&store, ttl).await);
        }
        keys
    });
    kept.await.concat()
}

/// The keys that a whole scan visits, in the order of the visits.
pub(super) async fn scan_all(store: &Client, limit: usize) -> Vec<StoreKey> {
    let (mut keys, mut after) = (Vec::new(), None::<Cursor>);
    // A scan may give empty pages, but not without end.
    for _ in 0..100_000 {
        let page = store.scan(after, limit).await.must("C37: scan answers");
        holds(page.records.len() <= limit, "C37: a page has at most `limit` records", limit, page.records.len());
        keys.extend(page.records.into_iter().map(|(key, _)| key));
        match page.next {
            Some(cursor) => after = Some(cursor),
            None => return keys,
        }
    }
    broken("C37: a scan ends", "a page without `next`", "100,000 pages")
}

/// Sees that no live record is left in the storage, and no dead one where that can be seen.
pub(super) async fn empty(fixture: &dyn Fixture, law: &str) {
    same(scan_all(&fixture.store(), 100).await, Vec::new(), law);
    if let Some(count) = fixture.physical_count().await.or_explain(law) {
        same(count, 0, law);
    }
}

/// The keys that `list` shows of a principal, in its order.
pub(super) async fn listed(store: &Client, principal: &Principal, law: &str) -> Vec<StoreKey> {
    store.list(principal).await.must(law).into_iter().map(|listed| listed.key).collect()
}

/// The same without its order.
pub(super) async fn listed_set(store: &Client, principal: &Principal, law: &str) -> BTreeSet<StoreKey> {
    listed(store, principal, law).await.into_iter().collect()
}
