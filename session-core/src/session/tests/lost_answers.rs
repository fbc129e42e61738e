//! Answers that never arrive, at the browser or at the server, and rotations that the store loses.

use super::*;

#[tokio::test]
async fn h34_after_a_sign_in_whose_response_is_lost_the_second_one_works() {
    for after in [Duration::ZERO, SECOND, MINUTE] {
        let site = Site::new();
        let visitor = site.session().await;
        let lost = site.sign_in(Some(&visitor), bob()).await;
        site.clock.advance(after);
        // The browser still has the former id.
        assert_eq!(site.principal(&visitor).await, None);
        let again = site.sign_in(Some(&visitor), bob()).await;
        assert_ne!(again.key(), lost.key());
        assert_eq!(site.principal(&again).await, Some(bob()), "after {after:?}");
        let session = site.open(Some(&again));
        session.insert("n", &2).unwrap();
        finish(&session).await.unwrap();
    }
}

#[tokio::test]
async fn h34_after_a_renewal_whose_response_is_lost_the_user_signs_in_and_no_session_is_left_behind()
 {
    let site = Site::with_policy(Policy::default().rotation_grace(Duration::ZERO));
    let old = site.sign_in(None, bob()).await;
    site.renew(&old).await;
    site.clock.advance(MINUTE);
    let again = site.sign_in(Some(&old), bob()).await;
    assert_eq!((site.principal(&again).await, site.living().await), (Some(bob()), 1));
}

/// Puts the session's record back to what it was, as a failover or a restored backup does.
async fn put_back(site: &Site, record: Record, id: &SessionId) {
    let _ = site.store.inside.delete(&id.key(), Claim::Any).await.unwrap();
    let _ = site.store.inside.create(&id.key(), record.into_new()).await.unwrap();
}

/// A user whose browser has an id that is one rotation ahead of the record.
async fn site_that_lost_a_rotation() -> (Site, SessionId) {
    let site = Site::new();
    let signed_in = site.sign_in(Some(&site.session().await), bob()).await;
    let record = site.record(&signed_in).await.unwrap();
    let ahead = site.renew(&signed_in).await;
    put_back(&site, record, &ahead).await;
    (site, ahead)
}

#[tokio::test]
async fn h35_after_a_lost_rotation_the_user_is_signed_out_and_not_locked_out() {
    let (site, ahead) = site_that_lost_a_rotation().await;
    assert_eq!(site.principal(&ahead).await, None);
    let session = site.open(Some(&ahead));
    session.insert("basket", &1).unwrap();
    finish(&session).await.unwrap();
    assert_ne!(issued(&session).key(), ahead.key(), "a write starts a new session at once");
    let again = site.sign_in(Some(&ahead), bob()).await;
    assert_eq!(site.principal(&again).await, Some(bob()));
    assert!(
        site.record(&ahead).await.is_none(),
        "the sign-in ends the session that nobody can use any more"
    );
}

#[tokio::test]
async fn h35_after_a_lost_rotation_the_sign_out_ends_the_session() {
    let (site, ahead) = site_that_lost_a_rotation().await;
    let session = site.open(Some(&ahead));
    session.destroy().await.unwrap();
    assert_eq!((session.cookie(), site.living().await), (CookieChange::Remove, 0));
    let (site, ahead) = site_that_lost_a_rotation().await;
    assert!(matches!(site.open(Some(&ahead)).destroy_all().await, Err(SessionError::Superseded)));
    assert_eq!(site.living().await, 0);
}

#[tokio::test]
async fn h35_an_id_of_a_later_generation_is_no_reused_one() {
    let (site, ahead) = site_that_lost_a_rotation().await;
    site.clock.advance(MINUTE);
    site.audit.take();
    let strict = Site {
        policy: Policy::default().on_superseded_id(OnSupersededId::EndSession),
        store: Arc::clone(&site.store),
        audit: Arc::clone(&site.audit),
        ..Site::new()
    };
    assert_eq!(strict.principal(&ahead).await, None);
    assert_eq!((site.audit.take(), site.living().await), (vec![], 1));
}

#[tokio::test]
async fn c49_a_rotation_whose_answer_was_lost_lands_once() {
    for (rotate, since) in [
        ((|session: &Session| session.renew()) as fn(&Session), 0),
        (|session: &Session| session.sign_in(bob()), 1),
        (|session: &Session| session.reauthenticated(), 0),
    ] {
        let site = Site::new();
        let id = site.sign_in(None, bob()).await;
        let session = site.open(Some(&id));
        session.principal().await.unwrap();
        rotate(&session);
        session.insert("first", &1).unwrap();
        site.store.lose_answer.store(true, Relaxed);
        assert!(matches!(
            session.commit().await,
            Err(SessionError::Store(StoreError::Timeout { .. }))
        ));
        session.insert("second", &2).unwrap();
        session.commit().await.unwrap();
        let record = site.record(&id).await.unwrap();
        let new = issued(&session);
        assert_eq!((record.secret, record.generation, record.since), (new.secret_hash(), 1, since));
        assert_eq!(new.generation(), 1);
        assert_eq!(site.open(Some(&new)).names().await.unwrap().len(), 2);
        assert_eq!(site.living().await, 1);
    }
}

#[tokio::test]
async fn c49_a_rotation_that_did_not_land_is_repeated_with_what_is_recorded_now() {
    let site = Site::new();
    let id = site.session().await;
    let session = site.open(Some(&id));
    session.contains("n").await.unwrap();
    session.sign_in(bob());
    site.store.fail(["commit"]);
    assert!(session.commit().await.is_err());
    session.sign_in(alice());
    assert!(session.commit().await.is_err());
    site.store.fail([]);
    session.commit().await.unwrap();
    let record = site.record(&id).await.unwrap();
    assert_eq!((record.generation, record.principal), (1, Some(alice())));
}

#[tokio::test]
async fn c49_what_was_recorded_after_a_lost_answer_is_committed() {
    // Of two attempts that differ either may have landed, so neither is taken for done.
    let site = Site::new();
    let id = site.session().await;
    let session = site.open(Some(&id));
    session.contains("n").await.unwrap();
    session.sign_in(bob());
    site.store.lose_answer.store(true, Relaxed);
    assert!(session.commit().await.is_err());
    session.sign_in(alice());
    site.store.fail(["commit"]);
    assert!(session.commit().await.is_err());
    site.store.fail([]);
    session.commit().await.unwrap();
    assert_eq!(site.principal(&issued(&session)).await, Some(alice()));
    // A creation whose answer was lost: the options of the sign-in stand as well.
    let session = site.open(None);
    session.sign_in(SignIn::new(bob()).label("Firefox").unwrap());
    site.store.lose_answer.store(true, Relaxed);
    assert!(session.commit().await.is_err());
    session.commit().await.unwrap();
    let record = site.record(&issued(&session)).await.unwrap();
    assert_eq!(
        (record.generation, record.attributes.label),
        (0, Some(ShortText::new("Firefox").unwrap()))
    );
}

#[tokio::test]
async fn h30_a_sign_in_whose_answer_was_lost_still_ends_the_oldest() {
    let site = Site::new();
    let oldest = site.sign_in(None, bob()).await;
    site.clock.advance(SECOND);
    let session = site.open(None);
    session.sign_in(SignIn::new(bob()).max_sessions(1));
    site.store.lose_answer.store(true, Relaxed);
    assert!(session.commit().await.is_err());
    finish(&session).await.unwrap();
    assert_eq!((site.principal(&oldest).await, site.living().await), (None, 1));
}
