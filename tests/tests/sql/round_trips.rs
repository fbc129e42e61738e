//! What a request costs: the design's table of round trips, by what the server says it was asked.

use std::{sync::Arc, time::Duration};

use session_core::{
    Commit, CookieChange, Delivery, Guard, NewRecord, Outcome, Policy, RecordedChanges, Session, SessionError, SessionId, SessionStore,
    cookie::{CookieCodec, CookieConfig, Key, Presented, SignedBy},
};
use store_sql::SqlStore;
use tests::{KEY, session};

use crate::{
    heard::Heard,
    session::{LONG, PATIENT, add, connect, is_done, principal, renew, set},
};

/// The idle timeout of these sessions; a quarter of it is waited for.
const IDLE: Duration = Duration::from_secs(4);

/// Sessions in a database whose server tells what it is asked.
struct Site {
    store: SqlStore,
    heard: Heard,
    policy: Policy,
    /// What a commit is.
    commit: Vec<&'static str>,
    table: Vec<String>,
}

impl Site {
    async fn on(heard: Option<Heard>, commit: &[&'static str]) -> Option<Self> {
        let mut heard = heard?;
        let store = connect(&heard.server.url(PATIENT)).await;
        let _ = heard.words().await;
        Some(Self { store, heard, policy: Policy::default().idle_timeout(IDLE), commit: commit.to_vec(), table: Vec::new() })
    }

    fn read_and_commit(&self) -> Vec<&'static str> {
        [&["SELECT"], &*self.commit].concat()
    }

    /// A request with this cookie: the id that its response brings, after the statements that it is to take.
    async fn request(
        &mut self,
        what: &str,
        expected: &[&str],
        cookie: Option<&SessionId>,
        handler: impl AsyncFnOnce(&Session) -> Result<(), SessionError>,
    ) -> Option<SessionId> {
        let presented = cookie.map(|id| Presented { id: id.clone(), signed_by: SignedBy::Current });
        let session = Session::open(Arc::new(self.store.clone()), self.policy, presented, Delivery::Possible);
        handler(&session).await.expect("the handler succeeds");
        session.finish(RecordedChanges::Commit).await.expect("the store commits");
        self.costs(what, expected).await;
        match session.cookie() {
            CookieChange::Issue { id, .. } => Some(id),
            CookieChange::Keep | CookieChange::Remove => None,
        }
    }

    /// What was asked since the last look is this.
    async fn costs(&mut self, what: &str, expected: &[&str]) {
        let asked = self.heard.words().await;
        assert_eq!(asked, expected, "{what}");
        self.table.push(format!("{what:<58} {} {}", asked.len(), asked.join(", ")));
    }

    async fn signed_in(&mut self) -> SessionId {
        let issued = self.request("a sign-in of a new session, with data", &["INSERT"], None, async |session| {
            session.sign_in(principal("bob"));
            session.insert("n", &1)
        });
        issued.await.expect("a cookie")
    }
}

