//! The metrics of every store operation with every outcome.

use std::{sync::Arc, time::Duration};

use session_core::{
    Change, Claim, Commit, Data, Guard, Json, MemoryStore, Name, NewRecord, Principal,
    PrincipalChange, Rotation, SessionId, SessionStore, StoreKey,
    observe::{self, Observed, observe},
};

use crate::{
    recorder::TestRecorder,
    scripted::{Behavior, Scripted},
};

/// All behaviors but `Served`, and the outcome in the metrics of each.
pub(crate) const FAILURES: [(Behavior, &str); 6] = [
    (Behavior::Unavailable, "unavailable"),
    (Behavior::Timeout, "timeout"),
    (Behavior::Corrupt, "corrupt"),
    (Behavior::Rejected, "rejected"),
    (Behavior::Failed, "failed"),
    (Behavior::Hung, "dropped"),
];

/// The operations in the metrics.
pub(crate) const OPERATIONS: [&str; 11] = [
    "create",
    "load",
    "commit",
    "touch",
    "delete",
    "list",
    "delete_all",
    "delete_everyone",
    "scan",
    "delete_expired",
    "ping",
];

/// A session, with texts that must not appear in metrics and traces.
#[derive(Debug, Clone)]
pub(crate) struct TestSession {
    pub(crate) id: SessionId,
    pub(crate) principal: Principal,
    pub(crate) name: Name,
    pub(crate) value: Json,
}

impl TestSession {
    pub(crate) fn new() -> Self {
        Self {
            id: SessionId::random().unwrap(),
            principal: Principal::new("rosebud-1941").unwrap(),
            name: Name::new("quince-77").unwrap(),
            value: Json::encode("swordfish-4711").unwrap(),
        }
    }

    pub(crate) fn key(&self) -> StoreKey {
        self.id.key()
    }

    fn record(&self) -> NewRecord {
        let mut data = Data::new();
        data.insert(self.name.clone(), self.value.clone());
        NewRecord::new(self.id.secret_hash(), Duration::from_secs(60))
            .data(data)
            .principal(self.principal.clone())
    }

    fn change(&self) -> Commit {
        self.commit().change(self.name.clone(), Change::Set(self.value.clone()))
    }

    fn touch(&self) -> Commit {
        self.commit().ttl(Duration::from_secs(90))
    }

    fn commit(&self) -> Commit {
        Commit::new(self.id.secret_hash())
    }
}

/// Makes each kind of call once.
pub(crate) async fn call_each(store: &dyn SessionStore, session: &TestSession) {
    let key = session.key();
    drop(store.create(&key, session.record()).await);
    drop(store.load(&key).await);
    drop(store.commit(&key, session.change()).await);
    drop(store.commit(&key, session.touch()).await);
    drop(store.list(&session.principal, None, 10).await);
    drop(store.scan(None, 10).await);
    drop(store.delete_expired(10).await);
    drop(store.ping().await);
    drop(store.delete(&key, Claim::Any).await);
    drop(store.delete_all(&session.principal, Some(&key)).await);
    drop(store.delete_everyone(None, 10).await);
}

/// Makes calls with every outcome that is neither `done` nor an error.
pub(crate) async fn call_with_other_outcomes(store: &dyn SessionStore, session: &TestSession) {
    let key = session.key();
    drop(store.create(&key, session.record()).await);
    drop(store.create(&key, session.record()).await);
    drop(store.commit(&key, session.change().guard(Guard::Version(77))).await);
    drop(store.commit(&key, session.touch().guard(Guard::Version(77))).await);
    // A rotation alone counts as a commit, not as a touch.
    let next = session.id.rotated().unwrap();
    let rotation =
        Rotation { secret: next.secret_hash(), generation: next.generation(), grace: None };
    drop(store.commit(&key, session.commit().rotate(rotation)).await);
    drop(store.commit(&key, session.change()).await);
    drop(store.commit(&key, session.touch()).await);
    let signs_in =
        Commit::new(next.secret_hash()).principal(PrincipalChange::Set(session.principal.clone()));
    let last = next.rotated().unwrap();
    let rotation =
        Rotation { secret: last.secret_hash(), generation: last.generation(), grace: None };
    drop(store.commit(&key, signs_in.rotate(rotation)).await);
    drop(store.delete(&key, Claim::Generation(1)).await);
    drop(store.delete(&key, Claim::Generation(2)).await);
    drop(store.load(&key).await);
    drop(store.commit(&key, session.change()).await);
    drop(store.commit(&key, session.touch()).await);
    drop(store.delete(&key, Claim::Any).await);
}

/// Makes all calls, with all behaviors.
pub(crate) async fn call_with_every_outcome(
    store: &Observed<Scripted>,
    scripted: &Scripted,
    session: &TestSession,
) {
    call_each(store, session).await;
    call_with_other_outcomes(store, session).await;
    for (behavior, _) in FAILURES {
        scripted.behavior(behavior);
        if behavior == Behavior::Hung {
            call_and_drop(store, session).await;
        } else {
            call_each(store, session).await;
        }
    }
    scripted.behavior(Behavior::Served);
}

/// Starts each call and drops it.
async fn call_and_drop(store: &dyn SessionStore, session: &TestSession) {
    let key = session.key();
    let start = async |call: &mut (dyn Future<Output = ()> + Send + Unpin)| {
        assert!(poll_once(call).await.is_none(), "the call must not end, because the store hangs");
    };
    macro_rules! start_and_drop {
        ($($call:expr),* $(,)?) => {
            $(start(&mut Box::pin(async { drop($call.await) })).await;)*
        };
    }
    start_and_drop!(
        store.create(&key, session.record()),
        store.load(&key),
        store.commit(&key, session.change()),
        store.commit(&key, session.touch()),
        store.list(&session.principal, None, 10),
        store.scan(None, 10),
        store.delete_expired(10),
        store.ping(),
        store.delete(&key, Claim::Any),
        store.delete_all(&session.principal, None),
        store.delete_everyone(None, 10),
    );
}

