//! Sessions over a store that counts its calls and fails on demand.

use std::{
    collections::BTreeSet,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use parking_lot::Mutex;

mod credentials;
mod events;
mod grace;
mod lifecycle;
mod liveness;
mod lost_answers;
mod retry;
mod several_cookies;
mod sign_in;
mod superseded;
mod timeouts;
mod unsigned;
mod update;
mod without_rotation;

use super::*;
use crate::{
    Attributes, Claim, Commit, Created, Cursor, Data, Deleted, DeletedPage, EndCause, EventOutcome,
    Handle, ManualClock, MemoryStore, Name, NewRecord, OnSessionEnded, OnSupersededId, Outcome,
    Page, Persistence, Policy, Principal, Record, Rejection, SessionEvent, SessionEvents,
    SessionId, SessionStore, ShortText, SignIn, StoreError, StoreKey, Stored, SummaryPage,
    cookie::{SignedBy, VerifiedCookie, VerifiedCookies},
    plan::Recorded,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// A store in memory that counts its calls and fails on demand. One call is one round trip.
#[derive(Debug)]
struct FaultyStore {
    inside: MemoryStore,
    calls: AtomicUsize,
    /// The maximum number of concurrent calls.
    most_at_once: AtomicUsize,
    in_flight: AtomicUsize,
    /// Whether the next call takes effect and its answer is lost.
    lose_answer: AtomicBool,
    /// Whether a commit that rotates is answered with `Unsupported`.
    cannot_rotate: AtomicBool,
    /// A session whose record is corrupt.
    corrupt: Mutex<Option<StoreKey>>,
    /// The session that ends before the next call of this name.
    ends_before: Mutex<Option<(&'static str, StoreKey)>>,
    /// The calls that fail without any effect.
    fails: Mutex<BTreeSet<&'static str>>,
}

impl FaultyStore {
    fn fail(&self, calls: impl IntoIterator<Item = &'static str>) {
        *self.fails.lock() = calls.into_iter().collect();
    }

    async fn enter(&self, call: &'static str) -> Result<(), StoreError> {
        self.calls.fetch_add(1, Relaxed);
        let at_once = self.in_flight.fetch_add(1, Relaxed) + 1;
        self.most_at_once.fetch_max(at_once, Relaxed);
        // Other tasks of the request run meanwhile, as with a store behind a socket.
        tokio::task::yield_now().await;
        self.in_flight.fetch_sub(1, Relaxed);
        let ends = self.ends_before.lock().take_if(|(before, _)| *before == call);
        if let Some((_, key)) = ends {
            let _ = self.inside.delete(&key, Claim::Any).await?;
        }
        if self.fails.lock().contains(call) {
            return Err(StoreError::Unavailable {
                store: "counting",
                source: "a failure was requested".into(),
            });
        }
        Ok(())
    }

    fn leave<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        if self.lose_answer.swap(false, Relaxed) {
            return Err(StoreError::Timeout { store: "counting", after: Duration::from_secs(2) });
        }
        answer
    }
}

macro_rules! counted {
    ($($name:ident($($argument:ident: $type:ty),*) -> $output:ty;)*) => {
        #[async_trait]
        impl SessionStore for FaultyStore {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$output, StoreError> {
                self.enter(stringify!($name)).await?;
                self.leave(self.inside.$name($($argument),*).await)
            })*

            async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
                self.enter("commit").await?;
                if commit.rotate.is_some() && self.cannot_rotate.load(Relaxed) {
                    return Err(StoreError::Unsupported { store: "counting", what: "a rotation" });
                }
                self.leave(self.inside.commit(key, commit).await)
            }

            async fn load(&self, key: &StoreKey) -> Result<Option<Stored>, StoreError> {
                self.enter("load").await?;
                if self.corrupt.lock().as_ref() == Some(key) {
                    return Err(StoreError::Corrupt {
                        store: "counting",
                        handle: key.handle(),
                        source: "a corrupt record was requested".into(),
                    });
                }
                self.leave(self.inside.load(key).await)
            }
        }
    };
}