async fn a_request_costs_the_round_trips_of_the_design(site: Option<Site>) {
    let Some(mut site) = site else { return };
    let (commit, read_and_commit) = (site.commit.clone(), site.read_and_commit());
    let id = &site.signed_in().await;
    site.request("a route that never touches the session", &[], Some(id), async |_| Ok(())).await;
    site.request("no cookie, a read", &[], None, async |session| session.names().await.map(drop)).await;
    let codec = CookieCodec::signed(CookieConfig::development(), &Key::parse(KEY).expect("a strong key").into()).expect("a cookie");
    let unsigned = [b"id=1.".as_slice(), &id.to_text(), b".AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"].concat();
    let unverified = codec.read([unsigned.as_slice()]).map(|presented| presented.id);
    site.request("an unverifiable cookie, a read", &[], unverified.as_ref(), async |session| session.names().await.map(drop)).await;
    site.request("a read", &["SELECT"], Some(id), async |session| session.get::<i64>("n").await.map(drop)).await;
    site.request("an add", &commit, Some(id), async |session| session.add("n", 1).await.map(drop)).await;
    site.request("a blind insert", &commit, Some(id), async |session| session.insert("a", &1)).await;
    site.request("a blind remove", &commit, Some(id), async |session| session.remove("a")).await;
    let read_then_insert = async |session: &Session| {
        let held: Option<i64> = session.get("b").await?;
        session.insert("b", &held.map_or(1, |held| held + 1))
    };
    site.request("a read, then an insert", &read_and_commit, Some(id), read_then_insert).await;
    let many = async |session: &Session| {
        session.insert("c", &1)?;
        session.insert("d", &2)?;
        session.remove("b")
    };
    site.request("several blind changes", &commit, Some(id), many).await;
    let first = site.request("the first write of a new session", &["INSERT"], None, async |session| session.insert("n", &1)).await;
    assert!(first.is_some());
    let rotate = async |session: &Session| {
        session.renew();
        session.insert("e", &1)
    };
    let id = site.request("a rotation together with data, after its load", &read_and_commit, Some(id), rotate).await.expect("a new id");
    site.request("an end", &["DELETE"], Some(&id), async |session| session.destroy().await).await;

    let read_late = &site.signed_in().await;
    // A life is extended when less than three quarters of it are left.
    tokio::time::sleep(IDLE / 4 + Duration::from_millis(200)).await;
    let read = async |session: &Session| session.get::<i64>("n").await.map(drop);
    site.request("a read when less than 3/4 of the idle timeout is left", &read_and_commit, Some(read_late), read).await;
    site.request("the read after that", &["SELECT"], Some(read_late), read).await;
    eprintln!("{}", site.table.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_costs_the_round_trips_of_the_design_with_postgres() {
    a_request_costs_the_round_trips_of_the_design(Site::on(Heard::postgres().await, &["UPDATE"]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_costs_one_more_for_a_commit_with_mariadb() {
    a_request_costs_the_round_trips_of_the_design(Site::on(Heard::mariadb().await, &["UPDATE", "SELECT"]).await).await;
}

/// What is refused is read once more to learn why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_and_the_other_calls_cost_what_the_page_says() {
    let Some(mut site) = Site::on(Heard::postgres().await, &["UPDATE"]).await else { return };
    let store = site.store.clone();
    let session = session::Session::signed_in(&store, "bob").await;
    site.costs("a creation", &["INSERT"]).await;
    let taken = store.create(&session.key, session.record()).await.expect("an answer");
    assert_eq!(taken, session_core::Created::Taken);
    site.costs("a creation on a key that is taken", &["INSERT"]).await;
    let conflict = store.commit(&session.key, session.set("a", "1").guard(Guard::Version(9))).await.expect("an answer");
    assert_eq!(conflict, Outcome::Conflict);
    site.costs("a commit that its guard refuses", &["UPDATE", "SELECT"]).await;
    assert!(is_done(&store.commit(&session.key, session.set("text", "\"t\"")).await));
    site.costs("a commit", &["UPDATE"]).await;
    assert!(store.commit(&session.key, session.add("text", 1)).await.is_err());
    site.costs("an add to a text", &["UPDATE", "SELECT"]).await;
    assert!(is_done(&store.commit(&session.key, Commit::new()).await));
    site.costs("an empty commit", &["SELECT"]).await;
    let sums = (0..40).fold(Commit::new(), |commit, n| {
        commit.change(session_core::Name::new(format!("sum-{n}")).expect("a name"), session_core::Change::Add(n))
    });
    assert!(is_done(&store.commit(&session.key, sums).await));
    site.costs("a commit of forty sums", &["SELECT", "UPDATE"]).await;
    let large = format!("\"{}\"", "x".repeat(65_300 - 40 * 8));
    assert!(is_done(&store.commit(&session.key, session.set("a", &large)).await));
    let near = site.heard.words().await;
    assert!(near == ["UPDATE"] || near == ["UPDATE", "SELECT", "UPDATE"], "a commit near the cap: {near:?}");
    let other = session.successor();
    let _ = store.create(&other.key, other.record()).await.expect("a new session");
    site.costs("another creation", &["INSERT"]).await;
    let conflict = store.commit(&session.key, renew(&other)).await.expect("an answer");
    assert_eq!(conflict, Outcome::Conflict);
    site.costs("a rotation to a key that is taken", &["UPDATE", "SELECT", "DELETE", "SELECT"]).await;
    assert!(store.delete(&other.key).await.expect("an end"));
    site.costs("an end", &["DELETE"]).await;
    assert_eq!(store.commit(&other.key, other.add("n", 1)).await.expect("an answer"), Outcome::Gone);
    site.costs("a commit to what has ended", &["UPDATE", "SELECT"]).await;
    assert_eq!(listed(&store, "bob").await.expect("a list").len(), 1);
    site.costs("a list", &["SELECT"]).await;
    assert_eq!(store.delete_all(&principal("bob"), None).await.expect("an end of all"), 1);
    site.costs("an end of all", &["DELETE"]).await;
    assert!(store.scan(None, 10).await.expect("a page").next.is_none());
    site.costs("a page of a scan", &["SELECT"]).await;
    assert_eq!(store.delete_expired(10).await.expect("a purge"), 0);
    site.costs("a purge", &["DELETE"]).await;
    store.ping().await.expect("an answer");
    site.costs("a ping", &["SELECT"]).await;
    eprintln!("{}", site.table.join("\n"));
}
