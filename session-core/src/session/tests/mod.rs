//! Sessions over a store that counts its calls.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use async_trait::async_trait;

mod at_once;
mod life;
mod retry;
mod way;

use super::*;
use crate::{
    Commit, Created, Cursor, Data, Listed, ManualClock, MemoryStore, NewRecord, OnGone, Outcome, Page, Record, StoreError, StoreKey,
    cookie::SignedBy,
};

/// Counts the calls that reach the store inside: one call is one round trip.
#[derive(Debug)]
struct Counting {
    inside: MemoryStore,
    calls: AtomicUsize,
    /// Whether the next call takes effect and its answer is lost.
    lose_answer: AtomicBool,
}

macro_rules! counted {
    ($($name:ident($($argument:ident: $type:ty),*) -> $output:ty;)*) => {
        #[async_trait]
        impl SessionStore for Counting {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$output, StoreError> {
                self.calls.fetch_add(1, Relaxed);
                // As a store behind a socket would: other tasks of the request run meanwhile.
                tokio::task::yield_now().await;
                let answer = self.inside.$name($($argument),*).await;
                if self.lose_answer.swap(false, Relaxed) {
                    return Err(StoreError::Timeout { store: "lossy", after: Duration::from_secs(2) });
                }
                answer
            })*
        }
    };
}

counted! {
    create(key: &StoreKey, new: NewRecord) -> Created;
    load(key: &StoreKey) -> Option<Record>;
    commit(key: &StoreKey, commit: Commit) -> Outcome;
    delete(key: &StoreKey) -> bool;
    list(principal: &Principal) -> Vec<Listed>;
    delete_all(principal: &Principal, except: Option<&StoreKey>) -> u64;
    scan(after: Option<Cursor>, limit: usize) -> Page;
    delete_expired(limit: usize) -> u64;
    ping() -> ();
}

/// A site with one store, and a browser that holds one cookie.
struct Site {
    store: Arc<Counting>,
    clock: ManualClock,
    policy: Policy,
}

impl Site {
    fn new() -> Self {
        let (inside, clock) = MemoryStore::with_manual_clock();
        Self {
            store: Arc::new(Counting { inside, calls: AtomicUsize::new(0), lose_answer: AtomicBool::new(false) }),
            clock,
            policy: Policy::default(),
        }
    }

    fn open(&self, id: Option<&SessionId>) -> Session {
        let presented = id.map(|id| Presented { id: id.clone(), signed_by: SignedBy::Current });
        Session::open(Arc::clone(&self.store) as Arc<dyn SessionStore>, self.policy, presented, Delivery::Possible)
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
        session.finish(RecordedChanges::Commit).await.unwrap();
        issued(&session)
    }
}

fn issued(session: &Session) -> SessionId {
    match session.cookie() {
        CookieChange::Issue { id, .. } => id,
        other => panic!("expected an id for the browser, got {other:?}"),
    }
}

fn bob() -> Principal {
    Principal::new("bob").unwrap()
}

async fn finish(session: &Session) -> Result<(), SessionError> {
    session.finish(RecordedChanges::Commit).await
}

#[tokio::test]
async fn round_trips_are_those_of_the_design() {
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
    assert_eq!(site.calls(blind).await.1, 1, "blind insert and remove");
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
    assert_eq!(site.calls(equal).await.1, 1, "an equal value is no write");
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
async fn no_session_is_made_that_the_browser_cannot_learn_of() {
    let site = Site::new();
    let plain = Session::open(Arc::clone(&site.store) as Arc<dyn SessionStore>, site.policy, None, Delivery::Refused);
    plain.insert("n", &1).unwrap();
    assert!(matches!(finish(&plain).await, Err(SessionError::PlainHttp)));
    let late = site.open(None);
    finish(&late).await.unwrap();
    assert!(matches!(late.add("n", 1).await, Err(SessionError::HeadSent)));
    assert_eq!(site.store.calls.load(Relaxed), 0);
}

#[tokio::test]
async fn a_long_lived_body_commits_by_itself() {
    let site = Site::new();
    let id = site.session().await;
    let session = site.open(Some(&id));
    finish(&session).await.unwrap();
    session.insert("progress", &50).unwrap();
    session.commit().await.unwrap();
    assert_eq!(site.open(Some(&id)).get::<i32>("progress").await.unwrap(), Some(50));
}

#[tokio::test]
async fn s07_a_cookie_signed_by_an_older_key_is_issued_again_once_the_session_is_seen_alive() {
    let site = Site::new();
    let id = site.session().await;
    let presented = Presented { id: id.clone(), signed_by: SignedBy::Older };
    let open = || Session::open(Arc::clone(&site.store) as Arc<dyn SessionStore>, site.policy, Some(presented.clone()), Delivery::Possible);
    let session = open();
    session.get::<i32>("n").await.unwrap();
    finish(&session).await.unwrap();
    assert_eq!(issued(&session), id);
    site.open(Some(&id)).destroy().await.unwrap();
    let session = open();
    session.get::<i32>("n").await.unwrap();
    assert_eq!(session.cookie(), CookieChange::Keep);
}

#[tokio::test]
async fn debug_shows_neither_id_nor_values() {
    let site = Site::new();
    let id = site.session().await;
    let session = site.open(Some(&id));
    session.insert("token", "hunter2").unwrap();
    let shown = format!("{session:?} {:?}", Data::new());
    let text = String::from_utf8(id.to_text().to_vec()).unwrap();
    assert!(!shown.contains("hunter2") && !shown.contains(&text) && shown.contains("token"), "{shown}");
}
