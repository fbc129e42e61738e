//! The round trips of each request and of each call, from the server's log.

use std::{sync::Arc, time::Duration};

use session_core::{
    Change, Claim, Commit, Created, Deleted, Guard, NewRecord, Outcome, Policy, Session,
    SessionContext, SessionError, SessionId, SessionStore, StoreKey,
};
use store_sql::SqlStore;
use tests::{
    forged_cookies, run_request,
    session::{self, LONG, is_done, name, principal},
    verified_cookies,
};

use crate::{
    locks::{PATIENT, connect, listed},
    statement_log::StatementLog,
};

/// The idle timeout of the sessions. A test waits for a quarter of it.
const IDLE: Duration = Duration::from_secs(4);

/// Sessions in a database whose server logs the statements.
struct Site {
    store: SqlStore,
    log: StatementLog,
    policy: Policy,
    /// The first words of the statements of a commit.
    commit: Vec<&'static str>,
    table: Vec<String>,
}

impl Site {
    async fn on(log: Option<StatementLog>, commit: &[&'static str]) -> Option<Self> {
        let mut log = log?;
        let store = connect(&log.server.url(PATIENT)).await;
        let _ = log.words().await;
        Some(Self {
            store,
            log,
            policy: Policy::default().idle_timeout(IDLE),
            commit: commit.to_vec(),
            table: Vec::new(),
        })
    }

    fn read_and_commit(&self) -> Vec<&'static str> {
        [&["SELECT"], &*self.commit].concat()
    }

    /// Makes a request with this cookie, checks its statements, and returns the id of the new
    /// cookie.
    async fn request(
        &mut self,
        what: &str,
        expected: &[&str],
        cookie: Option<&SessionId>,
        handler: impl AsyncFnOnce(&Session) -> Result<(), SessionError>,
    ) -> Option<SessionId> {
        let context = Arc::new(SessionContext::new(Arc::new(self.store.clone()), self.policy));
        let issued = run_request(context, verified_cookies(cookie), handler).await;
        self.costs(what, expected).await;
        issued
    }

    /// Checks the statements since the last call.
    async fn costs(&mut self, what: &str, expected: &[&str]) {
        let asked = self.log.words().await;
        assert_eq!(asked, expected, "{what}");
        self.table.push(format!("{what:<58} {} {}", asked.len(), asked.join(", ")));
    }

    async fn signed_in(&mut self) -> SessionId {
        let issued = self.request(
            "a sign-in of a new session, with data",
            &["INSERT"],
            None,
            async |session| {
                session.sign_in(principal("bob"));
                session.insert("n", &1)
            },
        );
        issued.await.expect("a cookie")
    }
}

