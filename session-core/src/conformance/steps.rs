//! The steps that checks consist of, with messages for a store's author.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::task::JoinSet;

use super::Fixture;
use crate::{
    BoxError, Change, Claim, Commit, Committed, Created, Cursor, Data, Deleted, Json, Name,
    NewRecord, Outcome, Principal, PrincipalChange, Record, Rejection, Rotation, SecretHash,
    SessionId, SessionStore, SessionSummary, StoreError, StoreKey,
};

pub(super) type Client = Arc<dyn SessionStore>;

/// Longer than any check runs.
pub(super) const LONG: Duration = Duration::from_secs(600);

/// A call with more awaits than this does not end.
pub(super) const MOST_POLLS: usize = 2_000;

/// No walk needs more pages.
const MOST_PAGES: usize = 100_000;

/// A session as a request knows it: the key, and the secret that the request's id has.
#[derive(Debug, Clone)]
pub(super) struct TestSession {
    pub(super) key: StoreKey,
    pub(super) secret: SecretHash,
    pub(super) generation: u32,
}

impl TestSession {
    /// A session with a fresh id, at generation 0.
    pub(super) fn new() -> Self {
        let id = SessionId::random().unwrap_or_else(|error| panic!("{error}"));
        Self { key: id.key(), secret: id.secret_hash(), generation: 0 }
    }

    /// A session with a fresh secret under this key.
    pub(super) fn under(key: impl AsRef<str>) -> Self {
        Self { key: StoreKey::from_text(key), ..Self::new() }
    }

    /// The same session with its next secret.
    pub(super) fn rotated(&self) -> Self {
        Self { key: self.key.clone(), generation: self.generation + 1, ..Self::new() }
    }

    /// The rotation that leads to this secret, without a grace.
    pub(super) fn rotation(&self) -> Rotation {
        Rotation { secret: self.secret, generation: self.generation, grace: None }
    }

    /// A new record with this secret.
    pub(super) fn record(&self, ttl: Duration) -> NewRecord {
        NewRecord { generation: self.generation, ..NewRecord::new(self.secret, ttl) }
    }

    /// An empty commit with this secret.
    pub(super) fn commit(&self) -> Commit {
        Commit::new(self.secret)
    }

    pub(super) fn set(&self, text: &str, value: &str) -> Commit {
        self.commit().and_set(text, value)
    }

    pub(super) fn add(&self, text: &str, by: i64) -> Commit {
        self.commit().change(name(text), Change::Add(by))
    }

    pub(super) fn touch(&self, ttl: Duration) -> Commit {
        self.commit().ttl(ttl)
    }

    /// A rotation to `next`, without a grace.
    pub(super) fn rotate(&self, next: &Self) -> Commit {
        self.commit().rotate(next.rotation())
    }

    /// A rotation to `next` that lets this secret read for so long.
    pub(super) fn rotate_with_grace(&self, next: &Self, grace: Duration) -> Commit {
        self.commit().rotate(Rotation { grace: Some(grace), ..next.rotation() })
    }

    /// A sign-in of this user, with the rotation to `next`.
    pub(super) fn sign_in(&self, next: &Self, who: &Principal) -> Commit {
        self.rotate(next).principal(PrincipalChange::Set(who.clone()))
    }

    /// The removal of the principal.
    pub(super) fn sign_out(&self) -> Commit {
        self.commit().principal(PrincipalChange::Unset)
    }
}

/// Ends a check with the law, the expected answer and the actual answer.
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
pub(super) fn holds(
    condition: bool,
    law: &str,
    expected: impl fmt::Display,
    came: impl fmt::Debug,
) {
    if !condition {
        broken(law, expected, format_args!("{came:?}"));
    }
}

