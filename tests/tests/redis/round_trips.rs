//! Round trips of requests and calls, counted by a proxy in front of the server or by the server.

use std::{sync::Arc, time::Duration};

use session_core::{
    Claim, Deleted, Policy, Principal, Session, SessionContext, SessionError, SessionId,
    SessionStore,
    cookie::{CookieCodec, CookieConfig, Key, VerifiedCookies},
};
use store_redis::{Config, RedisStore};
use tests::{
    KEY, PATIENCE, run_request,
    service::{AnyRedis, Durability, RedisCluster, RoundTrip, Tap},
    session::{self as stored, LONG, is_done, with},
    wait,
};

/// Sessions in a Redis server behind a recording proxy.
struct Site {
    context: Arc<SessionContext>,
    tap: Tap,
    codec: CookieCodec,
    _redis: AnyRedis,
}

impl Site {
    async fn start() -> Option<Self> {
        let redis = AnyRedis::own_server(Durability::None).await?;
        let tap = Tap::before(
            &redis.url(&format!("prefix=trips-{:016x}:&connections=1", fastrand::u64(..))),
        )
        .await;
        let store = RedisStore::connect(&Config::new(tap.url()).expect("a URL"))
            .await
            .expect("a server to connect to");
        let context = SessionContext::new(Arc::new(store), Policy::default().idle_timeout(IDLE));
        let site = Self { context: Arc::new(context), tap, codec: codec(), _redis: redis };
        // Load all scripts into the server.
        let id = site.signed_in().await;
        let (_, first) = site.request(Some(&id), async |session| session.insert("n", &1)).await;
        assert_eq!(
            first,
            [["EVALSHA"], ["EVAL"]],
            "a script that the server does not have takes one more round trip"
        );
        let _ = site.request(Some(&id), async |session| session.add("n", 1).await.map(drop)).await;
        let _ = site.request(Some(&id), async |session| session.remove("n")).await;
        let _ = site.request(Some(&id), async |session| session.destroy().await).await;
        Some(site)
    }

    fn cookies(&self, id: &SessionId) -> VerifiedCookies {
        let cookie = self.codec.issue(id, None);
        self.codec.read([cookie.split(';').next().unwrap_or_default().as_bytes()])
    }

    /// A request with this cookie. Returns the id that the response sets, and the round trips.
    async fn request(
        &self,
        cookie: Option<&SessionId>,
        handler: impl AsyncFnOnce(&Session) -> Result<(), SessionError>,
    ) -> (Option<SessionId>, Vec<RoundTrip>) {
        self.request_with(cookie.map(|id| self.cookies(id)).unwrap_or_default(), handler).await
    }

    async fn request_with(
        &self,
        cookies: VerifiedCookies,
        handler: impl AsyncFnOnce(&Session) -> Result<(), SessionError>,
    ) -> (Option<SessionId>, Vec<RoundTrip>) {
        let _ = self.tap.heard();
        let issued = run_request(Arc::clone(&self.context), cookies, handler).await;
        (issued, self.tap.heard())
    }

    async fn signed_in(&self) -> SessionId {
        let (issued, _) = self
            .request(None, async |session| {
                session.sign_in(bob());
                session.insert("n", &1)
            })
            .await;
        issued.expect("a cookie")
    }
}

/// A sign-in loads the session before it commits.
const SIGN_IN: &[&[&str]] = &[&["HGETALL"], &["EVALSHA"]];
/// The idle timeout of these sessions. The test waits a quarter of it.
const IDLE: Duration = Duration::from_secs(4);

fn codec() -> CookieCodec {
    CookieCodec::signed(CookieConfig::development(), &Key::parse(KEY).expect("a strong key").into())
        .expect("a cookie")
}