counted! {
    create(key: &StoreKey, new: NewRecord) -> Created;
    delete(key: &StoreKey, claim: Claim) -> Deleted;
    list(principal: &Principal, after: Option<Cursor>, limit: usize) -> SummaryPage;
    delete_all(principal: &Principal, except: Option<&StoreKey>) -> u64;
    delete_everyone(after: Option<Cursor>, limit: usize) -> DeletedPage;
    scan(after: Option<Cursor>, limit: usize) -> Page;
    delete_expired(limit: usize) -> u64;
    ping() -> ();
}

/// The events of sessions, one line each: name, principal, and `?` if the outcome is unknown.
#[derive(Debug, Default)]
struct AuditTrail {
    lines: Mutex<Vec<String>>,
    handles: Mutex<Vec<Handle>>,
}

impl AuditTrail {
    fn add(&self, what: &str, event: &SessionEvent<'_>) {
        let principal = event.principal.map_or("-", Principal::as_str);
        let outcome = if event.outcome == EventOutcome::Unknown { "?" } else { "" };
        self.lines.lock().push(format!("{what} {principal}{outcome}"));
        self.handles.lock().push(event.handle);
    }

    /// The lines since the last call.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock())
    }
}

impl SessionEvents for AuditTrail {
    fn created(&self, event: &SessionEvent<'_>) {
        self.add("created", event);
    }

    fn signed_in(&self, event: &SessionEvent<'_>) {
        self.add("signed in", event);
    }

    fn rotated(&self, event: &SessionEvent<'_>) {
        self.add("rotated", event);
    }

    fn superseded_id_used(&self, event: &SessionEvent<'_>) {
        self.add("superseded id used", event);
    }

    fn ended(&self, event: &SessionEvent<'_>, cause: EndCause) {
        self.add(&format!("ended {cause:?}"), event);
    }
}

/// One request: its session and the driver of the adapter.
#[derive(Debug, Clone)]
struct Request(SessionDriver);

impl Request {
    async fn finish(&self, changes: RecordedChanges) -> Result<(), SessionError> {
        self.0.finish(changes).await
    }

    fn cookie(&self) -> CookieChange {
        self.0.cookie()
    }
}

impl Deref for Request {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.0.session()
    }
}

/// An application with one store.
struct Site {
    store: Arc<FaultyStore>,
    clock: ManualClock,
    policy: Policy,
    audit: Arc<AuditTrail>,
}

impl Site {
    fn new() -> Self {
        let (inside, clock) = MemoryStore::with_manual_clock();
        let store = FaultyStore {
            inside,
            calls: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            lose_answer: AtomicBool::new(false),
            cannot_rotate: AtomicBool::new(false),
            corrupt: Mutex::default(),
            ends_before: Mutex::default(),
            fails: Mutex::default(),
        };
        Self { store: Arc::new(store), clock, policy: Policy::default(), audit: Arc::default() }
    }

    fn with_policy(policy: Policy) -> Self {
        Self { policy, ..Self::new() }
    }

    /// A request that begins now and has the cookie of this id.
    fn open(&self, id: Option<&SessionId>) -> Request {
        self.open_with(
            id.map(|id| cookie(id, SignedBy::Current)),
            CookieDelivery::Possible,
            Instant::now(),
        )
    }

    fn open_with(
        &self,
        cookies: impl IntoIterator<Item = VerifiedCookie>,
        delivery: CookieDelivery,
        began: Instant,
    ) -> Request {
        let mut cookies = cookies.into_iter();
        let verified = VerifiedCookies { first: cookies.next(), others: cookies.collect() };
        let store = Arc::clone(&self.store) as Arc<dyn SessionStore>;
        let context = SessionContext::new(store, self.policy)
            .events(Arc::clone(&self.audit) as Arc<dyn SessionEvents>);
        Request(SessionDriver::open(Arc::new(context), verified, delivery, began))
    }

