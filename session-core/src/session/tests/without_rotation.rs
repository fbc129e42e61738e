//! Stores that cannot rotate: the session continues as a copy under a new id.

use super::*;

fn site() -> Site {
    let site = Site::new();
    site.store.cannot_rotate.store(true, Relaxed);
    site
}

#[tokio::test]
async fn sign_in_copies_to_a_new_id_and_ends_the_old_session() {
    let site = site();
    let old = site.session().await;
    site.clock.advance(MINUTE);
    let session = site.open(Some(&old));
    session.sign_in(SignIn::new(bob()).label("Firefox").unwrap());
    session.insert("m", &2).unwrap();
    finish(&session).await.unwrap();
    let new = issued(&session);
    assert_ne!(new.key(), old.key());
    assert_eq!(site.living().await, 1, "the old session has ended");
    let read = site.open(Some(&new));
    assert_eq!(read.principal().await.unwrap(), Some(bob()));
    assert_eq!(
        (read.get::<i32>("n").await.unwrap(), read.get::<i32>("m").await.unwrap()),
        (Some(1), Some(2))
    );
    assert!(read.authenticated_within(SECOND).await.unwrap());
    assert_eq!(
        site.record(&new).await.unwrap().attributes.label,
        Some(ShortText::new("Firefox").unwrap())
    );
    assert_eq!(site.audit.take(), ["created -", "signed in bob"]);
}

#[tokio::test]
async fn renewal_copies_without_extending_the_lifetime() {
    let site = site();
    let old = site.sign_in(None, bob()).await;
    site.clock.advance(5 * MINUTE);
    site.audit.take();
    let session = site.open(Some(&old));
    session.insert("n", &1).unwrap();
    session.renew();
    finish(&session).await.unwrap();
    let record = site.record(&issued(&session)).await.unwrap();
    assert_eq!(
        (record.age, record.authenticated, record.ttl),
        (5 * MINUTE, Some(5 * MINUTE), 25 * MINUTE)
    );
    assert_eq!((record.data.len(), site.living().await), (1, 1));
    assert_eq!(site.audit.take(), ["rotated bob"]);
    let session = site.open(Some(&issued(&session)));
    session.reauthenticated();
    finish(&session).await.unwrap();
    let record = site.record(&issued(&session)).await.unwrap();
    assert_eq!(
        (record.age, record.authenticated, record.ttl),
        (5 * MINUTE, Some(Duration::ZERO), 30 * MINUTE)
    );
}

#[tokio::test]
async fn copy_for_another_user_contains_no_data() {
    let site = site();
    let session = site.open(None);
    session.sign_in(bob());
    session.insert("secret", "bob's").unwrap();
    finish(&session).await.unwrap();
    let alices = site.sign_in(Some(&issued(&session)), alice()).await;
    let session = site.open(Some(&alices));
    assert_eq!(
        (session.principal().await.unwrap(), session.names().await.unwrap().len()),
        (Some(alice()), 0)
    );
    assert_eq!(site.living().await, 1);
}

#[tokio::test]
async fn session_that_ended_meanwhile_is_not_copied() {
    let site = site();
    let id = site.sign_in(None, bob()).await;
    let slow = site.open(Some(&id));
    slow.principal().await.unwrap();
    slow.renew();
    site.open(Some(&id)).destroy().await.unwrap();
    assert!(matches!(finish(&slow).await, Err(SessionError::Gone)));
    assert_eq!((slow.cookie(), site.living().await), (CookieChange::Keep, 0));
}

/// A request that has copied the session of bob to a new id, and could not end the first session.
async fn copied_without_an_end(site: &Site) -> (SessionId, Request) {
    let old = site.session().await;
    let session = site.open(Some(&old));
    session.sign_in(bob());
    session.insert("m", &2).unwrap();
    site.audit.take();
    site.store.fail(["delete"]);
    assert!(session.commit().await.is_err());
    assert_eq!(site.living().await, 2);
    (old, session)
}

#[tokio::test]
async fn repeated_commit_ends_the_session_that_was_copied() {
    let site = site();
    let (old, session) = copied_without_an_end(&site).await;
    assert!(session.commit().await.is_err(), "a failure is not reported as a success");
    assert!(session.add("k", 1).await.is_err());
    site.store.fail([]);
    finish(&session).await.unwrap();
    assert_eq!((site.record(&old).await, site.living().await), (None, 1));
    let read = site.open(Some(&issued(&session)));
    assert_eq!(read.principal().await.unwrap(), Some(bob()));
    assert_eq!(read.get::<i32>("m").await.unwrap(), Some(2));
    assert_eq!(site.audit.take(), ["signed in bob"], "the copy is made once");
}

#[tokio::test]
async fn sign_out_ends_the_session_that_was_copied() {
    let site = site();
    let (_, session) = copied_without_an_end(&site).await;
    assert!(session.destroy().await.is_err());
    site.store.fail([]);
    session.destroy().await.unwrap();
    assert_eq!((session.cookie(), site.living().await), (CookieChange::Remove, 0));
}

#[tokio::test]
async fn failed_response_still_tries_to_end_the_copied_session() {
    let site = site();
    let (old, session) = copied_without_an_end(&site).await;
    site.store.fail([]);
    session.finish(RecordedChanges::Drop).await.unwrap();
    assert_eq!((site.record(&old).await, site.living().await), (None, 1));
}
