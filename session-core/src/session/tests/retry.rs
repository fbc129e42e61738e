//! Calls whose answer was lost, and clones that act at the same time.

use super::*;

#[tokio::test]
async fn a_sign_in_whose_answer_was_lost_can_be_repeated() {
    let site = Site::new();
    let old = site.session().await;
    let session = site.open(Some(&old));
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
async fn a_creation_whose_answer_was_lost_leaves_no_second_session() {
    let site = Site::new();
    let session = site.open(None);
    session.insert("first", &1).unwrap();
    site.store.lose_answer.store(true, Relaxed);
    assert!(session.commit().await.is_err());
    session.insert("second", &2).unwrap();
    session.commit().await.unwrap();
    let stored = site.open(Some(&issued(&session)));
    assert_eq!(stored.names().await.unwrap().len(), 2);
    assert_eq!(site.living().await, 1);
}

#[tokio::test]
async fn a_session_whose_rotation_was_not_answered_can_be_destroyed() {
    let site = Site::new();
    let id = site.session().await;
    let session = site.open(Some(&id));
    session.get::<i32>("n").await.unwrap();
    session.renew();
    site.store.lose_answer.store(true, Relaxed);
    assert!(session.commit().await.is_err());
    session.destroy().await.unwrap();
    assert_eq!(site.living().await, 0);
    assert_eq!(session.cookie(), CookieChange::Remove);
}

#[tokio::test]
async fn h27_destroying_a_session_that_got_a_new_id_meanwhile_ends_it() {
    let site = Site::new();
    let id = site.session().await;
    let logout = site.open(Some(&id));
    logout.get::<i32>("n").await.unwrap();
    let renewal = site.open(Some(&id));
    renewal.renew();
    finish(&renewal).await.unwrap();
    logout.destroy().await.unwrap();
    assert_eq!(logout.cookie(), CookieChange::Remove);
    assert!(!site.open(Some(&issued(&renewal))).contains("n").await.unwrap());
    assert_eq!(site.living().await, 0);
}

#[tokio::test]
async fn a_revoked_session_ends_no_others() {
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
async fn what_a_clone_clears_during_a_commit_stays_cleared() {
    let mut recorded = Recorded { clears: 1, ..Recorded::default() };
    let committing = recorded.clone();
    recorded.clears += 1;
    recorded.forget(&committing);
    assert_eq!(recorded.clears, 1);
}

#[tokio::test]
async fn an_https_only_session_cannot_seem_destroyed_over_plain_http() {
    let site = Site::new();
    let plain = || site.open_with(None, CookieDelivery::Refused, Instant::now());
    assert!(matches!(plain().destroy().await, Err(SessionError::PlainHttp)));
    let removing = plain();
    removing.remove("n").unwrap();
    assert!(matches!(finish(&removing).await, Err(SessionError::PlainHttp)));
    assert!(finish(&plain()).await.is_ok(), "reading nothing is fine");
}

#[tokio::test]
async fn a_clone_that_records_without_pause_neither_fails_nor_holds_up_the_response() {
    let site = Site::new();
    let id = site.session().await;
    let session = site.open(Some(&id));
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
    finished.expect("the response leaves").unwrap();
    assert_eq!(site.open(Some(&id)).get::<i32>("n").await.unwrap(), Some(2));
}

#[tokio::test]
async fn destroying_after_a_creation_without_an_answer_leaves_no_orphan() {
    let site = Site::new();
    let session = site.open(None);
    session.insert("n", &1).unwrap();
    site.store.lose_answer.store(true, Relaxed);
    assert!(session.commit().await.is_err());
    session.destroy().await.unwrap();
    assert_eq!(site.living().await, 0);
}
