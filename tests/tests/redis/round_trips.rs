//! What a request costs: the design's table of round trips, counted on the way to the server.

use std::{sync::Arc, time::Duration};

use session_core::{
    CookieChange, Delivery, Policy, Principal, RecordedChanges, Session, SessionError, SessionId, SessionStore,
    cookie::{CookieCodec, CookieConfig, Key, Presented, SignedBy},
};
use store_redis::{Config, RedisStore};
use tests::{
    KEY,
    service::{AnyRedis, RoundTrip, Tap},
};

/// Sessions in a Redis behind a tap.
struct Site {
    store: Arc<dyn SessionStore>,
    tap: Tap,
    policy: Policy,
    _redis: AnyRedis,
}

impl Site {
    async fn start() -> Option<Self> {
        let redis = AnyRedis::server().await?;
        let tap = Tap::before(&redis.url(&format!("prefix=trips-{:016x}:&connections=1", fastrand::u64(..)))).await;
        let store = RedisStore::connect(&Config::new(tap.url()).expect("a URL")).await.expect("a server to connect to");
        let site = Self { store: Arc::new(store), tap, policy: Policy::default().idle_timeout(IDLE), _redis: redis };
        // The server learns the scripts, once.
        let id = site.signed_in().await;
        let (_, learnt) = site.request(Some(id.clone()), async |session| session.insert("n", &1)).await;
        assert_eq!(learnt, [["EVALSHA"], ["EVAL"]], "a script that the server does not have yet costs one more");
        let _ = site.request(Some(id), async |session| session.destroy().await).await;
        Some(site)
    }

    /// A request with this cookie: the id that its response brings, and the round trips that it took.
    async fn request(
        &self,
        cookie: Option<SessionId>,
        handler: impl AsyncFnOnce(&Session) -> Result<(), SessionError>,
    ) -> (Option<SessionId>, Vec<RoundTrip>) {
        let _ = self.tap.heard();
        let presented = cookie.map(|id| Presented { id, signed_by: SignedBy::Current });
        let session = Session::open(Arc::clone(&self.store), self.policy, presented, Delivery::Possible);
        handler(&session).await.expect("the handler succeeds");
        session.finish(RecordedChanges::Commit).await.expect("the store commits");
        let issued = match session.cookie() {
            CookieChange::Issue { id, .. } => Some(id),
            CookieChange::Keep | CookieChange::Remove => None,
        };
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

/// The idle timeout of these sessions; a quarter of it is waited for.
const IDLE: Duration = Duration::from_secs(4);

fn codec() -> CookieCodec {
    CookieCodec::signed(CookieConfig::development(), &Key::parse(KEY).expect("a strong key").into()).expect("a cookie")
}

fn bob() -> Principal {
    Principal::new("bob").expect("a name")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_costs_the_round_trips_of_the_design() {
    let Some(site) = Site::start().await else { return };
    let id = site.signed_in().await;
    let mut table = Vec::new();
    let mut row = |what: &'static str, expected: &[&[&str]], (issued, trips): (Option<SessionId>, Vec<RoundTrip>)| {
        // A load asks for the server's time as well, in the same round trip, unless it heard it a moment ago.
        let without_time = trips.iter().map(|trip| trip.iter().map(String::as_str).filter(|word| *word != "TIME").collect::<Vec<_>>());
        assert_eq!(without_time.collect::<Vec<_>>(), expected, "{what}");
        table.push(format!("{what:<58} {} {}", trips.len(), trips.iter().map(|trip| trip.join("+")).collect::<Vec<_>>().join(", ")));
        issued
    };
    let load: &[&str] = &["HGETALL"];
    let script: &[&str] = &["EVALSHA"];

    row("a route that never touches the session", &[], site.request(Some(id.clone()), async |_| Ok(())).await);
    row("no cookie, a read", &[], site.request(None, async |session| session.names().await.map(drop)).await);
    let unsigned = [b"id=1.".as_slice(), &id.to_text(), b".AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"].concat();
    let unverified = codec().read([unsigned.as_slice()]).map(|presented| presented.id);
    row("an unverifiable cookie, a read", &[], site.request(unverified, async |session| session.names().await.map(drop)).await);
    let read = site.request(Some(id.clone()), async |session| session.get::<i64>("n").await.map(drop)).await;
    assert_eq!(row("a read", &[load], read), None, "a read sends no cookie");
    row("an add", &[script], site.request(Some(id.clone()), async |session| session.add("n", 1).await.map(drop)).await);
    row("a blind insert", &[script], site.request(Some(id.clone()), async |session| session.insert("a", &1)).await);
    row("a blind remove", &[script], site.request(Some(id.clone()), async |session| session.remove("a")).await);
    let inserted = site.request(Some(id.clone()), async |session| {
        let held: Option<i64> = session.get("b").await?;
        session.insert("b", &held.map_or(1, |held| held + 1))
    });
    row("a read, then an insert", &[load, script], inserted.await);
    let equal = site.request(Some(id.clone()), async |session| {
        let held: Option<i64> = session.get("b").await?;
        session.insert("b", &held)
    });
    row("a read, then an insert of the same value", &[load], equal.await);
    let many = site.request(Some(id.clone()), async |session| {
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
    let rotated = site.request(Some(id.clone()), async |session| {
        session.renew();
        session.insert("e", &1)
    });
    let id = row("a rotation together with data, after its load", &[load, script], rotated.await).expect("a new id");
    row("an end", &[script], site.request(Some(id), async |session| session.destroy().await).await);

    let (read_late, written_late) = (site.signed_in().await, site.signed_in().await);
    // A life is extended when less than three quarters of it are left.
    tokio::time::sleep(IDLE / 4 + Duration::from_millis(200)).await;
    let touch = site.request(Some(read_late.clone()), async |session| session.get::<i64>("n").await.map(drop)).await;
    row("a read when less than 3/4 of the idle timeout is left", &[load, script], touch);
    let again = site.request(Some(read_late), async |session| session.get::<i64>("n").await.map(drop)).await;
    row("the read after that", &[load], again);
    let folded = site.request(Some(written_late), async |session| {
        session.get::<i64>("n").await?;
        session.insert("n", &2)
    });
    row("a read, then an insert, when less than 3/4 is left", &[load, script], folded.await);
    println!("round trips to one Redis server:\n{}", table.join("\n"));
}
