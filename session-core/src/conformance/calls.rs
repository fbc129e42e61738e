//! Store calls that several checks make, each with its assertions.

use std::{
    collections::BTreeSet,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::task::JoinSet;

use super::{
    assert::{Must, check, check_eq, fail},
    fixture::{Fixture, Purge},
    session::{LONG, TestSession, data, principal, texts},
};
use crate::{
    Claim, Commit, Committed, Created, Cursor, Deleted, NewRecord, Opened, Outcome, Principal,
    Record, SessionStore, SessionSummary, StoreKey,
};

pub(super) type Client = Arc<dyn SessionStore>;

/// A call that needs more polls than this counts as one that does not end.
pub(super) const MAX_POLLS: usize = 2_000;

/// A walk that needs more pages than this counts as one that does not end.
const MAX_PAGES: usize = 100_000;

/// `count` clients of the storage of the fixture. The first one is the client under test.
pub(super) async fn clients(fixture: &dyn Fixture, count: usize) -> Vec<Client> {
    let mut clients = vec![fixture.store()];
    while clients.len() < count {
        clients.push(fixture.open().await.must("opening one more client of a storage succeeds"));
    }
    clients
}

/// Runs `count` calls concurrently, distributed over the clients, and returns their results in any
/// order.
pub(super) async fn run_concurrently<T, F>(
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
    // A task panics if its assertion fails. `join_all` repeats that panic here.
    running.join_all().await
}

/// Runs `count` calls on this session concurrently, as [`run_concurrently`].
pub(super) async fn run_on_session<T, F>(
    clients: &[Client],
    session: &TestSession,
    count: usize,
    call: impl Fn(Client, TestSession, usize) -> F,
) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    run_concurrently(clients, count, move |store, at| call(store, session.clone(), at)).await
}

/// Creates a record under a key that is not in use.
pub(super) async fn create(store: &Client, key: &StoreKey, new: NewRecord) {
    let created = store.create(key, new).await.must("create under an unused key succeeds");
    check_eq(created, Created::New, "create under an unused key returns New");
}

/// Creates an anonymous session without values.
pub(super) async fn create_anonymous(store: &Client, ttl: Duration) -> TestSession {
    let session = TestSession::new();
    create(store, &session.key, session.record(ttl)).await;
    session
}

/// Creates a session of this user without values.
pub(super) async fn create_signed_in(store: &Client, user: &Principal) -> TestSession {
    let session = TestSession::new();
    create(store, &session.key, session.record(LONG).principal(user.clone())).await;
    session
}

/// Creates an anonymous session with three values.
pub(super) async fn create_three_values(store: &Client) -> TestSession {
    let session = TestSession::new();
    let values = data([("a", "1"), ("b", "2"), ("c", "3")]);
    create(store, &session.key, session.record(LONG).data(values)).await;
    session
}