    /// The number of store calls that `work` made.
    async fn calls<T>(&self, work: impl Future<Output = T>) -> (T, usize) {
        let before = self.store.calls.load(Relaxed);
        let result = work.await;
        (result, self.store.calls.load(Relaxed) - before)
    }

    /// A stored session with `n` = 1, and its id.
    async fn session(&self) -> SessionId {
        let session = self.open(None);
        session.insert("n", &1).unwrap();
        finish(&session).await.unwrap();
        issued(&session)
    }

    /// The id after a sign-in of a browser with this id.
    async fn sign_in(&self, id: Option<&SessionId>, sign_in: impl Into<SignIn>) -> SessionId {
        let session = self.open(id);
        session.sign_in(sign_in);
        finish(&session).await.unwrap();
        issued(&session)
    }

    /// Commits the changes of this request. The commit takes effect, and its answer is lost.
    async fn commit_without_answer(&self, session: &Request) {
        self.store.lose_answer.store(true, Relaxed);
        assert!(session.commit().await.is_err());
    }

    /// The id after a renewal.
    async fn renew(&self, id: &SessionId) -> SessionId {
        let session = self.open(Some(id));
        session.renew();
        finish(&session).await.unwrap();
        issued(&session)
    }

    /// The signed-in user of a browser with this id.
    async fn principal(&self, id: &SessionId) -> Option<Principal> {
        self.open(Some(id)).principal().await.unwrap()
    }

    /// The stored record of this id, whatever its secret.
    async fn record(&self, id: &SessionId) -> Option<Record> {
        Some(self.store.inside.load(&id.key()).await.unwrap()?.into_record())
    }

    /// The number of live sessions.
    async fn living(&self) -> usize {
        self.store.inside.scan(None, 1_000).await.unwrap().records.len()
    }
}

fn cookie(id: &SessionId, signed_by: SignedBy) -> VerifiedCookie {
    VerifiedCookie { id: id.clone(), signed_by }
}

fn issued(session: &Request) -> SessionId {
    match session.cookie() {
        CookieChange::Issue { id, .. } => id,
        other => panic!("expected an id for the browser, got {other:?}"),
    }
}

fn bob() -> Principal {
    Principal::new("bob").unwrap()
}

fn alice() -> Principal {
    Principal::new("alice").unwrap()
}

async fn finish(session: &Request) -> Result<(), SessionError> {
    session.finish(RecordedChanges::Commit).await
}

/// A site with a stored session, the id of the session, and a request with this id.
async fn opened() -> (Site, SessionId, Request) {
    let site = Site::new();
    let id = site.session().await;
    let session = site.open(Some(&id));
    (site, id, session)
}

/// The same with a request that has loaded the session.
async fn loaded() -> (Site, SessionId, Request) {
    let (site, id, session) = opened().await;
    session.get::<i32>("n").await.unwrap();
    (site, id, session)
}

/// A site with a session of bob, the id of the session, and a request that has loaded it.
async fn signed_in() -> (Site, SessionId, Request) {
    let site = Site::new();
    let bobs = site.sign_in(None, bob()).await;
    let session = site.open(Some(&bobs));
    assert_eq!(session.principal().await.unwrap(), Some(bob()));
    (site, bobs, session)
}

