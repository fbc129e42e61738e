use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use async_trait::async_trait;

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
}

macro_rules! counted {
    ($($name:ident($($argument:ident: $type:ty),*) -> $output:ty;)*) => {
        #[async_trait]
        impl SessionStore for Counting {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$output, StoreError> {
                self.calls.fetch_add(1, Relaxed);
                self.inside.$name($($argument),*).await
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
        Self { store: Arc::new(Counting { inside, calls: AtomicUsize::new(0) }), clock, policy: Policy::default() }
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
async fn h10_sign_in_moves_the_session_to_a_new_id_with_its_data() {
    let site = Site::new();
    let old = site.session().await;
    let session = site.open(Some(&old));
    session.sign_in(bob());
    assert_eq!(session.principal().await.unwrap(), Some(bob()));
    finish(&session).await.unwrap();
    let new = issued(&session);
    assert_eq!(site.open(Some(&old)).get::<i32>("n").await.unwrap(), None, "the old id is dead");
    let session = site.open(Some(&new));
    assert_eq!(session.get::<i32>("n").await.unwrap(), Some(1));
    assert_eq!(session.principal().await.unwrap(), Some(bob()));
}

#[tokio::test]
async fn another_user_who_signs_in_sees_nothing_of_the_former() {
    let site = Site::new();
    let session = site.open(None);
    session.sign_in(bob());
    session.insert("secret", "bob's").unwrap();
    finish(&session).await.unwrap();
    let session = site.open(Some(&issued(&session)));
    session.principal().await.unwrap();
    session.sign_in(Principal::new("alice").unwrap());
    assert_eq!(session.get::<String>("secret").await.unwrap(), None);
    assert!(session.names().await.unwrap().is_empty());
    finish(&session).await.unwrap();
    let session = site.open(Some(&issued(&session)));
    assert_eq!(session.get::<String>("secret").await.unwrap(), None);
}

#[tokio::test]
async fn h13_a_session_destroyed_meanwhile_stays_dead_and_the_writer_is_told() {
    let site = Site::new();
    let id = site.session().await;
    let slow = site.open(Some(&id));
    slow.get::<i32>("n").await.unwrap();
    let logout = site.open(Some(&id));
    logout.destroy().await.unwrap();
    assert_eq!(logout.cookie(), CookieChange::Remove);
    slow.insert("n", &9).unwrap();
    assert!(matches!(finish(&slow).await, Err(SessionError::Gone)));
    assert_eq!(slow.cookie(), CookieChange::Keep, "the cookie of a conflict is left alone");
    assert!(matches!(slow.add("n", 1).await, Err(SessionError::Gone)));
    assert_eq!(site.store.inside.scan(None, 10).await.unwrap().records.len(), 0);
}

#[tokio::test]
async fn a_session_that_has_gone_can_be_served_without() {
    let site = Site { policy: Policy::default().on_gone(OnGone::Serve), ..Site::new() };
    let id = site.session().await;
    let slow = site.open(Some(&id));
    slow.get::<i32>("n").await.unwrap();
    site.open(Some(&id)).destroy().await.unwrap();
    slow.insert("n", &9).unwrap();
    finish(&slow).await.unwrap();
    assert_eq!(slow.cookie(), CookieChange::Remove);
    assert_eq!(site.store.inside.scan(None, 10).await.unwrap().records.len(), 0);
}

#[tokio::test]
async fn a_dead_cookie_is_anonymous_from_the_start_and_the_first_insert_starts_anew() {
    let site = Site::new();
    let dead = SessionId::random().unwrap();
    let session = site.open(Some(&dead));
    session.insert("n", &1).unwrap();
    finish(&session).await.unwrap();
    assert_ne!(issued(&session), dead, "an id from outside is never adopted");
    let session = site.open(Some(&dead));
    assert_eq!(session.add("n", 5).await.unwrap(), 5);
    assert_ne!(issued(&session), dead);
    let session = site.open(Some(&dead));
    session.remove("n").unwrap();
    finish(&session).await.unwrap();
    assert_eq!(session.cookie(), CookieChange::Keep, "nothing to remove is no reason for a session");
}

#[tokio::test]
async fn h24_what_is_inserted_after_destroy_starts_a_new_session() {
    let site = Site::new();
    let id = site.session().await;
    let session = site.open(Some(&id));
    session.destroy().await.unwrap();
    session.insert("flash", "signed out").unwrap();
    finish(&session).await.unwrap();
    let new = issued(&session);
    assert_ne!(new, id);
    assert_eq!(site.open(Some(&new)).names().await.unwrap(), [Name::new("flash").unwrap()]);
}

#[tokio::test]
async fn h14_dropped_changes_reach_no_store() {
    let site = Site::new();
    let id = site.session().await;
    let session = site.open(Some(&id));
    session.insert("n", &9).unwrap();
    session.sign_in(bob());
    session.finish(RecordedChanges::Drop).await.unwrap();
    assert_eq!(session.cookie(), CookieChange::Keep);
    assert_eq!(site.open(Some(&id)).get::<i32>("n").await.unwrap(), Some(1));
}

#[tokio::test]
async fn h16_idle_slides_with_use_and_absolute_does_not() {
    let site = Site { policy: Policy::default().absolute_timeout(Duration::from_secs(3_600)), ..Site::new() };
    let id = site.session().await;
    for minute in 0..6 {
        site.clock.advance(Duration::from_secs(599));
        let session = site.open(Some(&id));
        assert_eq!(session.get::<i32>("n").await.unwrap(), Some(1), "used every ten minutes, at {minute}0");
        finish(&session).await.unwrap();
    }
    site.clock.advance(Duration::from_secs(10));
    assert_eq!(site.open(Some(&id)).get::<i32>("n").await.unwrap(), None, "an hour is over");
}

#[tokio::test]
async fn h16_adding_without_ever_loading_keeps_a_session_alive() {
    let site = Site::new();
    let id = site.session().await;
    for n in 2..10 {
        site.clock.advance(Duration::from_secs(1_200));
        let session = site.open(Some(&id));
        let add = async {
            let sum = session.add("n", 1).await.unwrap();
            finish(&session).await.unwrap();
            sum
        };
        let (sum, calls) = site.calls(add).await;
        assert_eq!(sum, n);
        assert_eq!(calls, 2, "one to add, one to extend a life of which less than three quarters are left");
    }
}

#[tokio::test]
async fn a_lifetime_of_its_own_is_kept_with_the_session() {
    let site = Site::new();
    let id = site.session().await;
    let session = site.open(Some(&id));
    session.set_idle_timeout(Duration::from_secs(86_400));
    session.set_absolute_timeout(Duration::from_secs(86_400 * 30));
    session.set_persistence(Persistence::Persistent);
    finish(&session).await.unwrap();
    let CookieChange::Issue { max_age: Some(max_age), .. } = session.cookie() else { panic!("not persistent") };
    assert_eq!(max_age.as_secs(), 86_400);
    site.clock.advance(Duration::from_secs(80_000));
    let session = site.open(Some(&id));
    assert_eq!(session.get::<i32>("n").await.unwrap(), Some(1));
    finish(&session).await.unwrap();
    let CookieChange::Issue { max_age: Some(max_age), .. } = session.cookie() else { panic!("the cookie was not renewed with the life") };
    assert_eq!(max_age.as_secs(), 86_400);
}

#[tokio::test(flavor = "multi_thread")]
async fn c16_concurrent_updates_lose_nothing() {
    let site = Arc::new(Site::new());
    let id = site.session().await;
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (site, id) = (Arc::clone(&site), id.clone());
            tokio::spawn(async move {
                for _ in 0..20 {
                    site.open(Some(&id)).update::<i64>("n", |n| Some(n.unwrap_or(0) + 1)).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(site.open(Some(&id)).get::<i64>("n").await.unwrap(), Some(1_001));
}

#[tokio::test]
async fn an_update_after_others_committed_unseen_does_not_overwrite_them() {
    let site = Site::new();
    let id = site.session().await;
    let session = site.open(Some(&id));
    session.get::<i32>("n").await.unwrap();
    site.open(Some(&id)).add("n", 10).await.unwrap();
    session.add("other", 1).await.unwrap();
    assert_eq!(session.update::<i32>("n", |n| n.map(|n| n + 1)).await.unwrap(), Some(12));
}

#[tokio::test]
async fn update_speaks_of_absence_both_ways() {
    let site = Site::new();
    let session = site.open(None);
    assert_eq!(session.update::<i32>("n", |n| n).await.unwrap(), None);
    assert_eq!(session.cookie(), CookieChange::Keep);
    assert_eq!(session.update::<i32>("n", |n| n.or(Some(7))).await.unwrap(), Some(7));
    let id = issued(&session);
    assert_eq!(site.open(Some(&id)).update::<i32>("n", |_| None).await.unwrap(), None);
    assert!(!site.open(Some(&id)).contains("n").await.unwrap());
}

#[tokio::test]
async fn calls_at_once_bring_what_was_recorded_before() {
    let site = Site::new();
    let session = site.open(None);
    session.insert("n", &5).unwrap();
    assert_eq!(session.add("n", 1).await.unwrap(), 6);
    session.finish(RecordedChanges::Drop).await.unwrap();
    assert_eq!(site.open(Some(&issued(&session))).get::<i32>("n").await.unwrap(), Some(6));
}

#[tokio::test]
async fn s20_devices_are_handles_and_only_ones_own_can_be_ended() {
    let site = Site::new();
    let sign_in = async |who: &str| {
        let session = site.open(None);
        session.sign_in(Principal::new(who).unwrap());
        finish(&session).await.unwrap();
        issued(&session)
    };
    let (first, second, other) = (sign_in("bob").await, sign_in("bob").await, sign_in("alice").await);
    let session = site.open(Some(&first));
    let others = session.others().await.unwrap();
    assert_eq!(others.iter().map(|device| device.handle).collect::<Vec<_>>(), [second.store_key().handle()]);
    assert!(!session.destroy_other(other.store_key().handle()).await.unwrap());
    assert!(site.open(Some(&other)).principal().await.unwrap().is_some());
    assert!(session.destroy_other(others[0].handle).await.unwrap());
    assert_eq!(site.open(Some(&second)).principal().await.unwrap(), None);
    sign_in("bob").await;
    assert_eq!(session.destroy_others().await.unwrap(), 1);
    assert_eq!(session.destroy_all().await.unwrap(), 1);
    assert_eq!(session.cookie(), CookieChange::Remove);
    assert!(site.open(Some(&other)).principal().await.unwrap().is_some());
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