async fn each_request_takes_its_documented_statements(site: Option<Site>) {
    let Some(mut site) = site else { return };
    let (commit, read_and_commit) = (site.commit.clone(), site.read_and_commit());
    let id = &site.signed_in().await;
    site.request("a route that never touches the session", &[], Some(id), async |_| Ok(())).await;
    site.request("no cookie, a read", &[], None, async |session| session.names().await.map(drop))
        .await;
    let unverified = forged_cookies(id).iter().next().map(|verified| verified.id.clone());
    site.request("an unverifiable cookie, a read", &[], unverified.as_ref(), async |session| {
        session.names().await.map(drop)
    })
    .await;
    site.request("a read", &["SELECT"], Some(id), async |session| {
        session.get::<i64>("n").await.map(drop)
    })
    .await;
    site.request("an add", &commit, Some(id), async |session| session.add("n", 1).await.map(drop))
        .await;
    site.request("a blind insert", &commit, Some(id), async |session| session.insert("a", &1))
        .await;
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
    let first = site
        .request("the first write of a new session", &["INSERT"], None, async |session| {
            session.insert("n", &1)
        })
        .await;
    assert!(first.is_some());
    let rotate = async |session: &Session| {
        session.renew();
        session.insert("e", &1)
    };
    let renew = async |session: &Session| {
        session.get::<i64>("n").await?;
        session.renew();
        Ok(())
    };
    let id = &site
        .request("a renewal after a load", &read_and_commit, Some(id), renew)
        .await
        .expect("a new id");
    let id = site
        .request(
            "a rotation together with data, after its load",
            &read_and_commit,
            Some(id),
            rotate,
        )
        .await
        .expect("a new id");
    site.request("an end", &["DELETE"], Some(&id), async |session| session.destroy().await).await;

    let read_late = &site.signed_in().await;
    // A read extends a session when less than three quarters of its idle timeout are left.
    tokio::time::sleep(IDLE / 4 + Duration::from_millis(200)).await;
    let read = async |session: &Session| session.get::<i64>("n").await.map(drop);
    site.request(
        "a read when less than 3/4 of the idle timeout is left",
        &read_and_commit,
        Some(read_late),
        read,
    )
    .await;
    site.request("the read after that", &["SELECT"], Some(read_late), read).await;
    eprintln!("{}", site.table.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_takes_its_documented_postgres_statements() {
    each_request_takes_its_documented_statements(
        Site::on(StatementLog::postgres().await, &["UPDATE"]).await,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_takes_its_documented_mariadb_statements() {
    each_request_takes_its_documented_statements(
        Site::on(StatementLog::mariadb().await, &["UPDATE", "SELECT"]).await,
    )
    .await;
}

/// A store whose server logs the statements.
struct LoggedStore {
    store: SqlStore,
    log: StatementLog,
    table: Vec<String>,
    /// The statements of a commit.
    commit: &'static [&'static str],
}

impl LoggedStore {
    async fn on(log: Option<StatementLog>, commit: &'static [&'static str]) -> Option<Self> {
        let mut log = log?;
        let store = connect(&log.server.url(PATIENT)).await;
        let _ = log.words().await;
        Some(Self { store, log, table: Vec::new(), commit })
    }

    /// Checks the statements since the last call.
    async fn costs(&mut self, what: &str, expected: &[&str]) {
        let asked = self.log.words().await;
        assert_eq!(asked, expected, "{what}");
        self.table.push(format!("{what:<58} {} {}", asked.len(), asked.join(", ")));
    }

    /// Checks that the commit takes effect with the statements of a commit.
    async fn commits(&mut self, what: &str, key: &StoreKey, commit: Commit) {
        let outcome = self.store.commit(key, commit).await;
        assert!(is_done(&outcome), "{what}: {outcome:?}");
        self.costs(what, self.commit).await;
    }

    /// Checks that the commit is refused with `expected`, and that the store reads the row once to
    /// find the reason.
    async fn refuses(&mut self, what: &str, key: &StoreKey, commit: Commit, expected: Outcome) {
        assert_eq!(self.store.commit(key, commit).await.expect("an answer"), expected, "{what}");
        self.costs(what, &["UPDATE", "SELECT"]).await;
    }
}

async fn each_call_takes_its_documented_statements(site: Option<LoggedStore>) {
    let Some(mut site) = site else { return };
    let store = site.store.clone();
    let session = session::Session::signed_in(&store, "bob").await;
    site.costs("create", &["INSERT"]).await;
    for _ in 0..2 {
        let taken = store.create(&session.key, session.record()).await.expect("an answer");
        assert_eq!(taken, Created::Taken);
        site.costs("create, the key is taken", &["INSERT"]).await;
    }
    let brief = session::Session::new();
    let _ = store
        .create(&brief.key, NewRecord::new(brief.secret, Duration::from_millis(1)))
        .await
        .expect("a new session");
    tokio::time::sleep(Duration::from_millis(20)).await;
    let _ = site.log.words().await;
    assert_eq!(store.create(&brief.key, brief.record()).await.expect("an answer"), Created::New);
    site.costs("create, an expired row has the key", &["INSERT"]).await;
    assert!(store.load(&session.key).await.expect("an answer").is_some());
    site.costs("load", &["SELECT"]).await;
    site.commits("commit, a value", &session.key, session.set("text", "\"t\"")).await;
    site.commits("commit, an add", &session.key, session.add("n", 1)).await;
    site.commits("commit, an extension", &session.key, session.commit().ttl(LONG)).await;
    site.commits("commit, a proof of identity", &session.key, session.commit().authenticated())
        .await;
    let second = session.rotated();
    site.commits("commit, a renewal", &session.key, session.renew(&second)).await;
    let third = second.rotated();
    site.commits("commit, a sign-in", &session.key, second.sign_in("bob", &third)).await;
    site.refuses("commit, superseded", &session.key, second.set("a", "1"), Outcome::Superseded)
        .await;
    site.refuses(
        "commit, a renewal that lost",
        &session.key,
        second.renew(&third),
        Outcome::Superseded,
    )
    .await;
    site.refuses(
        "commit, its guard fails",
        &session.key,
        third.set("a", "1").guard(Guard::Version(99)),
        Outcome::Conflict,
    )
    .await;
    assert!(store.commit(&session.key, third.add("text", 1)).await.is_err());
    site.costs("commit, an add to a text", &["UPDATE", "SELECT"]).await;
    let missing = session::Session::new();
    site.refuses("commit, no session", &missing.key, missing.add("n", 1), Outcome::Gone).await;
    for (what, commit) in
        [("commit, empty", third.commit()), ("commit, empty and superseded", second.commit())]
    {
        let _ = store.commit(&session.key, commit).await.expect("an answer");
        site.costs(what, &["SELECT"]).await;
    }
    let sums = (0..40)
        .fold(third.commit(), |commit, n| commit.change(name(&format!("sum-{n}")), Change::Add(n)));
    assert!(is_done(&store.commit(&session.key, sums).await));
    site.costs("commit, forty sums", &[&["SELECT"], site.commit].concat()).await;
    let large = format!("\"{}\"", "x".repeat(65_300 - 40 * 8));
    assert!(is_done(&store.commit(&session.key, third.set("a", &large)).await));
    let near = site.log.words().await;
    let from_row = [&["UPDATE", "SELECT"], site.commit].concat();
    assert!(near == site.commit || near == from_row, "a commit near the cap: {near:?}");
    assert_eq!(listed(&store, "bob").await.expect("a list").len(), 1);
    site.costs("list", &["SELECT"]).await;
    assert_eq!(
        store.delete(&session.key, Claim::Generation(1)).await.expect("an answer"),
        Deleted::Superseded
    );
    site.costs("delete, the claim does not cover the session", &["DELETE", "SELECT"]).await;
    assert_eq!(
        store.delete(&session.key, Claim::Generation(2)).await.expect("an answer"),
        Deleted::Ended
    );
    site.costs("delete, by a claim", &["DELETE"]).await;
    assert_eq!(store.delete(&brief.key, Claim::Any).await.expect("an answer"), Deleted::Ended);
    site.costs("delete", &["DELETE"]).await;
    assert_eq!(store.delete(&brief.key, Claim::Any).await.expect("an answer"), Deleted::Missing);
    site.costs("delete, no session", &["DELETE"]).await;
    assert_eq!(
        store.delete(&brief.key, Claim::Generation(0)).await.expect("an answer"),
        Deleted::Missing
    );
    site.costs("delete, by a claim, no session", &["DELETE", "SELECT"]).await;
    for _ in 0..2 {
        let _ = session::Session::signed_in(&store, "bob").await;
    }
    let _ = site.log.words().await;
    assert_eq!(store.delete_all(&principal("bob"), None).await.expect("delete_all succeeds"), 2);
    site.costs("delete_all", &["DELETE"]).await;
    let _ = session::Session::anonymous(&store).await;
    let _ = site.log.words().await;
    assert_eq!(store.delete_everyone(None, 10).await.expect("a page").ended, 1);
    site.costs("delete_everyone, a page", &["SELECT", "DELETE"]).await;
    assert!(store.scan(None, 10).await.expect("a page").next.is_none());
    site.costs("scan, a page", &["SELECT"]).await;
    assert_eq!(store.delete_expired(10).await.expect("a purge"), 0);
    site.costs("delete_expired", &["DELETE"]).await;
    store.ping().await.expect("an answer");
    site.costs("ping", &["SELECT"]).await;
    eprintln!("{}", site.table.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_takes_its_documented_postgres_statements() {
    each_call_takes_its_documented_statements(
        LoggedStore::on(StatementLog::postgres().await, &["UPDATE"]).await,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_takes_its_documented_mariadb_statements() {
    each_call_takes_its_documented_statements(
        LoggedStore::on(StatementLog::mariadb().await, &["UPDATE", "SELECT"]).await,
    )
    .await;
}