#[tokio::test]
async fn calls_make_the_documented_round_trips() {
    let site = Site::new();
    let id = site.session().await;
    let untouched = async { finish(&site.open(Some(&id))).await.unwrap() };
    assert_eq!(site.calls(untouched).await.1, 0, "untouched");
    let anonymous = async {
        let session = site.open(None);
        assert_eq!(session.get::<i32>("n").await.unwrap(), None);
        finish(&session).await.unwrap();
        assert_eq!(session.cookie(), CookieChange::Keep);
    };
    assert_eq!(site.calls(anonymous).await.1, 0, "no cookie");
    let read = async {
        let session = site.open(Some(&id));
        assert_eq!(session.get::<i32>("n").await.unwrap(), Some(1));
        assert!(session.contains("n").await.unwrap());
        finish(&session).await.unwrap();
        assert_eq!(session.cookie(), CookieChange::Keep);
    };
    assert_eq!(site.calls(read).await.1, 1, "read");
    let add = async {
        let session = site.open(Some(&id));
        assert_eq!(session.add("n", 1).await.unwrap(), 2);
        finish(&session).await.unwrap();
    };
    assert_eq!(site.calls(add).await.1, 1, "add");
    let blind = async {
        let session = site.open(Some(&id));
        session.insert("m", "x").unwrap();
        session.remove("absent").unwrap();
        finish(&session).await.unwrap();
    };
    assert_eq!(site.calls(blind).await.1, 1, "insert and remove without a load");
    let both = async {
        let session = site.open(Some(&id));
        assert_eq!(session.get::<i32>("n").await.unwrap(), Some(2));
        session.insert("n", &3).unwrap();
        finish(&session).await.unwrap();
    };
    assert_eq!(site.calls(both).await.1, 2, "read then insert");
    let equal = async {
        let session = site.open(Some(&id));
        session.get::<i32>("n").await.unwrap();
        session.insert("n", &3).unwrap();
        finish(&session).await.unwrap();
    };
    assert_eq!(site.calls(equal).await.1, 1, "an equal value is not written");
    assert_eq!(site.calls(site.session()).await.1, 1, "first write of a new session");
    let rotate = async {
        let session = site.open(Some(&id));
        session.sign_in(bob());
        session.insert("n", &4).unwrap();
        finish(&session).await.unwrap();
    };
    assert_eq!(site.calls(rotate).await.1, 2, "rotation together with data, after its load");
}

#[tokio::test]
async fn session_is_not_created_if_its_cookie_cannot_be_sent() {
    let site = Site::new();
    let plain = site.open_with(None, CookieDelivery::Refused, Instant::now());
    plain.insert("n", &1).unwrap();
    assert!(matches!(finish(&plain).await, Err(SessionError::PlainHttp)));
    let late = site.open(None);
    finish(&late).await.unwrap();
    assert!(matches!(late.add("n", 1).await, Err(SessionError::HeadSent)));
    assert_eq!(site.store.calls.load(Relaxed), 0);
}

#[tokio::test]
async fn long_lived_body_can_commit() {
    let (site, id, session) = opened().await;
    finish(&session).await.unwrap();
    session.insert("progress", &50).unwrap();
    session.commit().await.unwrap();
    assert_eq!(site.open(Some(&id)).get::<i32>("progress").await.unwrap(), Some(50));
}

#[tokio::test]
async fn s07_cookie_of_an_older_key_is_reissued_for_a_live_session() {
    let site = Site::new();
    let id = site.session().await;
    let open =
        || site.open_with([cookie(&id, SignedBy::Older)], CookieDelivery::Possible, Instant::now());
    let session = open();
    session.get::<i32>("n").await.unwrap();
    finish(&session).await.unwrap();
    assert_eq!(issued(&session), id);
    let session = open();
    session.insert("n", &2).unwrap();
    finish(&session).await.unwrap();
    assert_eq!(issued(&session), id, "a write without a load also shows that it is alive");
    site.open(Some(&id)).destroy().await.unwrap();
    let session = open();
    session.get::<i32>("n").await.unwrap();
    assert_eq!(session.cookie(), CookieChange::Keep);
}

#[tokio::test]
async fn debug_hides_id_and_values() {
    let site = Site::new();
    let id = site.session().await;
    let session = site.open(Some(&id));
    session.insert("token", "hunter2").unwrap();
    let shown = format!("{session:?} {:?}", Data::new());
    let text = String::from_utf8(id.to_text().to_vec()).unwrap();
    assert!(
        !shown.contains("hunter2") && !shown.contains(&text) && shown.contains("token"),
        "{shown}"
    );
}
