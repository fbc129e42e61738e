//! What a request costs: the design's table of round trips, counted by the driver that makes them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use session_core::{
    Claim, CookieChange, CookieDelivery, Created, Deleted, Guard, NewRecord, Outcome, Policy,
    RecordedChanges, Rotation, Session, SessionContext, SessionDriver, SessionError, SessionId,
    SessionStore,
    cookie::{CookieCodec, CookieConfig, Key, SignedBy, VerifiedCookie, VerifiedCookies},
};
use store_mongo::MongoStore;
use tests::{KEY, service::AnyMongo, session};

use crate::{
    monitor::Monitor,
    session::{LONG, PATIENT, connect, is_done, principal},
};

/// The idle timeout of these sessions; a quarter of it is waited for.
const IDLE: Duration = Duration::from_secs(4);

const FIND: &[&str] = &["find"];
const COMMIT: &[&str] = &["findAndModify"];
const FIND_COMMIT: &[&str] = &["find", "findAndModify"];

/// Sessions in a MongoDB whose driver tells what it sends.
struct Site {
    context: Arc<SessionContext>,
    store: MongoStore,
    monitor: Monitor,
    table: Vec<String>,
    server: AnyMongo,
}

impl Site {
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

    /// A request with this cookie: the id that its response brings, after the round trips that it
    /// is to take.
    async fn request(
        &mut self,
        what: &str,
        expected: &[&str],
        cookie: Option<&SessionId>,
        handler: impl AsyncFnOnce(&Session) -> Result<(), SessionError>,
    ) -> Option<SessionId> {
        let _ = self.monitor.names();
        let verified =
            |id: &SessionId| VerifiedCookie { id: id.clone(), signed_by: SignedBy::Current };
        let cookies = cookie.map_or_else(VerifiedCookies::default, |id| verified(id).into());
        let driver = SessionDriver::open(
            Arc::clone(&self.context),
            cookies,
            CookieDelivery::Possible,
            Instant::now(),
        );
        handler(driver.session()).await.expect("the handler succeeds");
        driver.finish(RecordedChanges::Commit).await.expect("the store commits");
        self.costs(what, expected);
        match driver.cookie() {
            CookieChange::Issue { id, .. } => Some(id),
            CookieChange::Keep | CookieChange::Remove => None,
        }
    }

