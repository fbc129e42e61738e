//! The metrics of sessions and cookies.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use session_core::{
    CookieDelivery, ManualClock, MemoryStore, Policy, RecordedChanges, SessionContext,
    SessionDriver, SessionId, SessionStore,
    cookie::{CookieCodec, CookieConfig, Key, SignedBy, VerifiedCookie},
    observe,
};

use crate::{recorder::TestRecorder, trace_log::traced};

struct TestServer {
    store: Arc<MemoryStore>,
    clock: ManualClock,
}

impl TestServer {
    fn new() -> Self {
        let (store, clock) = MemoryStore::with_manual_clock();
        Self { store: Arc::new(store), clock }
    }

    fn open(&self, id: Option<&SessionId>) -> SessionDriver {
        let cookies = id
            .map(|id| VerifiedCookie { id: id.clone(), signed_by: SignedBy::Current }.into())
            .unwrap_or_default();
        let context = SessionContext::new(
            Arc::clone(&self.store) as Arc<dyn SessionStore>,
            Policy::default(),
        );
        SessionDriver::open(Arc::new(context), cookies, CookieDelivery::Possible, Instant::now())
    }
}

async fn finish(session: &SessionDriver) {
    session.finish(RecordedChanges::Commit).await.unwrap();
}

fn id_of(session: &SessionDriver) -> SessionId {
    match session.cookie() {
        session_core::CookieChange::Issue { id, .. } => id,
        other => panic!("expected an id, got {other:?}"),
    }
}

#[tokio::test]
async fn h16_a_request_without_extension_is_counted_once() {
    let recorder = TestRecorder::default();
    let _counting = recorder.install();
    observe::describe();
    let skipped = || recorder.counter(observe::TOUCHES_SKIPPED);
    let server = TestServer::new();
    assert_eq!(skipped(), Some(0));

    let session = server.open(None);
    session.session().add("n", 1).await.unwrap();
    finish(&session).await;
    let id = id_of(&session);
    assert_eq!(skipped(), Some(0), "a new session has a full ttl");

    finish(&server.open(Some(&id))).await;
    finish(&server.open(None)).await;
    assert_eq!(skipped(), Some(0), "no session was used");

    let session = server.open(Some(&id));
    session.session().get::<i32>("n").await.unwrap();
    session.session().insert("m", &1).unwrap();
    session.session().add("n", 1).await.unwrap();
    session.session().commit().await.unwrap();
    finish(&session).await;
    assert_eq!(skipped(), Some(1), "counted once, despite several store calls");

    server.clock.advance(Duration::from_secs(1_200));
    let session = server.open(Some(&id));
    session.session().get::<i32>("n").await.unwrap();
    finish(&session).await;
    assert_eq!(skipped(), Some(1), "the session was extended");

    let session = server.open(Some(&id));
    session.session().get::<i32>("n").await.unwrap();
    finish(&session).await;
    assert_eq!(skipped(), Some(2), "the session needs no extension");

    let session = server.open(Some(&id));
    session.session().get::<i32>("n").await.unwrap();
    session.session().destroy().await.unwrap();
    finish(&session).await;
    assert_eq!(skipped(), Some(2), "the session has ended");
}

#[test]
fn refused_cookies_are_counted_by_cause() {
    let recorder = TestRecorder::default();
    let _counting = recorder.install();
    observe::describe();
    let key = |byte| {
        Key::from_bytes((0..32).map(|n: u8| n.wrapping_mul(7) ^ byte).collect::<Vec<u8>>()).unwrap()
    };
    let config = CookieConfig::development;
    let codec = CookieCodec::signed(config(), &key(1).into()).unwrap();
    let other = CookieCodec::signed(config(), &key(2).into()).unwrap();
    let unsigned = CookieCodec::unsigned(config()).unwrap();
    let id = SessionId::random().unwrap();
    let pair = |codec: &CookieCodec| codec.issue(&id, None).split(';').next().unwrap().to_owned();
    let causes = || {
        ["kind", "shape", "signature", "plain_http"]
            .map(|cause| recorder.counter(&format!("{}{{cause={cause}}}", observe::COOKIE_REFUSED)))
    };
    assert_eq!(causes(), [Some(0); 4]);

    assert!(codec.read([pair(&codec).as_bytes()]).iter().count() == 1);
    assert!(codec.read([&b"other=1; session=2"[..]]).iter().count() == 0);
    assert_eq!(causes(), [Some(0); 4], "valid cookies and other cookies are not counted");

    for (header, expected) in [
        (pair(&unsigned), [1, 0, 0, 0]),
        ("id=".to_owned(), [2, 0, 0, 0]),
        (pair(&codec)[..80].to_owned(), [2, 1, 0, 0]),
        (pair(&codec).replace("=2.", "=2.!")[..pair(&codec).len()].to_owned(), [2, 2, 0, 0]),
        (pair(&other), [2, 2, 1, 0]),
        // Both invalid cookies count, although a valid one follows.
        (format!("id=x; {}; {}", pair(&other), pair(&codec)), [3, 2, 2, 0]),
    ] {
        let _ = codec.read([header.as_bytes()]);
        assert_eq!(causes(), expected.map(Some), "{}", &header[..3]);
    }
    assert!(unsigned.read([&b"id=0.short"[..]]).iter().count() == 0);
    codec.count_as_refused([&b"id=1; other=2"[..], b"id=3"]);
    assert_eq!(causes(), [3, 3, 2, 2].map(Some));
}

#[test]
fn thousands_of_refused_cookies_are_counted_and_few_traced() {
    const MANY: usize = 3_000;
    let recorder = TestRecorder::default();
    let _counting = recorder.install();
    observe::describe();
    let codec = CookieCodec::unsigned(CookieConfig::development().name("many")).unwrap();
    let header = format!("{}{}", "many=x; ".repeat(MANY), "many=0.x; ".repeat(5));
    let span = tracing::info_span!("thousands of refused cookies");
    span.in_scope(|| assert!(codec.read([header.as_bytes()]).iter().count() == 0));
    span.in_scope(|| codec.count_as_refused([header.as_bytes()]));
    let counted = ["kind", "shape", "plain_http"]
        .map(|cause| recorder.counter(&format!("{}{{cause={cause}}}", observe::COOKIE_REFUSED)));
    assert_eq!(counted, [3_000, 5, 3_005].map(Some));
    let traced = traced();
    let lines = |text: &str| {
        traced
            .lines()
            .filter(|line| line.contains("thousands of refused") && line.contains(text))
            .count()
    };
    assert_eq!(lines("session cookie refused"), 12, "four for each cause");
    for text in
        ["cause=\"kind\" more=2996", "cause=\"shape\" more=1", "cause=\"plain_http\" more=3001"]
    {
        assert_eq!(lines(text), 1, "{text}");
    }
}
