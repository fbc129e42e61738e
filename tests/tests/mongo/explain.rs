//! How a server finds what it is asked for: by which index, and past how much else.

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

/// How many sessions there are.
const SESSIONS: usize = 5_000;
/// How many of them are the user's who is listed.
const BOBS: usize = 7;
/// How many more there are whose time is over.
const EXPIRED: usize = 10;

/// What a server's plan says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plan {
    /// Its steps, from the first one.
    stages: Vec<String>,
    indexes: Vec<String>,
    keys: i64,
    documents: i64,
}

impl Plan {
    fn of(explained: &Document) -> Self {
        let statistics = explained.get_document("executionStats").expect("it was executed");
        let (mut stages, mut indexes) = (Vec::new(), Vec::new());
        let planner = explained.get_document("queryPlanner").expect("it was planned");
        let mut next = planner.get_document("winningPlan").ok();
        while let Some(stage) = next {
            // A server of a later version says it twice.
            next = stage.get_document("queryPlan").ok();
            if next.is_some() {
                continue;
            }
            stages.insert(0, stage.get_str("stage").expect("a step has a name").to_owned());
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

    fn is_by(&self, index: &str) -> bool {
        self.indexes == [index] && self.stages.first().is_some_and(|stage| stage == "IXSCAN")
    }
}

/// The plans of what a call sent, which is to be these commands.
async fn plans(monitor: &Monitor, sent: &[&str]) -> Vec<Plan> {
    let commands = monitor.heard();
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
    created.buffer_unordered(16).try_collect::<()>().await.expect("new sessions");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_finds_what_it_is_about_by_its_index_and_passes_nothing_else() {
    let Some(server) = AnyMongo::server_with(&["--setParameter", "ttlMonitorEnabled=false"]).await
    else {
        return;
    };
    let monitor = Monitor::of(&server).await;
    fill(&connect(&server.url(PATIENT)).await).await;
    let store = monitor.store().await;
    let session = Session::signed_in(&connect(&server.url(PATIENT)).await, "dave").await;

    assert!(store.load(&session.key).await.expect("an answer").is_some());
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
        store.create(&session.key, session.record()).await.expect("an answer"),
        Created::Taken
    );
    let plan = plans(&monitor, &["update"]).await.remove(0);
    assert!(plan.stages[0] == "IDHACK" && plan.documents == 1, "{plan:?}");

    assert_eq!(
        store.list(&principal("bob"), None, 100).await.expect("a list").sessions.len(),
        BOBS
    );
    let plan = plans(&monitor, &["find"]).await.remove(0);
    assert!(
        plan.is_by("session_principal") && plan.documents == i64::try_from(BOBS).expect("few"),
        "{plan:?}"
    );
    assert!(!plan.stages.iter().any(|stage| stage == "SORT"), "{plan:?}");
    // A later page begins where the former one ended.
    let first = store.list(&principal("bob"), None, 4).await.expect("a page");
    let rest = store.list(&principal("bob"), first.next, 100).await.expect("a page").sessions.len();
    assert_eq!(rest, BOBS - 4);
    let plan = plans(&monitor, &["find", "find"]).await.remove(1);
    assert!(
        plan.is_by("session_principal") && plan.documents == i64::try_from(rest).expect("few"),
        "{plan:?}"
    );
    // A user without sessions, so that the second look of the server finds what the first one
    // found.
    assert_eq!(store.delete_all(&principal("nobody"), None).await.expect("an end of all"), 0);
    let plan = plans(&monitor, &["delete"]).await.remove(0);
    assert!(plan.is_by("session_principal") && plan.documents == 0, "{plan:?}");

    for (claim, stage) in [(Claim::Any, "IDHACK"), (Claim::Generation(9), "IXSCAN")] {
        let session = Session::anonymous(&connect(&server.url(PATIENT)).await).await;
        assert_eq!(store.delete(&session.key, claim).await.expect("an answer"), Deleted::Ended);
        let plan = plans(&monitor, &["findAndModify"]).await.remove(0);
        assert!(plan.stages[0] == stage && plan.keys <= 1 && plan.documents <= 1, "{plan:?}");
    }

    let page = store.scan(None, 10).await.expect("a page");
    assert!(page.next.is_some());
    let plan = plans(&monitor, &["find"]).await.remove(0);
    assert!(plan.indexes == ["_id_"] && plan.documents == 10, "{plan:?}");
}

/// What is purged is found by its time, and not by looking at everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c31_a_purge_looks_at_what_is_over_and_at_little_else() {
    let Some(server) = AnyMongo::server_with(&["--setParameter", "ttlMonitorEnabled=false"]).await
    else {
        return;
    };
    let monitor = Monitor::of(&server).await;
    fill(&connect(&server.url(PATIENT)).await).await;
    let store = monitor.store().await;
    // One more than there are, so that the server has to find out that there are no others.
    let purged = store.delete_expired(EXPIRED + 1).await.expect("a purge");
    assert_eq!(purged, u64::try_from(EXPIRED).expect("few"));
    let heard = monitor.heard();
    let (find, delete) = (&heard[0], &heard[1]);
    // As it was before the purge.
    let again = connect(&server.url(PATIENT)).await;
    for _ in 0..EXPIRED {
        let session = Session::new();
        let record = NewRecord::new(session.secret, Duration::from_millis(1));
        let _ = again.create(&session.key, record).await.expect("a new session");
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    let found = Plan::of(&monitor.explain(find).await);
    let deleted = Plan::of(&monitor.explain(delete).await);
    eprintln!("{SESSIONS} sessions, {EXPIRED} over\nfind: {found:?}\ndelete: {deleted:?}");
    let most = i64::try_from(2 * EXPIRED).expect("few");
    assert!(found.is_by("session_expiry"), "{found:?}");
    assert!(
        found.documents <= most && found.keys <= most,
        "{SESSIONS} sessions, {EXPIRED} over: {found:?}"
    );
    assert!(
        deleted.documents <= most && deleted.keys <= most,
        "{SESSIONS} sessions, {EXPIRED} over: {deleted:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c30_the_server_itself_deletes_what_is_over() {
    let Some(mongo) = Mongo::start_with(&["--setParameter", "ttlMonitorSleepSecs=1"]).await else {
        return;
    };
    let store = connect(&with(&mongo.url(), PATIENT)).await;
    let documents =
        mongo.client().await.database(mongo.database()).collection::<Document>("sessions");
    let indexes: Vec<_> =
        documents.list_indexes().await.expect("an answer").try_collect().await.expect("an answer");
    let expiry = indexes
        .iter()
        .filter_map(|index| index.options.as_ref())
        .find(|options| options.name.as_deref() == Some("session_expiry"));
    assert_eq!(expiry.and_then(|options| options.expire_after), Some(Duration::ZERO));
    let stays = Session::signed_in(&store, "bob").await;
    for _ in 0..EXPIRED {
        let session = Session::new();
        let record = NewRecord::new(session.secret, Duration::from_millis(500));
        let _ = store.create(&session.key, record).await.expect("a new session");
    }
    let held = async || documents.count_documents(doc! {}).await.expect("the server answers");
    assert_eq!(held().await, 1 + u64::try_from(EXPIRED).expect("few"));
    wait::until("the server to delete what is over", PATIENCE, async || {
        (held().await == 1).then_some(())
    })
    .await;
    assert!(store.load(&stays.key).await.expect("an answer").is_some());
}