/// Checks a duration that the store's clock measured: at least `least`, and at most `tolerance`
/// more than `most`.
#[track_caller]
pub(super) fn within(
    came: Duration,
    least: Duration,
    most: Duration,
    tolerance: Duration,
    law: &str,
) {
    let range = least.saturating_sub(tolerance)..=most + tolerance;
    holds(range.contains(&came), law, format_args!("{range:?}"), came);
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

impl<T> Must<T> for Result<T, BoxError> {
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

/// Short forms for changes.
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

/// The values as texts. `Debug` of `Json` hides its text, and a message needs it.
pub(super) fn texts(data: &Data) -> BTreeMap<String, String> {
    data.iter().map(|(name, value)| (name.to_string(), value.as_str().to_owned())).collect()
}

/// Creates a record under a fresh key.
pub(super) async fn create(store: &Client, key: &StoreKey, new: NewRecord) {
    let created = store.create(key, new).await.must("create under a fresh key succeeds");
    same(created, Created::New, "create under a fresh key says New");
}

/// Creates an anonymous session without values.
pub(super) async fn create_any(store: &Client, ttl: Duration) -> TestSession {
    let session = TestSession::new();
    create(store, &session.key, session.record(ttl)).await;
    session
}

/// Creates a session of this user without values.
pub(super) async fn signed_in(store: &Client, who: &Principal) -> TestSession {
    let session = TestSession::new();
    create(store, &session.key, session.record(LONG).principal(who.clone())).await;
    session
}

/// Reads a live record without its secret.
pub(super) async fn load(store: &Client, key: &StoreKey, law: &str) -> Record {
    store.load(key).await.must(law).must(law).into_record()
}

/// Makes a commit that takes effect.
pub(super) async fn commit(store: &Client, key: &StoreKey, commit: Commit, law: &str) -> Committed {
    store.commit(key, commit).await.must(law).must(law)
}

/// Makes a commit that the store refuses with this verdict.
pub(super) async fn refused(
    store: &Client,
    key: &StoreKey,
    commit: Commit,
    expected: Outcome,
    law: &str,
) {
    same(store.commit(key, commit).await.must(law), expected, law);
}

/// Ends a live session.
pub(super) async fn end(store: &Client, key: &StoreKey, law: &str) {
    same(store.delete(key, Claim::Any).await.must(law), Deleted::Ended, law);
}

/// Checks that there is no live record under the key.
pub(super) async fn absent(store: &Client, key: &StoreKey, law: &str) {
    same(store.load(key).await.must(law), None, law);
}

/// Checks that a call was refused with the rejection of this variant, and returns the rejection.
#[track_caller]
pub(super) fn rejected<T: fmt::Debug>(
    answer: Result<T, StoreError>,
    expected: &str,
    law: &str,
) -> Rejection {
    let rejection = match answer {
        Err(StoreError::Rejected(rejection)) => rejection,
        Err(error) => broken(law, format_args!("Rejected({expected})"), chain(&error)),
        Ok(answer) => broken(law, format_args!("Rejected({expected})"), format_args!("{answer:?}")),
    };
    let shown = format!("{rejection:?}");
    let variant = shown.split(|character: char| !character.is_alphanumeric()).next();
    holds(variant == Some(expected), law, format_args!("Rejected({expected})"), &rejection);
    rejection
}

/// `count` clients of the fixture's storage, the one under test first.
pub(super) async fn clients(fixture: &dyn Fixture, count: usize) -> Vec<Client> {
    let mut clients = vec![fixture.store()];
    while clients.len() < count {
        clients.push(fixture.open().await.must("opening one more client of a storage succeeds"));
    }
    clients
}

/// Runs `count` calls at once, dealt out over the clients, and returns their answers in any order.
pub(super) async fn at_once<T, F>(
    clients: &[Client],
    count: usize,
    call: impl Fn(Client, usize) -> F,
) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut running = JoinSet::new();
    for at in 0..count {
        running.spawn(call(Arc::clone(&clients[at % clients.len()]), at));
    }
    // A panic in a task is a broken law, and join_all passes it on.
    running.join_all().await
}

/// Creates `count` sessions, dealt out over the clients.
pub(super) async fn create_each<F>(clients: &[Client], count: usize, new: F) -> Vec<TestSession>
where
    F: Fn(&TestSession) -> NewRecord + Clone + Send + Sync + 'static,
{
    let tasks = clients.len() * 4;
    let created = at_once(clients, tasks, move |store: Client, at: usize| {
        let new = new.clone();
        async move {
            let mut sessions = Vec::new();
            for _ in (at..count).step_by(tasks) {
                let session = TestSession::new();
                create(&store, &session.key, new(&session)).await;
                sessions.push(session);
            }
            sessions
        }
    });
    created.await.concat()
}

/// Creates `count` anonymous sessions without values.
pub(super) async fn create_many(
    clients: &[Client],
    count: usize,
    ttl: Duration,
) -> Vec<TestSession> {
    create_each(clients, count, move |session| session.record(ttl)).await
}

/// The keys of these sessions.
pub(super) fn keys<'a>(sessions: impl IntoIterator<Item = &'a TestSession>) -> BTreeSet<StoreKey> {
    sessions.into_iter().map(|session| session.key.clone()).collect()
}

