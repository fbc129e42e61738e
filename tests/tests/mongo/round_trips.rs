//! The round trips of requests and calls, counted by the driver that sends the commands.

use std::{sync::Arc, time::Duration};

use session_core::{
    Claim, Created, Deleted, Guard, NewRecord, Outcome, Policy, Rotation, Session, SessionContext,
    SessionError, SessionId, SessionStore, cookie::VerifiedCookies,
};
use store_mongo::MongoStore;
use tests::{forged_cookies, run_request, service::AnyMongo, session, verified_cookies};

use crate::{
    monitor::Monitor,
    session::{LONG, PATIENT, connect, is_done, principal},
};

/// The idle timeout of these sessions. The tests wait for a quarter of it.
const IDLE: Duration = Duration::from_secs(4);

const FIND: &[&str] = &["find"];
const COMMIT: &[&str] = &["findAndModify"];
const FIND_COMMIT: &[&str] = &["find", "findAndModify"];

/// A store with a monitored client, and the table of its round trips.
struct Fixture {
    context: Arc<SessionContext>,
    store: MongoStore,
    monitor: Monitor,
    table: Vec<String>,
    server: AnyMongo,
}

impl Fixture {
    async fn start() -> Option<Self> {
        let server = AnyMongo::server_with(&["--setParameter", "ttlMonitorEnabled=false"]).await?;
        let monitor = Monitor::of(&server).await;
        let store = monitor.store().await;
        let context = Arc::new(SessionContext::new(
            Arc::new(store.clone()),
            Policy::default().idle_timeout(IDLE),
        ));
        Some(Self { context, store, monitor, table: Vec::new(), server })
    }

    /// Runs a request with this cookie and checks its round trips. Returns the id that the response
    /// sets.
    async fn request(
        &mut self,
        what: &str,
        expected: &[&str],
        cookie: Option<&SessionId>,
        handler: impl AsyncFnOnce(&Session) -> Result<(), SessionError>,
    ) -> Option<SessionId> {
        let _ = self.monitor.names();
        let context = Arc::clone(&self.context);
        let issued = run_request(context, verified_cookies(cookie), handler).await;
        self.check(what, expected);
        issued
    }

    /// Checks the commands since the last check and adds a row to the table.
    fn check(&mut self, what: &str, expected: &[&str]) {
        let sent = self.monitor.names();
        assert_eq!(sent, expected, "{what}");
        self.table.push(format!("{what:<58} {} {}", sent.len(), sent.join(", ")));
    }

