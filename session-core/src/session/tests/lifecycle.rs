//! Sign-in, sign-out and requests in flight.

use super::*;

#[tokio::test]
async fn h10_sign_in_gives_a_new_id_and_keeps_the_data() {
    let (site, old, session) = opened().await;
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
async fn another_user_sees_no_data_of_the_former_user() {
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
async fn h13_destroyed_session_stays_dead_and_the_writer_gets_an_error() {
    let (site, id, slow) = loaded().await;
    let logout = site.open(Some(&id));
    logout.destroy().await.unwrap();
    assert_eq!(logout.cookie(), CookieChange::Remove);
    slow.insert("n", &9).unwrap();
    assert!(matches!(finish(&slow).await, Err(SessionError::Gone)));
    assert_eq!(slow.cookie(), CookieChange::Keep, "a conflict leaves the cookie unchanged");
    assert!(matches!(slow.add("n", 1).await, Err(SessionError::Gone)));
    assert_eq!(site.living().await, 0);
}

#[tokio::test]
async fn ended_session_can_be_served_without_its_changes() {
    let site = Site::with_policy(Policy::default().on_session_ended(OnSessionEnded::Serve));
    let id = site.session().await;
    let slow = site.open(Some(&id));
    slow.get::<i32>("n").await.unwrap();
    site.open(Some(&id)).destroy().await.unwrap();
    slow.insert("n", &9).unwrap();
    finish(&slow).await.unwrap();
    assert_eq!(slow.cookie(), CookieChange::Remove);
    assert_eq!(site.living().await, 0);
}

#[tokio::test]
async fn first_insert_with_a_dead_cookie_starts_a_new_session() {
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
    assert_eq!(session.cookie(), CookieChange::Keep, "removing nothing does not start a session");
}

#[tokio::test]
async fn h24_insert_after_destroy_starts_a_new_session() {
    let (site, id, session) = opened().await;
    session.destroy().await.unwrap();
    session.insert("flash", "signed out").unwrap();
    finish(&session).await.unwrap();
    let new = issued(&session);
    assert_ne!(new, id);
    assert_eq!(site.open(Some(&new)).names().await.unwrap(), [Name::new("flash").unwrap()]);
}

#[tokio::test]
async fn h14_dropped_changes_do_not_reach_the_store() {
    let (site, id, session) = opened().await;
    session.insert("n", &9).unwrap();
    session.sign_in(bob());
    session.finish(RecordedChanges::Drop).await.unwrap();
    assert_eq!(session.cookie(), CookieChange::Keep);
    assert_eq!(site.open(Some(&id)).get::<i32>("n").await.unwrap(), Some(1));
}