/// The records that a whole scan visits, in the order of the visits.
pub(super) async fn scan_records(store: &Client, limit: usize) -> Vec<(StoreKey, Record)> {
    let (mut records, mut after) = (Vec::new(), None::<Cursor>);
    // A scan may give empty pages, but not without end.
    for _ in 0..MOST_PAGES {
        let page = store.scan(after, limit).await.must("C37: scan answers");
        holds(
            page.records.len() <= limit.max(1),
            "C37: a page has at most `limit` records",
            limit,
            page.records.len(),
        );
        records.extend(page.records);
        match page.next {
            Some(cursor) => after = Some(cursor),
            None => return records,
        }
    }
    broken("C37: a scan ends", "a page without `next`", format_args!("{MOST_PAGES} pages"))
}

/// The keys that a whole scan visits, in the order of the visits.
pub(super) async fn scan_all(store: &Client, limit: usize) -> Vec<StoreKey> {
    scan_records(store, limit).await.into_iter().map(|(key, _)| key).collect()
}

/// Checks that the storage has no live record, and no dead one if the fixture can count them.
pub(super) async fn empty(fixture: &dyn Fixture, law: &str) {
    same(scan_all(&fixture.store(), 100).await, Vec::new(), law);
    if let Some(count) = fixture.physical_count().await.or_explain(law) {
        same(count, 0, law);
    }
}

/// Purges all expired records, if the store purges by call.
pub(super) async fn purge_all(fixture: &dyn Fixture, law: &str) {
    while fixture.purge() == super::Purge::ByCall
        && fixture.store().delete_expired(100).await.must(law) > 0
    {}
}

/// All sessions of a principal, in the order of the pages.
pub(super) async fn list_in_pages(
    store: &Client,
    principal: &Principal,
    limit: usize,
    law: &str,
) -> Vec<SessionSummary> {
    let (mut sessions, mut after) = (Vec::new(), None::<Cursor>);
    for _ in 0..MOST_PAGES {
        let page = store.list(principal, after, limit).await.must(law);
        holds(
            page.sessions.len() <= limit.max(1),
            law,
            format_args!("at most {limit} sessions a page"),
            page.sessions.len(),
        );
        sessions.extend(page.sessions);
        match page.next {
            Some(cursor) => after = Some(cursor),
            None => return sessions,
        }
    }
    broken(law, "a page without `next`", format_args!("{MOST_PAGES} pages"))
}

/// The keys that `list` shows of a principal, each once.
pub(super) async fn listed(store: &Client, principal: &Principal, law: &str) -> BTreeSet<StoreKey> {
    let sessions = list_in_pages(store, principal, 100, law).await;
    let keys: BTreeSet<StoreKey> = sessions.iter().map(|summary| summary.key.clone()).collect();
    same(sessions.len(), keys.len(), law);
    keys
}

/// Ends all sessions in pages, and returns how many live ones there were.
pub(super) async fn end_everyone(store: &Client, limit: usize, law: &str) -> u64 {
    let (mut ended, mut after) = (0, None::<Cursor>);
    for _ in 0..MOST_PAGES {
        let page = store.delete_everyone(after, limit).await.must(law);
        ended += page.ended;
        match page.next {
            Some(cursor) => after = Some(cursor),
            None => return ended,
        }
    }
    broken(law, "a page without `next`", format_args!("{MOST_PAGES} pages"))
}

/// Polls the call `polls` times and then drops it. `None` if it had not ended.
pub(super) async fn dropped_after<F: Future>(polls: usize, call: F) -> Option<F::Output> {
    let mut call = pin!(call);
    let mut polled = 0;
    poll_fn(|context| {
        if polled == polls {
            return Poll::Ready(None);
        }
        polled += 1;
        match call.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if polled == polls => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
