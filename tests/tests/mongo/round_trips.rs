//! What a request costs: the design's table of round trips, counted by the driver that makes them.

use std::{sync::Arc, time::Duration};

use session_core::{
    Commit, CookieChange, Delivery, Guard, NewRecord, Outcome, Policy, Principal, RecordedChanges, Session, SessionError, SessionId,
    SessionStore,
    cookie::{CookieCodec, CookieConfig, Key, Presented, SignedBy},
};
use store_mongo::MongoStore;
use tests::{KEY, service::AnyMongo, session};

use crate::{
    monitor::Monitor,
    session::{LONG, PATIENT, add, connect, is_done, principal, renew, set},
};

/// The idle timeout of these sessions; a quarter of it is waited for.
const IDLE: Duration = Duration::from_secs(4);

const FIND: &[&str] = &["find"];
const COMMIT: &[&str] = &["findAndModify"];
const FIND_COMMIT: &[&str] = &["find", "findAndModify"];

/// Whether a store knows where the session's document lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Address {
    Known,
    /// The store has never met the session, as in another process.
    Unknown,
}

/// Sessions in a MongoDB whose driver tells what it sends.
struct Site {
    store: MongoStore,
    monitor: Monitor,
    policy: Policy,
    address: Address,
    table: Vec<String>,
    server: AnyMongo,
}

impl Site {
    async fn start(address: Address) -> Option<Self> {
        let server = AnyMongo::server().await?;
        let monitor = Monitor::of(&server).await;
        let store = monitor.store().await;
        Some(Self { store, monitor, policy: Policy::default().idle_timeout(IDLE), address, table: Vec::new(), server })
    }

    /// A request with this cookie: the id that its response brings, after the round trips that it is to take.
    async fn request(
        &mut self,
        what: &str,
        expected: &[&str],
        cookie: Option<&SessionId>,
        handler: impl AsyncFnOnce(&Session) -> Result<(), SessionError>,
    ) -> Option<SessionId> {
        if self.address == Address::Unknown {
            self.store = self.monitor.store().await;
        }
        let _ = self.monitor.names();
        let presented = cookie.map(|id| Presented { id: id.clone(), signed_by: SignedBy::Current });
        let session = Session::open(Arc::new(self.store.clone()), self.policy, presented, Delivery::Possible);
        handler(&session).await.expect("the handler succeeds");
        session.finish(RecordedChanges::Commit).await.expect("the store commits");
        self.costs(what, expected);
        match session.cookie() {
            CookieChange::Issue { id, .. } => Some(id),
            CookieChange::Keep | CookieChange::Remove => None,
        }
    }

    /// What was sent since the last look is this.
    fn costs(&mut self, what: &str, expected: &[&str]) {
        let sent = self.monitor.names();
        assert_eq!(sent, expected, "{what}, with an address that is {:?}", self.address);
        self.table.push(format!("{what:<58} {} {}", sent.len(), sent.join(", ")));
    }

    async fn signed_in(&mut self) -> SessionId {
        let issued = self.request("a sign-in of a new session, with data", &["update"], None, async |session| {
            session.sign_in(bob());
            session.insert("n", &1)
        });
        issued.await.expect("a cookie")
    }
}

fn codec() -> CookieCodec {
    CookieCodec::signed(CookieConfig::development(), &Key::parse(KEY).expect("a strong key").into()).expect("a cookie")
}

fn bob() -> Principal {
    principal("bob")
}