fn bob() -> Principal {
    Principal::new("bob").expect("a name")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_take_the_expected_round_trips() {
    let Some(site) = Site::start().await else { return };
    let id = site.signed_in().await;
    let mut table = Vec::new();
    let mut row = |what: &'static str,
                   expected: &[&[&str]],
                   (issued, trips): (Option<SessionId>, Vec<RoundTrip>)| {
        // Unless the store has a recent server time, a load asks for it in the same round trip.
        let without_time = trips.iter().map(|trip| {
            trip.iter().map(String::as_str).filter(|word| *word != "TIME").collect::<Vec<_>>()
        });
        assert_eq!(without_time.collect::<Vec<_>>(), expected, "{what}");
        table.push(format!(
            "{what:<58} {} {}",
            trips.len(),
            trips.iter().map(|trip| trip.join("+")).collect::<Vec<_>>().join(", ")
        ));
        issued
    };
    let load: &[&str] = &["HGETALL"];
    let script: &[&str] = &["EVALSHA"];

    row(
        "a route that does not use the session",
        &[],
        site.request(Some(&id), async |_| Ok(())).await,
    );
    row(
        "no cookie, a read",
        &[],
        site.request(None, async |session| session.names().await.map(drop)).await,
    );
    let unsigned =
        [b"id=2.".as_slice(), &id.to_text(), b".AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]
            .concat();
    let unverified = site.codec.read([unsigned.as_slice()]);
    row(
        "an unverifiable cookie, a read",
        &[],
        site.request_with(unverified, async |session| session.names().await.map(drop)).await,
    );
    let read =
        site.request(Some(&id), async |session| session.get::<i64>("n").await.map(drop)).await;
    assert_eq!(row("a read", &[load], read), None, "a read sends no cookie");
    row(
        "an add",
        &[script],
        site.request(Some(&id), async |session| session.add("n", 1).await.map(drop)).await,
    );
    row(
        "a blind insert",
        &[script],
        site.request(Some(&id), async |session| session.insert("a", &1)).await,
    );
    row(
        "a blind remove",
        &[script],
        site.request(Some(&id), async |session| session.remove("a")).await,
    );
    let inserted = site.request(Some(&id), async |session| {
        let held: Option<i64> = session.get("b").await?;
        session.insert("b", &held.map_or(1, |held| held + 1))
    });
    row("a read, then an insert", &[load, script], inserted.await);
    let equal = site.request(Some(&id), async |session| {
        let held: Option<i64> = session.get("b").await?;
        session.insert("b", &held)
    });
    row("a read, then an insert of the same value", &[load], equal.await);
    let many = site.request(Some(&id), async |session| {
        session.insert("c", &1)?;
        session.insert("d", &2)?;
        session.remove("b")
    });
    row("several blind changes", &[script], many.await);
    let first = site.request(None, async |session| session.insert("n", &1)).await;
    assert!(row("the first write of a new session", &[script], first).is_some());
    let first = site.request(None, async |session| {
        session.sign_in(bob());
        session.insert("n", &1)
    });
    assert!(row("a sign-in of a new session, with data", &[script], first.await).is_some());
    let anonymous =
        site.request(None, async |session| session.insert("n", &1)).await.0.expect("a cookie");
    let signs_in = site.request(Some(&anonymous), async |session| {
        session.sign_in(bob());
        Ok(())
    });
    assert!(row("a sign-in of an anonymous session", SIGN_IN, signs_in.await).is_some());
    let renewed = site.request(Some(&id), async |session| {
        session.get::<i64>("n").await?;
        session.renew();
        Ok(())
    });
    let id = row("a rotation after a load", &[load, script], renewed.await).expect("a new id");
    let rotated = site.request(Some(&id), async |session| {
        session.renew();
        session.insert("e", &1)
    });
    let id = row("a rotation together with data, after its load", &[load, script], rotated.await)
        .expect("a new id");
    row(
        "a destroy",
        &[script],
        site.request(Some(&id), async |session| session.destroy().await).await,
    );

    let (read_late, written_late) = (site.signed_in().await, site.signed_in().await);
    // A session is extended when less than three quarters of its idle timeout are left.
    tokio::time::sleep(IDLE / 4 + Duration::from_millis(200)).await;
    let touch = site
        .request(Some(&read_late), async |session| session.get::<i64>("n").await.map(drop))
        .await;
    row("a read when less than 3/4 of the idle timeout is left", &[load, script], touch);
    let again = site
        .request(Some(&read_late), async |session| session.get::<i64>("n").await.map(drop))
        .await;
    row("the read after that", &[load], again);
    let folded = site.request(Some(&written_late), async |session| {
        session.get::<i64>("n").await?;
        session.insert("n", &2)
    });
    row("a read, then an insert, when less than 3/4 is left", &[load, script], folded.await);
    println!("round trips to one Redis server:\n{}", table.join("\n"));
}

/// The commands of the store that a Cluster's primaries have executed since the last call. Each of
/// them is a round trip. `TIME` is not counted, because it comes with another command.
async fn executed(cluster: &RedisCluster) -> Vec<String> {
    let mut commands = Vec::new();
    for port in cluster.primaries().await {
        let info =
            cluster.command(port, &["INFO", "commandstats"]).await.expect("the node answers");
        let info: String = redis::from_redis_value(info).expect("a text");
        for line in info.lines() {
            let Some((name, calls)) =
                line.strip_prefix("cmdstat_").and_then(|line| line.split_once(":calls="))
            else {
                continue;
            };
            let calls: usize =
                calls.split(',').next().and_then(|digits| digits.parse().ok()).expect("a number");
            if ["evalsha", "eval", "hgetall"].contains(&name) {
                commands.extend(std::iter::repeat_n(name.to_owned(), calls));
            }
        }
        cluster.command(port, &["CONFIG", "RESETSTAT"]).await.expect("the node answers");
    }
    commands
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_in_a_cluster_take_the_round_trips_of_the_readme() {
    let Some(cluster) = RedisCluster::start().await else { return };
    let url = with(&cluster.url(), "connections=1");
    let store = RedisStore::connect(&Config::new(&url).expect("a URL")).await.expect("a Cluster");
    // Load every script into every node.
    for number in 0..40 {
        let session = stored::Session::signed_in(&store, &format!("user-{number}")).await;
        for commit in [session.set("n", "1"), session.add("n", 1), session.commit()] {
            let _ = store.commit(&session.key, commit).await.expect("an answer");
        }
        let _ = store.delete(&session.key, Claim::Any).await.expect("an answer");
    }
    let session = stored::Session::anonymous(&store).await;
    let (next, after) = (session.rotated(), session.rotated().rotated());
    let mut table = Vec::new();
    let mut row = async |what: &str, expected: &[&str]| {
        let commands = executed(&cluster).await;
        assert_eq!(commands.len(), expected.len(), "{what}: {commands:?}");
        assert_eq!(commands, expected, "{what}");
        table.push(format!("{what:<48} {} {}", commands.len(), commands.join(", ")));
    };
    let commit = async |commit| {
        let outcome = store.commit(&session.key, commit).await;
        assert!(is_done(&outcome), "{outcome:?}");
    };
    let _ = executed(&cluster).await;
    assert!(store.load(&session.key).await.expect("an answer").is_some());
    row("load", &["hgetall"]).await;
    commit(session.add("n", 1)).await;
    row("commit of a value", &["evalsha"]).await;
    commit(session.sign_in("bob", &next).ttl(LONG)).await;
    row("sign-in", &["evalsha"; 2]).await;
    commit(next.set("n", "1")).await;
    row("commit of a value of a signed-in session", &["evalsha"]).await;
    commit(next.renew(&after)).await;
    row("renew of a signed-in session", &["evalsha"]).await;
    commit(after.commit().ttl(LONG * 2)).await;
    row("extension of a signed-in session", &["evalsha"; 3]).await;
    assert_eq!(store.delete(&session.key, Claim::Any).await.expect("an answer"), Deleted::Ended);
    row("delete of a signed-in session", &["evalsha"]).await;
    println!("round trips to a Redis Cluster:\n{}", table.join("\n"));
}

/// A delete does not wait for the node with the user's index. The store removes the entry in the
/// background.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delete_in_a_cluster_removes_the_entry_in_the_background() {
    let Some(cluster) = RedisCluster::start().await else { return };
    let store =
        RedisStore::connect(&Config::new(&cluster.url()).expect("a URL")).await.expect("a Cluster");
    let (kept, ended) = (
        stored::Session::signed_in(&store, "bob").await,
        stored::Session::signed_in(&store, "bob").await,
    );
    assert_eq!(store.delete(&ended.key, Claim::Any).await.expect("an answer"), Deleted::Ended);
    wait::until("the entry to disappear", PATIENCE, async || {
        for port in cluster.primaries().await {
            if let Ok(entries) =
                cluster.command(port, &["ZRANGE", "session:u}bob", "0", "-1"]).await
            {
                let entries: Vec<String> = redis::from_redis_value(entries).expect("texts");
                return (entries.len() == 1 && entries[0].starts_with(kept.key.as_str()))
                    .then_some(());
            }
        }
        None
    })
    .await;
}
