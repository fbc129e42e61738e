//! Answers that do not reach the browser or the server, and rotations that the store loses.

use super::*;

#[tokio::test]
async fn h34_sign_in_works_after_a_sign_in_whose_response_was_lost() {
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
async fn h34_sign_in_after_a_lost_renewal_leaves_one_session() {
    let site = Site::with_policy(Policy::default().rotation_grace(Duration::ZERO));
    let old = site.sign_in(None, bob()).await;
    site.renew(&old).await;
    site.clock.advance(MINUTE);
    let again = site.sign_in(Some(&old), bob()).await;
    assert_eq!((site.principal(&again).await, site.living().await), (Some(bob()), 1));
}

/// Restores a former record of the session, as a failover or a restored backup does.
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
async fn h35_lost_rotation_signs_the_user_out_without_a_lock_out() {
    let (site, ahead) = site_that_lost_a_rotation().await;
    assert_eq!(site.principal(&ahead).await, None);
    let session = site.open(Some(&ahead));
    session.insert("basket", &1).unwrap();
    finish(&session).await.unwrap();
    assert_ne!(issued(&session).key(), ahead.key(), "a write starts a new session immediately");
    let again = site.sign_in(Some(&ahead), bob()).await;
    assert_eq!(site.principal(&again).await, Some(bob()));
    assert!(
        site.record(&ahead).await.is_none(),
        "the sign-in ends the session that became unusable"
    );
}

#[tokio::test]
async fn h35_sign_out_after_a_lost_rotation_ends_the_session() {
    let (site, ahead) = site_that_lost_a_rotation().await;
    let session = site.open(Some(&ahead));
    session.destroy().await.unwrap();
    assert_eq!((session.cookie(), site.living().await), (CookieChange::Remove, 0));
    let (site, ahead) = site_that_lost_a_rotation().await;
    assert!(matches!(site.open(Some(&ahead)).destroy_all().await, Err(SessionError::Gone)));
    assert_eq!(site.living().await, 0);
}

#[tokio::test]
async fn h35_id_of_a_later_generation_is_not_reported_as_reuse() {
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
async fn c49_rotation_with_a_lost_answer_takes_effect_once() {
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
async fn c49_failed_rotation_is_repeated_with_the_present_changes() {
    let (site, id, session) = loaded().await;
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
async fn c49_changes_recorded_after_a_lost_answer_are_committed() {
    // If two attempts differ, either may have taken effect, so neither is considered done.
    let (site, _, session) = loaded().await;
    session.sign_in(bob());
    site.commit_without_answer(&session).await;
    session.sign_in(alice());
    site.store.fail(["commit"]);
    assert!(session.commit().await.is_err());
    site.store.fail([]);
    session.commit().await.unwrap();
    assert_eq!(site.principal(&issued(&session)).await, Some(alice()));
    // A creation whose answer was lost: the options of the sign-in are kept as well.
    let session = site.open(None);
    session.sign_in(SignIn::new(bob()).label("Firefox").unwrap());
    site.commit_without_answer(&session).await;
    session.commit().await.unwrap();
    let record = site.record(&issued(&session)).await.unwrap();
    assert_eq!(
        (record.generation, record.attributes.label),
        (0, Some(ShortText::new("Firefox").unwrap()))
    );
}

#[tokio::test]
async fn h30_sign_in_with_a_lost_answer_still_ends_the_oldest() {
    let site = Site::new();
    let oldest = site.sign_in(None, bob()).await;
    site.clock.advance(SECOND);
    let session = site.open(None);
    session.sign_in(SignIn::new(bob()).max_sessions(1));
    site.commit_without_answer(&session).await;
    finish(&session).await.unwrap();
    assert_eq!((site.principal(&oldest).await, site.living().await), (None, 1));
}

#[tokio::test]
async fn c49_refresh_adopts_a_rotation_with_a_lost_answer() {
    for rotate in [
        (|session: &Session| session.renew()) as fn(&Session),
        |session: &Session| session.sign_in(bob()),
        |session: &Session| session.reauthenticated(),
    ] {
        let (site, id, session) = signed_in().await;
        rotate(&session);
        session.insert("n", &1).unwrap();
        site.commit_without_answer(&session).await;
        assert_eq!(session.is_alive().await.unwrap(), Liveness::Current);
        assert_eq!(session.refresh().await.unwrap(), Liveness::Current);
        assert_eq!(session.get::<i32>("n").await.unwrap(), Some(1));
        finish(&session).await.unwrap();
        let new = issued(&session);
        let record = site.record(&id).await.unwrap();
        assert_eq!((record.secret, record.generation), (new.secret_hash(), 1));
        assert_eq!((site.principal(&new).await, site.living().await), (Some(bob()), 1));
    }
}

#[tokio::test]
async fn c49_refresh_repeats_a_rotation_that_did_not_land() {
    let (site, id, session) = signed_in().await;
    session.sign_in(bob());
    site.store.fail(["commit"]);
    assert!(session.commit().await.is_err());
    site.store.fail([]);
    assert_eq!(session.refresh().await.unwrap(), Liveness::Current);
    finish(&session).await.unwrap();
    let record = site.record(&id).await.unwrap();
    assert_eq!((record.secret, record.generation), (issued(&session).secret_hash(), 1));
}

#[tokio::test]
async fn c49_refresh_does_not_adopt_the_rotation_of_another_request() {
    for signs_in in [false, true] {
        let (site, id, session) = signed_in().await;
        session.renew();
        site.store.fail(["commit"]);
        assert!(session.commit().await.is_err());
        site.store.fail([]);
        let (winner, liveness) = if signs_in {
            (site.sign_in(Some(&id), bob()).await, Liveness::Ended)
        } else {
            (site.renew(&id).await, Liveness::Superseded)
        };
        assert_eq!(session.refresh().await.unwrap(), liveness);
        assert!(matches!(finish(&session).await, Err(SessionError::Superseded)));
        assert_eq!(session.cookie(), CookieChange::Keep);
        assert_eq!(site.principal(&winner).await, Some(bob()));
    }
}