/// Polls a future once.
async fn poll_once<F: Future + Unpin + ?Sized>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|context| match std::pin::Pin::new(&mut *future).poll(context) {
        std::task::Poll::Ready(done) => std::task::Poll::Ready(Some(done)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

#[tokio::test]
async fn every_operation_and_outcome_is_counted_once() {
    let recorder = TestRecorder::default();
    let _counting = recorder.install();
    let scripted = Arc::new(Scripted::new("hunter2"));
    let store = observe("scripted", Arc::clone(&scripted));
    let operations = OPERATIONS;
    let of = |operation: &str, outcome: &str| {
        format!("{}{{store=scripted,operation={operation},outcome={outcome}}}", observe::CALLS)
    };
    for operation in operations {
        assert_eq!(
            recorder.counter(&of(operation, "done")),
            Some(0),
            "the series exists before the first call"
        );
    }
    assert_eq!(
        recorder.counter(&of("ping", "conflict")),
        None,
        "an impossible outcome has no series"
    );
    call_each(&store, &TestSession::new()).await;
    let usual: Vec<_> = operations.iter().map(|operation| (of(operation, "done"), 1)).collect();
    assert_eq!(recorder.nonzero_counters(), usual.into_iter().collect());

    let recorder = TestRecorder::default();
    let _counting = recorder.install();
    let store = observe("scripted", Arc::clone(&scripted));
    call_with_every_outcome(&store, &scripted, &TestSession::new()).await;
    let mut expected = std::collections::BTreeMap::new();
    for operation in operations {
        let usual = match operation {
            // `call_with_other_outcomes` creates one session, rotates it, signs in and deletes it.
            "commit" => 3,
            "create" | "delete" => 2,
            _ => 1,
        };
        expected.insert(of(operation, "done"), usual);
        expected.extend(FAILURES.map(|(_, outcome)| (of(operation, outcome), 1)));
    }
    for (operation, outcome) in [
        ("create", "taken"),
        ("load", "absent"),
        ("delete", "absent"),
        ("commit", "conflict"),
        ("commit", "gone"),
        ("touch", "conflict"),
        ("touch", "gone"),
        ("commit", "superseded"),
        ("touch", "superseded"),
        ("delete", "superseded"),
    ] {
        expected.insert(of(operation, outcome), 1);
    }
    assert_eq!(recorder.nonzero_counters(), expected);
    for operation in operations {
        let calls: u64 = expected
            .iter()
            .filter(|(series, _)| series.contains(&format!("operation={operation},")))
            .map(|(_, count)| count)
            .sum();
        let took = recorder
            .values(&format!("{}{{store=scripted,operation={operation}}}", observe::CALL_SECONDS));
        assert_eq!(took.len() as u64, calls, "each {operation} is timed");
        assert!(took.iter().all(|seconds| (0.0..60.0).contains(seconds)), "{took:?}");
    }
}

#[tokio::test]
async fn a_store_behind_a_trait_object_is_observed() {
    let recorder = TestRecorder::default();
    let _counting = recorder.install();
    let erased: Arc<dyn SessionStore> = Arc::new(MemoryStore::new());
    let store: Arc<dyn SessionStore> = Arc::new(observe("memory", erased));
    store.ping().await.unwrap();
    assert_eq!(
        recorder.counter("session_store_calls_total{store=memory,operation=ping,outcome=done}"),
        Some(1)
    );
    assert!(format!("{store:?}").contains("MemoryStore"));
}

#[tokio::test]
async fn retries_are_counted_under_the_name_of_their_store() {
    let recorder = TestRecorder::default();
    let _counting = recorder.install();
    let _store = observe("redis", Arc::new(MemoryStore::new()));
    assert_eq!(recorder.counter("session_store_retries_total{store=redis}"), Some(0));
    observe::retried("redis");
    observe::retried("redis");
    assert_eq!(recorder.counter("session_store_retries_total{store=redis}"), Some(2));
}

/// A store with the name `scripted` that retries each call twice.
fn retrying_store() -> Arc<Scripted> {
    let scripted = Scripted::new("hunter2");
    scripted.behavior(Behavior::Retried);
    Arc::new(scripted)
}

fn retries(recorder: &TestRecorder, store: &str) -> Option<u64> {
    recorder.counter(&format!("{}{{store={store}}}", observe::RETRIES))
}

#[tokio::test(start_paused = true)]
async fn retries_are_counted_under_the_name_given_by_the_program() {
    let recorder = TestRecorder::default();
    let _counting = recorder.install();
    let stores = ["logins", "carts"].map(|name| observe(name, retrying_store()));
    let (first, second) = tokio::join!(stores[0].ping(), stores[1].ping());
    first.and(second).unwrap();
    stores[1].ping().await.unwrap();
    assert_eq!(
        ["logins", "carts", "scripted"].map(|name| retries(&recorder, name)),
        [Some(2), Some(4), None]
    );
    retrying_store().ping().await.unwrap();
    assert_eq!(
        retries(&recorder, "scripted"),
        Some(2),
        "without `observe` the store uses its own name"
    );
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_counted_when_it_is_made() {
    let recorder = TestRecorder::default();
    let _counting = recorder.install();
    let store = observe("logins", retrying_store());
    let _ = tokio::time::timeout(Duration::from_millis(999), store.ping()).await.unwrap_err();
    assert_eq!(
        retries(&recorder, "logins"),
        Some(1),
        "the call was dropped before its second retry"
    );
}