    async fn signed_in(&mut self) -> SessionId {
        let issued = self.request(
            "a sign-in of a new session, with data",
            &["update"],
            None,
            async |session| {
                session.sign_in(principal("bob"));
                session.insert("n", &1)
            },
        );
        issued.await.expect("the response sets a cookie")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_take_the_documented_round_trips() {
    let Some(mut fixture) = Fixture::start().await else { return };
    let id = &fixture.signed_in().await;
    fixture.request("a route that does not use the session", &[], Some(id), async |_| Ok(())).await;
    fixture
        .request("no cookie, a read", &[], None, async |session| session.names().await.map(drop))
        .await;
    assert_eq!(
        forged_cookies(id),
        VerifiedCookies::default(),
        "the store does not look up an unverifiable cookie"
    );
    let issued = fixture
        .request("a read", FIND, Some(id), async |session| session.get::<i64>("n").await.map(drop))
        .await;
    assert_eq!(issued, None, "a read sets no cookie");
    fixture
        .request("an add", COMMIT, Some(id), async |session| session.add("n", 1).await.map(drop))
        .await;
    fixture
        .request("a blind insert", COMMIT, Some(id), async |session| session.insert("a", &1))
        .await;
    fixture.request("a blind remove", COMMIT, Some(id), async |session| session.remove("a")).await;
    let read_then_insert = async |session: &Session| {
        let held: Option<i64> = session.get("b").await?;
        session.insert("b", &held.map_or(1, |held| held + 1))
    };
    fixture.request("a read, then an insert", FIND_COMMIT, Some(id), read_then_insert).await;
    let equal = async |session: &Session| {
        let held: Option<i64> = session.get("b").await?;
        session.insert("b", &held)
    };
    fixture.request("a read, then an insert of the same value", FIND, Some(id), equal).await;
    let many = async |session: &Session| {
        session.insert("c", &1)?;
        session.insert("d", &2)?;
        session.remove("b")
    };
    fixture.request("several blind changes", COMMIT, Some(id), many).await;
    let update = async |session: &Session| {
        session.update("n", |held: Option<i64>| held.map(|held| held + 1)).await.map(drop)
    };
    fixture.request("an update of a value", FIND_COMMIT, Some(id), update).await;
    let first = fixture
        .request("the first write of a new session", &["update"], None, async |session| {
            session.insert("n", &1)
        })
        .await;
    assert!(first.is_some());
    let rotate = async |session: &Session| {
        session.renew();
        session.insert("e", &1)
    };
    let id = fixture
        .request("a rotation together with data, after its load", FIND_COMMIT, Some(id), rotate)
        .await
        .expect("the response sets a new id");
    fixture.request("a deletion", COMMIT, Some(&id), async |session| session.destroy().await).await;

    let (read_late, written_late) = (&fixture.signed_in().await, &fixture.signed_in().await);
    // The session is extended when less than three quarters of the idle timeout are left.
    tokio::time::sleep(IDLE / 4 + Duration::from_millis(200)).await;
    let read = async |session: &Session| session.get::<i64>("n").await.map(drop);
    fixture
        .request(
            "a read when less than 3/4 of the idle timeout is left",
            FIND_COMMIT,
            Some(read_late),
            read,
        )
        .await;
    fixture.request("the read after that", FIND, Some(read_late), read).await;
    let folded = async |session: &Session| {
        session.get::<i64>("n").await?;
        session.insert("n", &2)
    };
    fixture
        .request(
            "a read, then an insert, when less than 3/4 is left",
            FIND_COMMIT,
            Some(written_late),
            folded,
        )
        .await;
    eprintln!("round trips to MongoDB:\n{}", fixture.table.join("\n"));
}

/// The response contains everything that determines the outcome, and the server's time unless the
/// store has cached it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c46_every_commit_outcome_takes_one_round_trip() {
    let Some(mut fixture) = Fixture::start().await else { return };
    let store = fixture.store.clone();
    let session = session::Session::anonymous(&store).await;
    let text = session.set("text", "\"t\"").change(
        session::name("most"),
        session_core::Change::Set(session_core::Json::integer(i64::MAX)),
    );
    assert!(is_done(&store.commit(&session.key, text).await));
    let brief = session::Session::new();
    let record = NewRecord::new(brief.secret, Duration::from_millis(1));
    let _ = store.create(&brief.key, record).await.expect("the session is created");
    // With a cached server time and without.
    for pause in [Duration::ZERO, Duration::from_millis(50)] {
        let mut commit = async |what: &str, of: &session::Session, commit| {
            store.ping().await.expect("the store responds");
            tokio::time::sleep(pause).await;
            if pause.is_zero() {
                let _ = store.load(&session.key).await.expect("the store responds");
            }
            let _ = fixture.monitor.names();
            let outcome = store.commit(&of.key, commit).await;
            fixture.check(what, COMMIT);
            outcome
        };
        let unchanged = commit(
            "a commit with a conflict",
            &session,
            session.set("a", "1").guard(Guard::Version(9)),
        )
        .await;
        assert_eq!(unchanged.expect("the store responds"), Outcome::Conflict);
        let superseded =
            commit("a commit with a superseded secret", &session, session.rotated().set("a", "1"))
                .await;
        assert_eq!(superseded.expect("the store responds"), Outcome::Superseded);
        assert!(commit("an add to a string", &session, session.add("text", 1)).await.is_err());
        assert!(commit("an add beyond 64 bits", &session, session.add("most", 1)).await.is_err());
        let large = session
            .set("a", &format!("\"{}\"", "x".repeat(65_530)))
            .change(session::name("text"), session_core::Change::Remove);
        assert!(commit("a commit that exceeds the limit", &session, large).await.is_err());
        let over =
            commit("a commit to an expired, stored session", &brief, brief.add("n", 1)).await;
        assert_eq!(over.expect("the store responds"), Outcome::Gone);
        let never = session::Session::new();
        let gone = commit("a commit to a missing session", &never, never.add("n", 1)).await;
        assert_eq!(gone.expect("the store responds"), Outcome::Gone);
        let grace =
            Rotation { secret: session.secret, generation: 1, grace: Some(Duration::from_secs(5)) };
        assert!(is_done(
            &commit("a rotation with a grace period", &session, session.commit().rotate(grace))
                .await
        ));
        let no_grace = Rotation { grace: None, ..grace };
        assert!(is_done(&commit("a rotation", &session, session.commit().rotate(no_grace)).await));
        assert!(is_done(&commit("an extension", &session, session.commit().ttl(LONG)).await));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_calls_take_the_documented_round_trips() {
    let Some(mut fixture) = Fixture::start().await else { return };
    let store = fixture.store.clone();
    let session = session::Session::signed_in(&store, "bob").await;
    fixture.check("a creation", &["update"]);
    assert_eq!(
        store.create(&session.key, session.record()).await.expect("the store responds"),
        Created::Taken
    );
    fixture.check("a creation with a taken key", &["update"]);
    assert!(is_done(&store.commit(&session.key, session.commit()).await));
    fixture.check("an empty commit", FIND);
    let superseded =
        store.commit(&session.key, session.rotated().commit()).await.expect("the store responds");
    assert_eq!(superseded, Outcome::Superseded);
    fixture.check("an empty commit with a superseded secret", FIND);
    assert!(store.load(&session.key).await.expect("the store responds").is_some());
    fixture.check("a load", FIND);
    assert!(store.load(&session::Session::new().key).await.expect("the store responds").is_none());
    fixture.check("a load of a missing session", FIND);

    assert_eq!(
        store.list(&principal("bob"), None, 10).await.expect("list succeeds").sessions.len(),
        1
    );
    fixture.check("a page of a list", FIND);
    assert_eq!(store.delete_all(&principal("bob"), None).await.expect("delete_all succeeds"), 1);
    fixture.check("delete_all", &["delete", "delete"]);
    assert_eq!(store.delete_all(&principal("bob"), None).await.expect("delete_all succeeds"), 0);
    fixture.check("delete_all without sessions", &["delete"]);
    for claim in [Claim::Any, Claim::Generation(0)] {
        let session = session::Session::anonymous(&store).await;
        let _ = fixture.monitor.names();
        assert_eq!(
            store.delete(&session.key, claim).await.expect("the store responds"),
            Deleted::Ended
        );
        fixture.check("a deletion", COMMIT);
    }
    assert_eq!(
        store.delete(&session.key, Claim::Any).await.expect("the store responds"),
        Deleted::Missing
    );
    fixture.check("a deletion of a missing session", COMMIT);
    assert_eq!(
        store.delete(&session.key, Claim::Generation(0)).await.expect("the store responds"),
        Deleted::Missing
    );
    fixture.check("a deletion of a missing session, by generation", &["findAndModify", "find"]);
    let signed_in = session::Session::anonymous(&store).await;
    assert!(is_done(
        &store.commit(&signed_in.key, signed_in.sign_in("bob", &signed_in.rotated())).await
    ));
    let _ = fixture.monitor.names();
    assert_eq!(
        store.delete(&signed_in.key, Claim::Generation(0)).await.expect("the store responds"),
        Deleted::Superseded
    );
    fixture.check("a deletion by an earlier generation", &["findAndModify", "find"]);

    assert!(store.scan(None, 10).await.expect("the page is read").next.is_none());
    fixture.check("a page of a scan", FIND);
    assert_eq!(store.delete_expired(10).await.expect("delete_expired succeeds"), 0);
    fixture.check("delete_expired without expired sessions", FIND);
    let brief = session::Session::new();
    let record = NewRecord::new(brief.secret, Duration::from_millis(1));
    let _ = store.create(&brief.key, record.clone()).await.expect("the session is created");
    tokio::time::sleep(Duration::from_millis(20)).await;
    let _ = fixture.monitor.names();
    assert_eq!(store.create(&brief.key, record).await.expect("the store responds"), Created::New);
    fixture.check("a creation over an expired record", &["update"]);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(store.delete_expired(10).await.expect("delete_expired succeeds"), 1);
    fixture.check("delete_expired", &["find", "delete"]);
    assert_eq!(store.delete_everyone(None, 10).await.expect("the page is read").ended, 1);
    fixture.check("a page of delete_everyone", &["find", "delete"]);
    assert_eq!(store.delete_everyone(None, 10).await.expect("the page is read").ended, 0);
    fixture.check("a page of delete_everyone without sessions", FIND);
    store.ping().await.expect("the store responds");
    fixture.check("a ping", &["ping"]);
    eprintln!("round trips to MongoDB:\n{}", fixture.table.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_takes_one_round_trip_for_each_1000_sessions() {
    let Some(fixture) = Fixture::start().await else { return };
    let all = connect(&fixture.server.url(PATIENT)).await;
    for _ in 0..11 {
        let sessions = (0..100).map(|_| session::Session::signed_in(&all, "carol"));
        futures_util::future::join_all(sessions).await;
    }
    let first =
        fixture.store.list(&principal("carol"), None, 5_000).await.expect("the page is read");
    let second =
        fixture.store.list(&principal("carol"), first.next, 5_000).await.expect("the page is read");
    assert_eq!((first.sessions.len(), second.sessions.len(), second.next), (1_000, 100, None));
    assert_eq!(fixture.monitor.names(), ["find", "find"]);
}
