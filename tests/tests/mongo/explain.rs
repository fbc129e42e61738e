//! The query plans of the server: which index each call uses, and how many documents it reads.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::bson::{Bson, Document, doc};
use session_core::{Claim, Created, Deleted, NewRecord, SessionStore};
use store_mongo::MongoStore;
use tests::{
    PATIENCE,
    service::{AnyMongo, Mongo},
    wait,
};

use crate::{
    monitor::Monitor,
    session::{LONG, PATIENT, Session, connect, is_done, principal, with},
};

/// Number of live sessions.
const SESSIONS: usize = 5_000;
/// Number of live sessions of the listed user.
const BOBS: usize = 7;
/// Number of expired sessions.
const EXPIRED: usize = 10;

/// The plan in a response to `explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plan {
    /// The stages, in the order of execution.
    stages: Vec<String>,
    indexes: Vec<String>,
    keys: i64,
    documents: i64,
}

impl Plan {
    fn of(explained: &Document) -> Self {
        let statistics =
            explained.get_document("executionStats").expect("the explanation has statistics");
        let (mut stages, mut indexes) = (Vec::new(), Vec::new());
        let planner = explained.get_document("queryPlanner").expect("the explanation has a plan");
        let mut next = planner.get_document("winningPlan").ok();
        while let Some(stage) = next {
            // Later versions of the server nest the plan in `queryPlan`.
            next = stage.get_document("queryPlan").ok();
            if next.is_some() {
                continue;
            }
            stages.insert(0, stage.get_str("stage").expect("a stage has a name").to_owned());
            indexes.extend(stage.get_str("indexName").ok().map(str::to_owned));
            next = stage.get_document("inputStage").ok();
        }
        let count = |field| match statistics.get(field) {
            Some(Bson::Int32(count)) => i64::from(*count),
            Some(Bson::Int64(count)) => *count,
            other => panic!("{field}: {other:?}"),
        };
        Self {
            stages,
            indexes,
            keys: count("totalKeysExamined"),
            documents: count("totalDocsExamined"),
        }
    }

    fn uses_index(&self, index: &str) -> bool {
        self.indexes == [index] && self.stages.first().is_some_and(|stage| stage == "IXSCAN")
    }
}

/// The plans of the commands that the store sent. Fails unless the commands have these names.
async fn plans(monitor: &Monitor, sent: &[&str]) -> Vec<Plan> {
    let commands = monitor.take_commands();
    let names: Vec<_> = commands.iter().filter_map(|command| command.keys().next()).collect();
    assert_eq!(names, sent);
    let mut plans = Vec::new();
    for (command, name) in commands.iter().zip(names) {
        let plan = Plan::of(&monitor.explain(command).await);
        eprintln!("{name}: {plan:?}");
        plans.push(plan);
    }
    plans
}

/// A server that does not purge by itself, with sessions, and a monitored store.
async fn filled() -> Option<(AnyMongo, Monitor, MongoStore)> {
    let server = AnyMongo::server_with(&["--setParameter", "ttlMonitorEnabled=false"]).await?;
    let monitor = Monitor::of(&server).await;
    fill(&connect(&server.url(PATIENT)).await).await;
    let store = monitor.store().await;
    Some((server, monitor, store))
}

