//! Calls whose answer was lost, and clones of a session that make calls at the same time.

use super::*;

/// A site, and a request whose session was created by a call without an answer.
async fn created_without_answer() -> (Site, Request) {
    let site = Site::new();
    let session = site.open(None);
    session.insert("first", &1).unwrap();
    site.commit_without_answer(&session).await;
    (site, session)
}

#[tokio::test]
async fn sign_in_with_a_lost_answer_can_be_repeated() {
    let (site, _, session) = opened().await;
    session.sign_in(bob());
    session.principal().await.unwrap();
    site.store.lose_answer.store(true, Relaxed);
    assert!(matches!(session.commit().await, Err(SessionError::Store(StoreError::Timeout { .. }))));
    session.insert("later", &1).unwrap();
    session.commit().await.unwrap();
    let new = site.open(Some(&issued(&session)));
    assert_eq!(new.principal().await.unwrap(), Some(bob()));
    assert_eq!(
        (new.get::<i32>("n").await.unwrap(), new.get::<i32>("later").await.unwrap()),
        (Some(1), Some(1))
    );
    assert_eq!(site.living().await, 1);
}

#[tokio::test]
async fn creation_with_a_lost_answer_leaves_one_session() {
    let (site, session) = created_without_answer().await;
    session.insert("second", &2).unwrap();
    session.commit().await.unwrap();
    let stored = site.open(Some(&issued(&session)));
    assert_eq!(stored.names().await.unwrap().len(), 2);
    assert_eq!(site.living().await, 1);
}

#[tokio::test]
async fn session_with_a_lost_rotation_answer_can_be_destroyed() {
    let (site, _, session) = loaded().await;
    session.renew();
    site.commit_without_answer(&session).await;
    session.destroy().await.unwrap();
    assert_eq!(site.living().await, 0);
    assert_eq!(session.cookie(), CookieChange::Remove);
}

#[tokio::test]
async fn h27_destroy_ends_a_session_that_rotated_meanwhile() {
    let (site, id, logout) = loaded().await;
    let renewal = site.open(Some(&id));
    renewal.renew();
    finish(&renewal).await.unwrap();
    logout.destroy().await.unwrap();
    assert_eq!(logout.cookie(), CookieChange::Remove);
    assert!(!site.open(Some(&issued(&renewal))).contains("n").await.unwrap());
    assert_eq!(site.living().await, 0);
}

#[tokio::test]
async fn revoked_session_cannot_end_others() {
    let site = Site::new();
    let sign_in = async || {
        let session = site.open(None);
        session.sign_in(bob());
        finish(&session).await.unwrap();
        issued(&session)
    };
    let stolen = sign_in().await;
    let thief = site.open(Some(&stolen));
    thief.principal().await.unwrap();
    site.open(Some(&stolen)).destroy_all().await.unwrap();
    let fresh = sign_in().await;
    assert!(matches!(thief.destroy_others().await, Err(SessionError::Gone)));
    assert!(matches!(thief.destroy_all().await, Err(SessionError::Gone)));
    assert!(matches!(thief.others().await, Err(SessionError::Gone)));
    assert_eq!(site.open(Some(&fresh)).principal().await.unwrap(), Some(bob()));
}

#[tokio::test]
async fn clear_of_a_clone_during_a_commit_stays_recorded() {
    let mut recorded = Recorded { clears: 1, ..Recorded::default() };
    let committing = recorded.clone();
    recorded.clears += 1;
    recorded.forget(&committing);
    assert_eq!(recorded.clears, 1);
}

#[tokio::test]
async fn https_only_session_is_not_destroyed_over_plain_http() {
    let site = Site::new();
    let plain = || site.open_with(None, CookieDelivery::Refused, Instant::now());
    assert!(matches!(plain().destroy().await, Err(SessionError::PlainHttp)));
    let removing = plain();
    removing.remove("n").unwrap();
    assert!(matches!(finish(&removing).await, Err(SessionError::PlainHttp)));
    assert!(finish(&plain()).await.is_ok(), "a request without changes succeeds");
}

#[tokio::test]
async fn clone_that_keeps_recording_does_not_delay_the_response() {
    let (site, id, session) = opened().await;
    session.insert("n", &2).unwrap();
    let clone = session.clone();
    let recording = tokio::spawn(async move {
        for n in 0.. {
            clone.insert("noise", &n).unwrap();
            tokio::task::yield_now().await;
        }
    });
    let finished = tokio::time::timeout(Duration::from_secs(10), finish(&session)).await;
    recording.abort();
    finished.expect("the response is not delayed").unwrap();
    assert_eq!(site.open(Some(&id)).get::<i32>("n").await.unwrap(), Some(2));
}

#[tokio::test]
async fn destroy_after_a_lost_creation_answer_leaves_no_orphan() {
    let (site, session) = created_without_answer().await;
    session.destroy().await.unwrap();
    assert_eq!(site.living().await, 0);
}

#[tokio::test]
async fn clear_and_equal_insert_during_a_commit_keep_the_value() {
    let (site, id, session) = loaded().await;
    session.insert("n", &5).unwrap();
    session.insert("m", &6).unwrap();
    let (committed, ()) = tokio::join!(session.commit(), async {
        session.clear();
        session.insert("n", &5).unwrap();
    });
    committed.unwrap();
    session.commit().await.unwrap();
    let read = site.open(Some(&id));
    assert_eq!(
        (read.get::<i32>("n").await.unwrap(), read.get::<i32>("m").await.unwrap()),
        (Some(5), None)
    );
}