    /// What was sent since the last look is this.
    fn costs(&mut self, what: &str, expected: &[&str]) {
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
        issued.await.expect("a cookie")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_costs_the_round_trips_of_the_design() {
    let Some(mut site) = Site::start().await else { return };
    let id = &site.signed_in().await;
    site.request("a route that never touches the session", &[], Some(id), async |_| Ok(())).await;
    site.request("no cookie, a read", &[], None, async |session| session.names().await.map(drop))
        .await;
    let codec = CookieCodec::signed(
        CookieConfig::development(),
        &Key::parse(KEY).expect("a strong key").into(),
    )
    .expect("a cookie");
    let unsigned =
        [b"id=2.".as_slice(), &id.to_text(), b".AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]
            .concat();
    assert_eq!(
        codec.read([unsigned.as_slice()]),
        VerifiedCookies::default(),
        "an unverifiable cookie is not looked up"
    );
    let issued = site
        .request("a read", FIND, Some(id), async |session| session.get::<i64>("n").await.map(drop))
        .await;
    assert_eq!(issued, None, "a read sends no cookie");
    site.request("an add", COMMIT, Some(id), async |session| session.add("n", 1).await.map(drop))
        .await;
    site.request("a blind insert", COMMIT, Some(id), async |session| session.insert("a", &1)).await;
    site.request("a blind remove", COMMIT, Some(id), async |session| session.remove("a")).await;
    let read_then_insert = async |session: &Session| {
        let held: Option<i64> = session.get("b").await?;
        session.insert("b", &held.map_or(1, |held| held + 1))
    };
    site.request("a read, then an insert", FIND_COMMIT, Some(id), read_then_insert).await;
    let equal = async |session: &Session| {
        let held: Option<i64> = session.get("b").await?;
        session.insert("b", &held)
    };
    site.request("a read, then an insert of the same value", FIND, Some(id), equal).await;
    let many = async |session: &Session| {
        session.insert("c", &1)?;
        session.insert("d", &2)?;
        session.remove("b")
    };
    site.request("several blind changes", COMMIT, Some(id), many).await;
    let update = async |session: &Session| {
        session.update("n", |held: Option<i64>| held.map(|held| held + 1)).await.map(drop)
    };
    site.request("an update of a value", FIND_COMMIT, Some(id), update).await;
    let first = site
        .request("the first write of a new session", &["update"], None, async |session| {
            session.insert("n", &1)
        })
        .await;
    assert!(first.is_some());
    let rotate = async |session: &Session| {
        session.renew();
        session.insert("e", &1)
    };
    let id = site
        .request("a rotation together with data, after its load", FIND_COMMIT, Some(id), rotate)
        .await
        .expect("a new id");
    site.request("an end", COMMIT, Some(&id), async |session| session.destroy().await).await;

    let (read_late, written_late) = (&site.signed_in().await, &site.signed_in().await);
    // A life is extended when less than three quarters of it are left.
    tokio::time::sleep(IDLE / 4 + Duration::from_millis(200)).await;
    let read = async |session: &Session| session.get::<i64>("n").await.map(drop);
    site.request(
        "a read when less than 3/4 of the idle timeout is left",
        FIND_COMMIT,
        Some(read_late),
        read,
    )
    .await;
    site.request("the read after that", FIND, Some(read_late), read).await;
    let folded = async |session: &Session| {
        session.get::<i64>("n").await?;
        session.insert("n", &2)
    };
    site.request(
        "a read, then an insert, when less than 3/4 is left",
        FIND_COMMIT,
        Some(written_late),
        folded,
    )
    .await;
    eprintln!("round trips to MongoDB:\n{}", site.table.join("\n"));
}

/// Every commit is one round trip, whatever its verdict is: the answer holds what tells it, and the
/// server's time if none was heard of late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c46_every_verdict_of_a_commit_costs_one_round_trip() {
    let Some(mut site) = Site::start().await else { return };
    let store = site.store.clone();
    let session = session::Session::anonymous(&store).await;
    let text = session.set("text", "\"t\"").change(
        session::name("most"),
        session_core::Change::Set(session_core::Json::integer(i64::MAX)),
    );
    assert!(is_done(&store.commit(&session.key, text).await));
    let brief = session::Session::new();
    let record = NewRecord::new(brief.secret, Duration::from_millis(1));
    let _ = store.create(&brief.key, record).await.expect("a new session");
    // Once with a time that was heard a moment ago, and once without.
    for pause in [Duration::ZERO, Duration::from_millis(50)] {
        let mut commit = async |what: &str, of: &session::Session, commit| {
            store.ping().await.expect("an answer");
            tokio::time::sleep(pause).await;
            if pause.is_zero() {
                let _ = store.load(&session.key).await.expect("an answer");
            }
            let _ = site.monitor.names();
            let outcome = store.commit(&of.key, commit).await;
            site.costs(what, COMMIT);
            outcome
        };
        let unchanged = commit(
            "a commit that its guard refuses",
            &session,
            session.set("a", "1").guard(Guard::Version(9)),
        )
        .await;
        assert_eq!(unchanged.expect("an answer"), Outcome::Conflict);
        let superseded =
            commit("a commit of a superseded secret", &session, session.rotated().set("a", "1"))
                .await;
        assert_eq!(superseded.expect("an answer"), Outcome::Superseded);
        assert!(commit("an add to a text", &session, session.add("text", 1)).await.is_err());
        assert!(commit("an add beyond 64 bits", &session, session.add("most", 1)).await.is_err());
        let large = session
            .set("a", &format!("\"{}\"", "x".repeat(65_530)))
            .change(session::name("text"), session_core::Change::Remove);
        assert!(commit("a commit beyond the cap", &session, large).await.is_err());
        let over =
            commit("a commit to what is expired and not yet purged", &brief, brief.add("n", 1))
                .await;
        assert_eq!(over.expect("an answer"), Outcome::Gone);
        let never = session::Session::new();
        let gone = commit("a commit to what is gone", &never, never.add("n", 1)).await;
        assert_eq!(gone.expect("an answer"), Outcome::Gone);
        let grace =
            Rotation { secret: session.secret, generation: 1, grace: Some(Duration::from_secs(5)) };
        assert!(is_done(
            &commit("a rotation with a grace", &session, session.commit().rotate(grace)).await
        ));
        let no_grace = Rotation { grace: None, ..grace };
        assert!(is_done(&commit("a rotation", &session, session.commit().rotate(no_grace)).await));
        assert!(is_done(&commit("a longer life", &session, session.commit().ttl(LONG)).await));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_calls_cost_what_the_page_says() {
    let Some(mut site) = Site::start().await else { return };
    let store = site.store.clone();
    let session = session::Session::signed_in(&store, "bob").await;
    site.costs("a creation", &["update"]);
    assert_eq!(
        store.create(&session.key, session.record()).await.expect("an answer"),
        Created::Taken
    );
    site.costs("a creation of a key that is taken", &["update"]);
    assert!(is_done(&store.commit(&session.key, session.commit()).await));
    site.costs("an empty commit", FIND);
    let superseded =
        store.commit(&session.key, session.rotated().commit()).await.expect("an answer");
    assert_eq!(superseded, Outcome::Superseded);
    site.costs("an empty commit of a superseded secret", FIND);
    assert!(store.load(&session.key).await.expect("an answer").is_some());
    site.costs("a load", FIND);
    assert!(store.load(&session::Session::new().key).await.expect("an answer").is_none());
    site.costs("a load of what is gone", FIND);

    assert_eq!(store.list(&principal("bob"), None, 10).await.expect("a list").sessions.len(), 1);
    site.costs("a page of a list", FIND);
    assert_eq!(store.delete_all(&principal("bob"), None).await.expect("an end of all"), 1);
    site.costs("an end of all", &["delete", "delete"]);
    assert_eq!(store.delete_all(&principal("bob"), None).await.expect("an end of all"), 0);
    site.costs("an end of none", &["delete"]);
    for claim in [Claim::Any, Claim::Generation(0)] {
        let session = session::Session::anonymous(&store).await;
        let _ = site.monitor.names();
        assert_eq!(store.delete(&session.key, claim).await.expect("an answer"), Deleted::Ended);
        site.costs("an end", COMMIT);
    }
    assert_eq!(store.delete(&session.key, Claim::Any).await.expect("an answer"), Deleted::Missing);
    site.costs("an end of what is gone", COMMIT);
    assert_eq!(
        store.delete(&session.key, Claim::Generation(0)).await.expect("an answer"),
        Deleted::Missing
    );
    site.costs("an end of what is gone, by a claim", &["findAndModify", "find"]);
    let signed_in = session::Session::anonymous(&store).await;
    assert!(is_done(
        &store.commit(&signed_in.key, signed_in.sign_in("bob", &signed_in.rotated())).await
    ));
    let _ = site.monitor.names();
    assert_eq!(
        store.delete(&signed_in.key, Claim::Generation(0)).await.expect("an answer"),
        Deleted::Superseded
    );
    site.costs("an end by a claim that does not reach", &["findAndModify", "find"]);

    assert!(store.scan(None, 10).await.expect("a page").next.is_none());
    site.costs("a page of a scan", FIND);
    assert_eq!(store.delete_expired(10).await.expect("a purge"), 0);
    site.costs("a purge of nothing", FIND);
    let brief = session::Session::new();
    let record = NewRecord::new(brief.secret, Duration::from_millis(1));
    let _ = store.create(&brief.key, record.clone()).await.expect("a new session");
    tokio::time::sleep(Duration::from_millis(20)).await;
    let _ = site.monitor.names();
    assert_eq!(store.create(&brief.key, record).await.expect("an answer"), Created::New);
    site.costs("a creation over an expired leftover", &["update"]);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(store.delete_expired(10).await.expect("a purge"), 1);
    site.costs("a purge", &["find", "delete"]);
    assert_eq!(store.delete_everyone(None, 10).await.expect("a page").ended, 1);
    site.costs("a page of an end of everyone", &["find", "delete"]);
    assert_eq!(store.delete_everyone(None, 10).await.expect("a page").ended, 0);
    site.costs("a page of an end of everyone, with nobody there", FIND);
    store.ping().await.expect("an answer");
    site.costs("a ping", &["ping"]);
    eprintln!("round trips to MongoDB:\n{}", site.table.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_costs_a_round_trip_for_each_page_of_a_thousand() {
    let Some(site) = Site::start().await else { return };
    let all = connect(&site.server.url(PATIENT)).await;
    for _ in 0..11 {
        let sessions = (0..100).map(|_| session::Session::signed_in(&all, "carol"));
        futures_util::future::join_all(sessions).await;
    }
    let first = site.store.list(&principal("carol"), None, 5_000).await.expect("a page");
    let second = site.store.list(&principal("carol"), first.next, 5_000).await.expect("a page");
    assert_eq!((first.sessions.len(), second.sessions.len(), second.next), (1_000, 100, None));
    assert_eq!(site.monitor.names(), ["find", "find"]);
}