async fn fill(store: &MongoStore) {
    let record = |session: Session, ttl, user: &str| {
        (session.key, NewRecord::new(session.secret, ttl).principal(principal(user)))
    };
    let others = |number: usize| record(Session::new(), LONG, &format!("user-{}", number % 100));
    let bobs = (0..BOBS).map(|_| record(Session::new(), LONG, "bob"));
    let brief = (0..EXPIRED).map(|_| record(Session::new(), Duration::from_millis(1), "carol"));
    let records = (0..SESSIONS - BOBS).map(others).chain(bobs).chain(brief);
    let created = stream::iter(records)
        .map(|(key, record)| async move { store.create(&key, record).await.map(drop) });
    created.buffer_unordered(16).try_collect::<()>().await.expect("the sessions are created");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_uses_its_index_and_reads_only_its_documents() {
    let Some((server, monitor, store)) = filled().await else { return };
    let session = Session::signed_in(&connect(&server.url(PATIENT)).await, "dave").await;

    assert!(store.load(&session.key).await.expect("the store responds").is_some());
    let plan = plans(&monitor, &["find"]).await.remove(0);
    assert!(plan.stages[0] == "IDHACK" && plan.documents == 1, "{plan:?}");
    assert!(is_done(&store.commit(&session.key, session.add("n", 1)).await));
    let plan = plans(&monitor, &["findAndModify"]).await.remove(0);
    assert!(plan.stages[0] == "IDHACK" && plan.documents == 1, "{plan:?}");
    let next = session.rotated();
    assert!(is_done(&store.commit(&session.key, session.renew(&next)).await));
    let plan = plans(&monitor, &["findAndModify"]).await.remove(0);
    assert!(plan.stages[0] == "IDHACK" && plan.documents == 1, "{plan:?}");
    assert_eq!(
        store.create(&session.key, session.record()).await.expect("the store responds"),
        Created::Taken
    );
    let plan = plans(&monitor, &["update"]).await.remove(0);
    assert!(plan.stages[0] == "IDHACK" && plan.documents == 1, "{plan:?}");

    assert_eq!(
        store.list(&principal("bob"), None, 100).await.expect("list succeeds").sessions.len(),
        BOBS
    );
    let plan = plans(&monitor, &["find"]).await.remove(0);
    assert!(
        plan.uses_index("session_principal")
            && plan.documents == i64::try_from(BOBS).expect("the number fits"),
        "{plan:?}"
    );
    assert!(!plan.stages.iter().any(|stage| stage == "SORT"), "{plan:?}");
    // The second page starts after the first one.
    let first = store.list(&principal("bob"), None, 4).await.expect("the page is read");
    let rest = store
        .list(&principal("bob"), first.next, 100)
        .await
        .expect("the page is read")
        .sessions
        .len();
    assert_eq!(rest, BOBS - 4);
    let plan = plans(&monitor, &["find", "find"]).await.remove(1);
    assert!(
        plan.uses_index("session_principal")
            && plan.documents == i64::try_from(rest).expect("the number fits"),
        "{plan:?}"
    );
    // A user without sessions, because `explain` runs after the call and has to find the same
    // documents.
    assert_eq!(
        store
            .delete_all(&principal("user-without-sessions"), None)
            .await
            .expect("delete_all succeeds"),
        0
    );
    let plan = plans(&monitor, &["delete"]).await.remove(0);
    assert!(plan.uses_index("session_principal") && plan.documents == 0, "{plan:?}");

    for (claim, stage) in [(Claim::Any, "IDHACK"), (Claim::Generation(9), "IXSCAN")] {
        let session = Session::anonymous(&connect(&server.url(PATIENT)).await).await;
        assert_eq!(
            store.delete(&session.key, claim).await.expect("the store responds"),
            Deleted::Ended
        );
        let plan = plans(&monitor, &["findAndModify"]).await.remove(0);
        assert!(plan.stages[0] == stage && plan.keys <= 1 && plan.documents <= 1, "{plan:?}");
    }

    let page = store.scan(None, 10).await.expect("the page is read");
    assert!(page.next.is_some());
    let plan = plans(&monitor, &["find"]).await.remove(0);
    assert!(plan.indexes == ["_id_"] && plan.documents == 10, "{plan:?}");
}

/// The purge finds expired documents by the index and does not scan the collection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c31_purge_reads_only_expired_documents() {
    let Some((server, monitor, store)) = filled().await else { return };
    // One more than exist, so that the server also has to detect the end.
    let purged = store.delete_expired(EXPIRED + 1).await.expect("delete_expired succeeds");
    assert_eq!(purged, u64::try_from(EXPIRED).expect("the number fits"));
    let commands = monitor.take_commands();
    let (find, delete) = (&commands[0], &commands[1]);
    // Restores the state before the purge for `explain`.
    let again = connect(&server.url(PATIENT)).await;
    for _ in 0..EXPIRED {
        let session = Session::new();
        let record = NewRecord::new(session.secret, Duration::from_millis(1));
        let _ = again.create(&session.key, record).await.expect("the session is created");
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    let found = Plan::of(&monitor.explain(find).await);
    let deleted = Plan::of(&monitor.explain(delete).await);
    eprintln!("{SESSIONS} sessions, {EXPIRED} expired\nfind: {found:?}\ndelete: {deleted:?}");
    let most = i64::try_from(2 * EXPIRED).expect("the number fits");
    assert!(found.uses_index("session_expiry"), "{found:?}");
    assert!(
        found.documents <= most && found.keys <= most,
        "{SESSIONS} sessions, {EXPIRED} expired: {found:?}"
    );
    assert!(
        deleted.documents <= most && deleted.keys <= most,
        "{SESSIONS} sessions, {EXPIRED} expired: {deleted:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c30_server_deletes_expired_documents() {
    let Some(mongo) = Mongo::start_with(&["--setParameter", "ttlMonitorSleepSecs=1"]).await else {
        return;
    };
    let store = connect(&with(&mongo.url(), PATIENT)).await;
    let documents =
        mongo.client().await.database(mongo.database()).collection::<Document>("sessions");
    let indexes: Vec<_> = documents
        .list_indexes()
        .await
        .expect("the store responds")
        .try_collect()
        .await
        .expect("the store responds");
    let expiry = indexes
        .iter()
        .filter_map(|index| index.options.as_ref())
        .find(|options| options.name.as_deref() == Some("session_expiry"));
    assert_eq!(expiry.and_then(|options| options.expire_after), Some(Duration::ZERO));
    let live = Session::signed_in(&store, "bob").await;
    for _ in 0..EXPIRED {
        let session = Session::new();
        let record = NewRecord::new(session.secret, Duration::from_millis(500));
        let _ = store.create(&session.key, record).await.expect("the session is created");
    }
    let held = async || documents.count_documents(doc! {}).await.expect("the server responds");
    assert_eq!(held().await, 1 + u64::try_from(EXPIRED).expect("the number fits"));
    wait::until("the server to delete expired documents", PATIENCE, async || {
        (held().await == 1).then_some(())
    })
    .await;
    assert!(store.load(&live.key).await.expect("the store responds").is_some());
}