async fn a_request_costs_the_round_trips_of_the_design(address: Address) {
    let Some(mut site) = Site::start(address).await else { return };
    let id = &site.signed_in().await;
    site.request("a route that never touches the session", &[], Some(id), async |_| Ok(())).await;
    site.request("no cookie, a read", &[], None, async |session| session.names().await.map(drop)).await;
    let unsigned = [b"id=1.".as_slice(), &id.to_text(), b".AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"].concat();
    let unverified = codec().read([unsigned.as_slice()]).map(|presented| presented.id);
    site.request("an unverifiable cookie, a read", &[], unverified.as_ref(), async |session| session.names().await.map(drop)).await;
    let issued = site.request("a read", FIND, Some(id), async |session| session.get::<i64>("n").await.map(drop)).await;
    assert_eq!(issued, None, "a read sends no cookie");
    site.request("an add", COMMIT, Some(id), async |session| session.add("n", 1).await.map(drop)).await;
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
    let update = async |session: &Session| session.update("n", |held: Option<i64>| held.map(|held| held + 1)).await.map(drop);
    site.request("an update of a value", FIND_COMMIT, Some(id), update).await;
    let first = site.request("the first write of a new session", &["update"], None, async |session| session.insert("n", &1)).await;
    assert!(first.is_some());
    let rotate = async |session: &Session| {
        session.renew();
        session.insert("e", &1)
    };
    let id = site.request("a rotation together with data, after its load", FIND_COMMIT, Some(id), rotate).await.expect("a new id");
    site.request("an end", &["findAndModify"], Some(&id), async |session| session.destroy().await).await;

    let (read_late, written_late) = (&site.signed_in().await, &site.signed_in().await);
    // A life is extended when less than three quarters of it are left.
    tokio::time::sleep(IDLE / 4 + Duration::from_millis(200)).await;
    let read = async |session: &Session| session.get::<i64>("n").await.map(drop);
    site.request("a read when less than 3/4 of the idle timeout is left", FIND_COMMIT, Some(read_late), read).await;
    site.request("the read after that", FIND, Some(read_late), read).await;
    let folded = async |session: &Session| {
        session.get::<i64>("n").await?;
        session.insert("n", &2)
    };
    site.request("a read, then an insert, when less than 3/4 is left", FIND_COMMIT, Some(written_late), folded).await;
    eprintln!("round trips to MongoDB, with addresses that are {address:?}:\n{}", site.table.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_a_session_that_the_store_has_met_costs_the_round_trips_of_the_design() {
    a_request_costs_the_round_trips_of_the_design(Address::Known).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_a_session_that_the_store_has_not_met_costs_the_round_trips_of_the_design() {
    a_request_costs_the_round_trips_of_the_design(Address::Unknown).await;
}

/// What is refused is read once more to learn why, and what moved or ended elsewhere is looked for by its key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_and_the_other_calls_cost_what_the_page_says() {
    let Some(mut site) = Site::start(Address::Known).await else { return };
    let store = site.store.clone();
    let elsewhere = site.monitor.store().await;
    let session = session::Session::signed_in(&store, "bob").await;
    site.costs("a creation", &["update"]);
    let taken = store.create(&session.key, NewRecord::new(LONG)).await.expect("an answer");
    assert_eq!(taken, session_core::Created::Taken);
    // A leftover whose time is over would be deleted.
    site.costs("a creation on a key that is taken", &["update", "delete", "find"]);
    let conflict = store.commit(&session.key, set("a", "1").guard(Guard::Version(9))).await.expect("an answer");
    assert_eq!(conflict, Outcome::Conflict);
    site.costs("a commit that its guard refuses", &["findAndModify", "find"]);
    assert!(is_done(&store.commit(&session.key, set("text", "\"t\"")).await));
    site.costs("a commit", COMMIT);
    // With a server's time that is not older than some milliseconds; a busy machine can take longer from one call to the next.
    let mut fewest = usize::MAX;
    for _ in 0..20 {
        assert!(is_done(&store.commit(&session.key, add("n", 1)).await));
        let _ = site.monitor.names();
        let conflict = store.commit(&session.key, set("a", "1").guard(Guard::Version(9999))).await.expect("an answer");
        assert_eq!(conflict, Outcome::Conflict);
        fewest = fewest.min(site.monitor.names().len());
    }
    assert_eq!(fewest, 1, "a guard that refuses, right after another commit");
    assert!(store.commit(&session.key, add("text", 1)).await.is_err());
    site.costs("an add to a text", &["findAndModify", "find"]);
    assert!(is_done(&store.commit(&session.key, set("most", &i64::MAX.to_string())).await));
    let _ = site.monitor.names();
    assert!(store.commit(&session.key, add("most", 1)).await.is_err());
    site.costs("an add beyond 64 bits", &["findAndModify", "find"]);
    assert!(is_done(&store.commit(&session.key, Commit::new()).await));
    site.costs("an empty commit", FIND);
    let other = session.successor();
    let _ = store.create(&other.key, NewRecord::new(LONG)).await.expect("a new session");
    let _ = site.monitor.names();
    let conflict = store.commit(&session.key, renew(&other)).await.expect("an answer");
    assert_eq!(conflict, Outcome::Conflict);
    site.costs("a rotation to a key that is taken", &["findAndModify", "delete", "find"]);

    // Another store ends or moves what this one remembers.
    assert!(elsewhere.delete(&other.key).await.expect("an end"));
    let _ = site.monitor.names();
    assert_eq!(store.commit(&other.key, add("n", 1)).await.expect("an answer"), Outcome::Gone);
    site.costs("a commit to what ended elsewhere, once", &["findAndModify", "findAndModify"]);
    assert_eq!(store.commit(&other.key, add("n", 1)).await.expect("an answer"), Outcome::Gone);
    site.costs("a commit to what ended elsewhere, from then on", COMMIT);
    assert!(store.load(&other.key).await.expect("an answer").is_none());
    site.costs("a load of what is gone", FIND);
    let next = session.successor();
    assert!(is_done(&elsewhere.commit(&session.key, renew(&next)).await));
    let _ = site.monitor.names();
    assert_eq!(store.commit(&session.key, add("n", 1)).await.expect("an answer"), Outcome::Gone);
    site.costs("a commit to what moved elsewhere, once", &["findAndModify", "find", "find"]);
    assert_eq!(store.commit(&session.key, add("n", 1)).await.expect("an answer"), Outcome::Gone);
    site.costs("a commit to what moved elsewhere, from then on", COMMIT);
    let last = next.successor();
    assert!(store.load(&next.key).await.expect("an answer").is_some());
    assert!(is_done(&elsewhere.commit(&next.key, renew(&last)).await));
    let _ = site.monitor.names();
    assert!(store.load(&next.key).await.expect("an answer").is_none());
    site.costs("a load of what moved elsewhere, once", &["find", "find"]);

    assert_eq!(store.list(&bob()).await.expect("a list").len(), 1);
    site.costs("a list", FIND);
    assert_eq!(store.delete_all(&bob(), None).await.expect("an end of all"), 1);
    site.costs("an end of all", &["delete"]);
    assert!(!store.delete(&last.key).await.expect("an answer"));
    site.costs("an end of what is gone", &["findAndModify"]);
    assert!(store.scan(None, 10).await.expect("a page").next.is_none());
    site.costs("a page of a scan", FIND);
    assert_eq!(store.delete_expired(10).await.expect("a purge"), 0);
    site.costs("a purge of nothing", FIND);
    let brief = session::Session::new();
    let _ = store.create(&brief.key, NewRecord::new(Duration::from_millis(1))).await.expect("a new session");
    tokio::time::sleep(Duration::from_millis(20)).await;
    let _ = site.monitor.names();
    assert_eq!(store.commit(&brief.key, add("n", 1)).await.expect("an answer"), Outcome::Gone);
    site.costs("a commit to what is over and not yet purged", &["findAndModify", "find"]);
    assert_eq!(store.delete_expired(10).await.expect("a purge"), 1);
    site.costs("a purge", &["find", "delete"]);
    store.ping().await.expect("an answer");
    site.costs("a ping", &["ping"]);
    eprintln!("round trips to MongoDB:\n{}", site.table.join("\n"));
}

/// More than an answer's first part holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_costs_a_round_trip_for_each_thousand_sessions() {
    let Some(site) = Site::start(Address::Known).await else { return };
    let all = connect(&site.server.url(PATIENT)).await;
    for _ in 0..11 {
        let sessions = (0..100).map(|_| session::Session::signed_in(&all, "carol"));
        futures_util::future::join_all(sessions).await;
    }
    assert_eq!(site.store.list(&principal("carol")).await.expect("a list").len(), 1_100);
    assert_eq!(site.monitor.names(), ["find", "getMore"]);
}
