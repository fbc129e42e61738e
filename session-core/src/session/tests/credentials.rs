//! Changes of passwords and other credentials.

use super::*;

#[tokio::test]
async fn credentials_changed_ends_all_sessions_and_starts_one_under_a_new_key() {
    let site = Site::new();
    let devices = [site.sign_in(None, bob()).await, site.sign_in(None, bob()).await];
    let alices = site.sign_in(None, alice()).await;
    let own = site.sign_in(Some(&site.session().await), SignIn::new(bob()).label("Firefox").unwrap()).await;
    site.clock.advance(MINUTE);
    let session = site.open(Some(&own));
    session.insert("flash", "password changed").unwrap();
    assert_eq!(session.credentials_changed().await.unwrap(), 3);
    finish(&session).await.unwrap();
    let new = issued(&session);
    assert_ne!(new.key(), own.key());
    for id in devices.iter().chain([&own]) {
        assert!(site.record(id).await.is_none());
    }
    assert_eq!(site.principal(&alices).await, Some(alice()));
    let session = site.open(Some(&new));
    assert_eq!(session.principal().await.unwrap(), Some(bob()));
    assert_eq!(session.get::<i32>("n").await.unwrap(), Some(1));
    assert!(session.contains("flash").await.unwrap());
    assert!(session.authenticated_within(SECOND).await.unwrap());
    assert_eq!(site.record(&new).await.unwrap().attributes.label, Some(ShortText::new("Firefox").unwrap()));
}

#[tokio::test]
async fn credentials_changed_ends_a_thief_who_renewed_first() {
    // Out of the grace, and in it.
    for (grace, reads_before) in [(Duration::ZERO, true), (10 * SECOND, true), (10 * SECOND, false)] {
        let site = Site::with_policy(Policy::default().rotation_grace(grace));
        let stolen = site.sign_in(Some(&site.session().await), bob()).await;
        let device = site.sign_in(None, bob()).await;
        let victim = site.open(Some(&stolen));
        if reads_before {
            assert_eq!(victim.principal().await.unwrap(), Some(bob()));
        }
        let thiefs = site.renew(&stolen).await;
        victim.insert("flash", "password changed").unwrap();
        assert_eq!(victim.credentials_changed().await.unwrap(), 2, "grace {grace:?}, reads before {reads_before}");
        finish(&victim).await.unwrap();
        for id in [&thiefs, &stolen, &device] {
            assert_eq!(site.principal(id).await, None);
        }
        let session = site.open(Some(&issued(&victim)));
        assert_eq!(session.principal().await.unwrap(), Some(bob()));
        assert_eq!(session.get::<i32>("n").await.unwrap(), Some(1));
        assert!(session.contains("flash").await.unwrap());
        assert_eq!(site.living().await, 1);
    }
}

#[tokio::test]
async fn credentials_changed_ends_a_thief_after_the_victim_signed_in_again() {
    let site = Site::with_policy(Policy::default().rotation_grace(Duration::ZERO));
    let stolen = site.sign_in(None, bob()).await;
    let thiefs = site.renew(&stolen).await;
    let again = site.sign_in(Some(&stolen), bob()).await;
    assert_eq!(site.principal(&thiefs).await, Some(bob()));
    assert_eq!(site.open(Some(&again)).credentials_changed().await.unwrap(), 2);
    assert_eq!(site.principal(&thiefs).await, None);
}

#[tokio::test]
async fn credentials_changed_does_nothing_without_a_user_or_a_live_session() {
    let site = Site::new();
    let bobs = site.sign_in(None, bob()).await;
    let visitor = site.session().await;
    let session = site.open(Some(&visitor));
    assert_eq!(session.credentials_changed().await.unwrap(), 0);
    assert_eq!(session.cookie(), CookieChange::Keep);
    let revoked = site.sign_in(None, bob()).await;
    let session = site.open(Some(&revoked));
    session.principal().await.unwrap();
    site.open(Some(&revoked)).destroy().await.unwrap();
    assert!(matches!(session.credentials_changed().await, Err(SessionError::Gone)), "a revoked session ends no others");
    assert_eq!(site.principal(&bobs).await, Some(bob()));
}

#[tokio::test]
async fn credentials_changed_without_a_new_session_removes_the_cookie() {
    let site = Site::new();
    let id = site.sign_in(None, bob()).await;
    let session = site.open(Some(&id));
    site.store.fail(["create"]);
    assert!(session.credentials_changed().await.is_err());
    assert_eq!((session.cookie(), site.living().await), (CookieChange::Remove, 0));
    // It ends nothing if the new id cannot reach the browser.
    site.store.fail([]);
    let id = site.sign_in(None, bob()).await;
    let session = site.open(Some(&id));
    finish(&session).await.unwrap();
    assert!(matches!(session.credentials_changed().await, Err(SessionError::HeadSent)));
    assert_eq!(site.principal(&id).await, Some(bob()));
}