/// Creates `count` sessions, distributed over the clients.
pub(super) async fn create_each<F>(clients: &[Client], count: usize, new: F) -> Vec<TestSession>
where
    F: Fn(&TestSession) -> NewRecord + Clone + Send + Sync + 'static,
{
    let tasks = clients.len() * 4;
    let created = run_concurrently(clients, tasks, move |store: Client, at: usize| {
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

/// Creates `count` sessions of the principal `alice`.
pub(super) async fn create_alices(clients: &[Client], count: usize) -> Vec<TestSession> {
    create_each(clients, count, |session| session.record(LONG).principal(principal("alice"))).await
}

/// Loads a live record without its secret.
pub(super) async fn load(store: &Client, key: &StoreKey, rule: &str) -> Record {
    store.load(key).await.must(rule).must(rule).into_record()
}

/// Loads a live record and opens it with the secret of the session.
pub(super) async fn open_session(store: &Client, session: &TestSession, rule: &str) -> Opened {
    store.load(&session.key).await.must(rule).must(rule).open(&session.secret)
}

/// Makes a commit that takes effect.
pub(super) async fn commit(
    store: &Client,
    key: &StoreKey,
    commit: Commit,
    rule: &str,
) -> Committed {
    store.commit(key, commit).await.must(rule).must(rule)
}

/// Ends a live session.
pub(super) async fn end_session(store: &Client, key: &StoreKey, rule: &str) {
    check_eq(store.delete(key, Claim::Any).await.must(rule), Deleted::Ended, rule);
}

/// Sessions without a live record, each with its state: missing, expired and deleted.
pub(super) async fn dead_sessions(
    fixture: &dyn Fixture,
    rule: &str,
) -> [(&'static str, TestSession); 3] {
    let store = fixture.store();
    let expired = create_anonymous(&store, Duration::from_millis(100)).await;
    fixture.advance(Duration::from_millis(200)).await;
    let deleted = create_anonymous(&store, LONG).await;
    end_session(&store, &deleted.key, rule).await;
    [("missing", TestSession::new()), ("expired", expired), ("deleted", deleted)]
}

/// Checks the outcome of a commit.
pub(super) async fn check_outcome(
    store: &Client,
    key: &StoreKey,
    commit: Commit,
    expected: Outcome,
    rule: &str,
) {
    check_eq(store.commit(key, commit).await.must(rule), expected, rule);
}

/// Checks that each of these commits is `Superseded`.
pub(super) async fn check_superseded<const N: usize>(
    store: &Client,
    key: &StoreKey,
    commits: [Commit; N],
    rule: &str,
) {
    for commit in commits {
        check_outcome(store, key, commit, Outcome::Superseded, rule).await;
    }
}

/// Checks the values of a live record.
pub(super) async fn check_values<const N: usize>(
    store: &Client,
    key: &StoreKey,
    values: [(&str, &str); N],
    rule: &str,
) {
    check_eq(texts(&load(store, key, rule).await.data), texts(&data(values)), rule);
}

/// Checks that there is no live record under the key.
pub(super) async fn check_absent(store: &Client, key: &StoreKey, rule: &str) {
    check_eq(store.load(key).await.must(rule), None, rule);
}

/// Checks that the storage has no live record, and no expired one if the fixture can count them.
pub(super) async fn check_empty(fixture: &dyn Fixture, rule: &str) {
    check_eq(scan_keys(&fixture.store(), 100).await, Vec::new(), rule);
    if let Some(count) = fixture.physical_count().await.or_explain(rule) {
        check_eq(count, 0, rule);
    }
}

/// The keys of these sessions.
pub(super) fn keys<'a>(sessions: impl IntoIterator<Item = &'a TestSession>) -> BTreeSet<StoreKey> {
    sessions.into_iter().map(|session| session.key.clone()).collect()
}

/// The records that a whole scan visits, in the order of the visits.
pub(super) async fn scan_records(store: &Client, limit: usize) -> Vec<(StoreKey, Record)> {
    let (mut records, mut after) = (Vec::new(), None::<Cursor>);
    // A scan may return empty pages, but has to end.
    for _ in 0..MAX_PAGES {
        let page = store.scan(after, limit).await.must("C37: scan succeeds");
        check(
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
    fail("C37: a scan ends", "a page without `next`", format_args!("{MAX_PAGES} pages"))
}

/// The keys that a whole scan visits, in the order of the visits.
pub(super) async fn scan_keys(store: &Client, limit: usize) -> Vec<StoreKey> {
    scan_records(store, limit).await.into_iter().map(|(key, _)| key).collect()
}

/// All sessions of a principal, in the order of the pages.
pub(super) async fn list_in_pages(
    store: &Client,
    principal: &Principal,
    limit: usize,
    rule: &str,
) -> Vec<SessionSummary> {
    let (mut sessions, mut after) = (Vec::new(), None::<Cursor>);
    for _ in 0..MAX_PAGES {
        let page = store.list(principal, after, limit).await.must(rule);
        check(
            page.sessions.len() <= limit.max(1),
            rule,
            format_args!("at most {limit} sessions in a page"),
            page.sessions.len(),
        );
        sessions.extend(page.sessions);
        match page.next {
            Some(cursor) => after = Some(cursor),
            None => return sessions,
        }
    }
    fail(rule, "a page without `next`", format_args!("{MAX_PAGES} pages"))
}

/// The keys that `list` returns for a principal. A key that it returns twice fails the check.
pub(super) async fn list_keys(
    store: &Client,
    principal: &Principal,
    rule: &str,
) -> BTreeSet<StoreKey> {
    let sessions = list_in_pages(store, principal, 100, rule).await;
    let keys: BTreeSet<StoreKey> = sessions.iter().map(|summary| summary.key.clone()).collect();
    check_eq(sessions.len(), keys.len(), rule);
    keys
}

/// Ends all sessions in pages, and returns the number of live ones.
pub(super) async fn delete_everyone_in_pages(store: &Client, limit: usize, rule: &str) -> u64 {
    let (mut ended, mut after) = (0, None::<Cursor>);
    for _ in 0..MAX_PAGES {
        let page = store.delete_everyone(after, limit).await.must(rule);
        ended += page.ended;
        match page.next {
            Some(cursor) => after = Some(cursor),
            None => return ended,
        }
    }
    fail(rule, "a page without `next`", format_args!("{MAX_PAGES} pages"))
}

/// Purges all expired records, if the store purges by call.
pub(super) async fn purge_all(fixture: &dyn Fixture, rule: &str) {
    while fixture.purge() == Purge::ByCall
        && fixture.store().delete_expired(100).await.must(rule) > 0
    {}
}

/// Polls the call `polls` times and then drops it. `None` if the call had not ended.
pub(super) async fn drop_after<F: Future>(polls: usize, call: F) -> Option<F::Output> {
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
