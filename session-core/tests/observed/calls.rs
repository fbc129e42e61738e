//! Every operation with every outcome.

use std::{sync::Arc, time::Duration};

use session_core::{
    Change, Claim, Commit, Data, Guard, Json, MemoryStore, Name, NewRecord, Principal,
    PrincipalChange, Rotation, SessionId, SessionStore, StoreKey,
    observe::{self, Observed, observe},
};

use crate::{
    scripted::{Fate, Scripted},
    tally::Tally,
};

/// All fates but that of being served, and the outcome that each is counted as.
pub(crate) const FATES: [(Fate, &str); 6] = [
    (Fate::Unavailable, "unavailable"),
    (Fate::Timeout, "timeout"),
    (Fate::Corrupt, "corrupt"),
    (Fate::Rejected, "rejected"),
    (Fate::Failed, "failed"),
    (Fate::Hung, "dropped"),
];

/// What a store is asked for, as it is counted.
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

/// Names and values of one session.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) id: SessionId,
    pub(crate) principal: Principal,
    pub(crate) name: Name,
    pub(crate) value: Json,
}

impl Subject {
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

/// Makes each kind of call once. With a store that serves: of each the usual one, then the others.
pub(crate) async fn each(store: &dyn SessionStore, subject: &Subject) {
    let key = subject.key();
    drop(store.create(&key, subject.record()).await);
    drop(store.load(&key).await);
    drop(store.commit(&key, subject.change()).await);
    drop(store.commit(&key, subject.touch()).await);
    drop(store.list(&subject.principal, None, 10).await);
    drop(store.scan(None, 10).await);
    drop(store.delete_expired(10).await);
    drop(store.ping().await);
    drop(store.delete(&key, Claim::Any).await);
    drop(store.delete_all(&subject.principal, Some(&key)).await);
    drop(store.delete_everyone(None, 10).await);
}

/// The outcomes that are no error and not the usual ones.
pub(crate) async fn unusual(store: &dyn SessionStore, subject: &Subject) {
    let key = subject.key();
    drop(store.create(&key, subject.record()).await);
    drop(store.create(&key, subject.record()).await);
    drop(store.commit(&key, subject.change().guard(Guard::Version(77))).await);
    drop(store.commit(&key, subject.touch().guard(Guard::Version(77))).await);
    // A rotation alone is no touch.
    let next = subject.id.rotated().unwrap();
    let rotation =
        Rotation { secret: next.secret_hash(), generation: next.generation(), grace: None };
    drop(store.commit(&key, subject.commit().rotate(rotation)).await);
    drop(store.commit(&key, subject.change()).await);
    drop(store.commit(&key, subject.touch()).await);
    let signs_in =
        Commit::new(next.secret_hash()).principal(PrincipalChange::Set(subject.principal.clone()));
    let last = next.rotated().unwrap();
    let rotation =
        Rotation { secret: last.secret_hash(), generation: last.generation(), grace: None };
    drop(store.commit(&key, signs_in.rotate(rotation)).await);
    drop(store.delete(&key, Claim::Generation(1)).await);
    drop(store.delete(&key, Claim::Generation(2)).await);
    drop(store.load(&key).await);
    drop(store.commit(&key, subject.change()).await);
    drop(store.commit(&key, subject.touch()).await);
    drop(store.delete(&key, Claim::Any).await);
}

/// Makes all of them, with all fates.
pub(crate) async fn all(store: &Observed<Scripted>, scripted: &Scripted, subject: &Subject) {
    each(store, subject).await;
    unusual(store, subject).await;
    for (fate, _) in FATES {
        scripted.fate(fate);
        if fate == Fate::Hung {
            hung(store, subject).await;
        } else {
            each(store, subject).await;
        }
    }
    scripted.fate(Fate::Served);
}

/// Begins each call and lets go of it.
async fn hung(store: &dyn SessionStore, subject: &Subject) {
    let key = subject.key();
    let begun = async |call: &mut (dyn Future<Output = ()> + Send + Unpin)| {
        assert!(futures_poll(call).await.is_none(), "the store hangs");
    };
    macro_rules! begin {
        ($($call:expr),* $(,)?) => {
            $(begun(&mut Box::pin(async { drop($call.await) })).await;)*
        };
    }
    begin!(
        store.create(&key, subject.record()),
        store.load(&key),
        store.commit(&key, subject.change()),
        store.commit(&key, subject.touch()),
        store.list(&subject.principal, None, 10),
        store.scan(None, 10),
        store.delete_expired(10),
        store.ping(),
        store.delete(&key, Claim::Any),
        store.delete_all(&subject.principal, None),
        store.delete_everyone(None, 10),
    );
}

/// Polls once.
async fn futures_poll<F: Future + Unpin + ?Sized>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|context| match std::pin::Pin::new(&mut *future).poll(context) {
        std::task::Poll::Ready(done) => std::task::Poll::Ready(Some(done)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

#[tokio::test]
async fn every_operation_with_every_outcome_is_counted_once() {
    let tally = Tally::default();
    let _counting = tally.install();
    let scripted = Arc::new(Scripted::new("hunter2"));
    let store = observe("scripted", Arc::clone(&scripted));
    let operations = OPERATIONS;
    let of = |operation: &str, outcome: &str| {
        format!("{}{{store=scripted,operation={operation},outcome={outcome}}}", observe::CALLS)
    };
    for operation in operations {
        assert_eq!(tally.counter(&of(operation, "done")), Some(0), "there from the start");
    }
    assert_eq!(tally.counter(&of("ping", "conflict")), None, "what cannot come is no series");
    each(&store, &Subject::new()).await;
    let usual: Vec<_> = operations.iter().map(|operation| (of(operation, "done"), 1)).collect();
    assert_eq!(tally.counted(), usual.into_iter().collect());

    let tally = Tally::default();
    let _counting = tally.install();
    let store = observe("scripted", Arc::clone(&scripted));
    all(&store, &scripted, &Subject::new()).await;
    let mut expected = std::collections::BTreeMap::new();
    for operation in operations {
        let usual = match operation {
            // `unusual` needs one to begin with, rotates it, signs in and deletes it.
            "commit" => 3,
            "create" | "delete" => 2,
            _ => 1,
        };
        expected.insert(of(operation, "done"), usual);
        expected.extend(FATES.map(|(_, outcome)| (of(operation, outcome), 1)));
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
    assert_eq!(tally.counted(), expected);
    for operation in operations {
        let calls: u64 = expected
            .iter()
            .filter(|(series, _)| series.contains(&format!("operation={operation},")))
            .map(|(_, count)| count)
            .sum();
        let took = tally
            .values(&format!("{}{{store=scripted,operation={operation}}}", observe::CALL_SECONDS));
        assert_eq!(took.len() as u64, calls, "each {operation} is timed");
        assert!(took.iter().all(|seconds| (0.0..60.0).contains(seconds)), "{took:?}");
    }
}

#[tokio::test]
async fn a_store_behind_a_trait_object_is_observed_like_any_other() {
    let tally = Tally::default();
    let _counting = tally.install();
    let erased: Arc<dyn SessionStore> = Arc::new(MemoryStore::new());
    let store: Arc<dyn SessionStore> = Arc::new(observe("memory", erased));
    store.ping().await.unwrap();
    assert_eq!(
        tally.counter("session_store_calls_total{store=memory,operation=ping,outcome=done}"),
        Some(1)
    );
    assert!(format!("{store:?}").contains("MemoryStore"));
}

#[tokio::test]
async fn retries_are_counted_under_the_name_of_their_store() {
    let tally = Tally::default();
    let _counting = tally.install();
    let _store = observe("redis", Arc::new(MemoryStore::new()));
    assert_eq!(tally.counter("session_store_retries_total{store=redis}"), Some(0));
    observe::retried("redis");
    observe::retried("redis");
    assert_eq!(tally.counter("session_store_retries_total{store=redis}"), Some(2));
}

/// A store that tries twice more at each call, and calls itself `scripted`.
fn trying() -> Arc<Scripted> {
    let scripted = Scripted::new("hunter2");
    scripted.fate(Fate::Tries);
    Arc::new(scripted)
}

fn retries(tally: &Tally, store: &str) -> Option<u64> {
    tally.counter(&format!("{}{{store={store}}}", observe::RETRIES))
}

#[tokio::test(start_paused = true)]
async fn retries_of_an_observed_store_are_under_the_name_that_the_program_gives_it() {
    let tally = Tally::default();
    let _counting = tally.install();
    let stores = ["logins", "carts"].map(|name| observe(name, trying()));
    let (first, second) = tokio::join!(stores[0].ping(), stores[1].ping());
    first.and(second).unwrap();
    stores[1].ping().await.unwrap();
    assert_eq!(
        ["logins", "carts", "scripted"].map(|name| retries(&tally, name)),
        [Some(2), Some(4), None]
    );
    trying().ping().await.unwrap();
    assert_eq!(retries(&tally, "scripted"), Some(2), "nobody observes it");
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_counted_when_it_is_made() {
    let tally = Tally::default();
    let _counting = tally.install();
    let store = observe("logins", trying());
    let _ = tokio::time::timeout(Duration::from_millis(999), store.ping()).await.unwrap_err();
    assert_eq!(retries(&tally, "logins"), Some(1), "the call was over before the second");
}
