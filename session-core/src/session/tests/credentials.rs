//! `credentials_changed`, the call after a change of passwords and other credentials.

use super::*;

#[tokio::test]
async fn credentials_changed_rotates_and_ends_all_other_sessions() {
    let site = Site::new();
    let devices = [site.sign_in(None, bob()).await, site.sign_in(None, bob()).await];
    let alices = site.sign_in(None, alice()).await;
    let own =
        site.sign_in(Some(&site.session().await), SignIn::new(bob()).acr("mfa").unwrap()).await;
    site.clock.advance(MINUTE);
    let session = site.open(Some(&own));
    session.insert("flash", "password changed").unwrap();
    assert_eq!(session.credentials_changed().await.unwrap(), 2);
    finish(&session).await.unwrap();
    let new = issued(&session);
    for id in &devices {
        assert!(site.record(id).await.is_none());
    }
    assert_eq!(site.principal(&alices).await, Some(alice()));
    assert_eq!(
        site.principal(&own).await,
        None,
        "a copy of the former cookie opens no session, and there is no grace"
    );
    let session = site.open(Some(&new));
    assert_eq!(session.principal().await.unwrap(), Some(bob()));
    assert_eq!(session.get::<i32>("n").await.unwrap(), Some(1));
    assert!(session.contains("flash").await.unwrap());
    assert!(session.authenticated_within(SECOND).await.unwrap());
    assert_eq!(session.acr().await.unwrap(), Some(ShortText::new("mfa").unwrap()));
}

#[tokio::test]
async fn credentials_changed_makes_three_store_calls() {
    let site = Site::new();
    let id = site.sign_in(None, bob()).await;
    let session = site.open(Some(&id));
    let (ended, calls) = site.calls(session.credentials_changed()).await;
    assert_eq!((ended.unwrap(), calls), (0, 3));
}

#[tokio::test]
async fn credentials_changed_ends_a_thief_who_renewed_first() {
    // After the grace, and within it.
    for (grace, reads_before) in [(Duration::ZERO, true), (10 * SECOND, true), (10 * SECOND, false)]
    {
        let site = Site::with_policy(Policy::default().rotation_grace(grace));
        let stolen = site.sign_in(Some(&site.session().await), bob()).await;
        let device = site.sign_in(None, bob()).await;
        let victim = site.open(Some(&stolen));
        if reads_before {
            assert_eq!(victim.principal().await.unwrap(), Some(bob()));
        }
        let thiefs = site.renew(&stolen).await;
        assert_eq!(
            victim.credentials_changed().await.unwrap(),
            2,
            "grace {grace:?}, reads before {reads_before}"
        );
        assert_eq!(victim.principal().await.unwrap(), None, "the user signs in again");
        finish(&victim).await.unwrap();
        assert_eq!(victim.cookie(), CookieChange::Remove);
        for id in [&thiefs, &stolen, &device] {
            assert_eq!(site.principal(id).await, None);
        }
        assert_eq!(site.living().await, 0);
    }
}

/// A thief's request is in flight when the session ends.
#[tokio::test]
async fn credentials_changed_does_not_revive_an_ended_session() {
    let site = Site::new();
    let device = site.sign_in(None, bob()).await;
    for end in ["here", "from another device", "everywhere"] {
        let id = site.sign_in(None, bob()).await;
        let session = site.open(Some(&id));
        assert_eq!(session.principal().await.unwrap(), Some(bob()));
        let other = site.open(Some(if end == "here" { &id } else { &device }));
        match end {
            "here" => other.destroy().await.unwrap(),
            "from another device" => assert!(other.destroy_other(id.key().handle()).await.unwrap()),
            _ => assert_eq!(other.destroy_all().await.unwrap(), 2),
        }
        assert!(matches!(session.credentials_changed().await, Err(SessionError::Gone)), "{end}");
        assert_eq!(site.record(&id).await, None);
        assert_eq!(session.cookie(), CookieChange::Keep);
    }
    assert_eq!(site.living().await, 0);
}

#[tokio::test]
async fn credentials_changed_creates_nothing_for_an_ended_session() {
    for before in ["load", "commit", "delete_all"] {
        let site = Site::new();
        let (id, device) = (site.sign_in(None, bob()).await, site.sign_in(None, bob()).await);
        *site.store.ends_before.lock() = Some((before, id.key()));
        let session = site.open(Some(&id));
        let changed = session.credentials_changed().await;
        match before {
            "load" => assert_eq!(changed.unwrap(), 0, "an ended session has no user"),
            "commit" => assert!(matches!(changed, Err(SessionError::Gone)), "{changed:?}"),
            _ => assert_eq!(changed.unwrap(), 1),
        }
        let _ = finish(&session).await;
        assert_eq!(site.record(&id).await, None, "ended before the {before}");
        assert_eq!(site.living().await, usize::from(before != "delete_all"));
        assert_eq!(site.principal(&device).await.is_some(), before != "delete_all");
    }
}

/// An attacker with a copy of the cookie and the former password signs in on the session, or ends
/// it, while the user's request is in flight.
#[tokio::test]
async fn credentials_changed_acts_for_the_user_that_the_request_read() {
    for in_grace in [false, true] {
        let site = Site::new();
        let id = site.sign_in(None, bob()).await;
        let victim = site.open(Some(&id));
        let latest = if in_grace { site.renew(&id).await } else { id.clone() };
        assert_eq!(victim.principal().await.unwrap(), Some(bob()));
        let thiefs = site.sign_in(Some(&latest), bob()).await;
        assert_eq!(victim.credentials_changed().await.unwrap(), 1);
        assert_eq!((site.principal(&thiefs).await, site.living().await), (None, 0));
    }
    let site = Site::new();
    let (id, device) = (site.sign_in(None, bob()).await, site.sign_in(None, bob()).await);
    site.renew(&id).await;
    let in_grace = site.open(Some(&id));
    assert_eq!(in_grace.principal().await.unwrap(), Some(bob()));
    let _ = site.store.inside.delete(&id.key(), Claim::Any).await.unwrap();
    assert!(
        matches!(in_grace.credentials_changed().await, Err(SessionError::Gone)),
        "a success would be false, because a device is still signed in"
    );
    assert_eq!(site.principal(&device).await, Some(bob()));
}

#[tokio::test]
async fn credentials_changed_twice_at_once_leaves_at_most_one_session() {
    for _ in 0..50 {
        let site = Site::new();
        let ids = [site.sign_in(None, bob()).await, site.sign_in(None, bob()).await];
        let sessions = ids.each_ref().map(|id| site.open(Some(id)));
        let _ = tokio::join!(sessions[0].credentials_changed(), sessions[1].credentials_changed());
        assert!(site.living().await <= 1);
    }
}

#[tokio::test]
async fn credentials_changed_ignores_the_session_of_a_later_user() {
    let (site, bobs, session) = signed_in().await;
    let alices = site.sign_in(Some(&bobs), alice()).await;
    assert!(matches!(session.credentials_changed().await, Err(SessionError::Gone)));
    assert_eq!(site.principal(&alices).await, Some(alice()));
    assert_eq!(site.living().await, 1);
}

#[tokio::test]
async fn credentials_changed_rejects_an_id_from_before_the_sign_in() {
    let site = Site::new();
    let planted = site.session().await;
    let bobs = site.sign_in(Some(&planted), bob()).await;
    assert!(matches!(
        site.open(Some(&planted)).credentials_changed().await,
        Err(SessionError::Superseded)
    ));
    assert_eq!(site.principal(&bobs).await, Some(bob()));
}

#[tokio::test]
async fn credentials_changed_ends_a_thief_after_a_new_sign_in() {
    let site = Site::with_policy(Policy::default().rotation_grace(Duration::ZERO));
    let stolen = site.sign_in(None, bob()).await;
    let thiefs = site.renew(&stolen).await;
    let again = site.sign_in(Some(&stolen), bob()).await;
    assert_eq!(site.principal(&thiefs).await, Some(bob()));
    assert_eq!(site.open(Some(&again)).credentials_changed().await.unwrap(), 1);
    assert_eq!(site.principal(&thiefs).await, None);
}

#[tokio::test]
async fn credentials_changed_without_a_user_does_nothing() {
    let site = Site::new();
    let visitor = site.session().await;
    let session = site.open(Some(&visitor));
    assert_eq!(session.credentials_changed().await.unwrap(), 0);
    assert_eq!(session.cookie(), CookieChange::Keep);
}

#[tokio::test]
async fn credentials_changed_can_be_repeated_after_an_outage() {
    let site = Site::new();
    let (id, device) = (site.sign_in(None, bob()).await, site.sign_in(None, bob()).await);
    let session = site.open(Some(&id));
    site.store.fail(["delete_all"]);
    assert!(session.credentials_changed().await.is_err());
    assert_eq!(site.principal(&device).await, Some(bob()));
    site.store.fail([]);
    assert_eq!(session.credentials_changed().await.unwrap(), 1);
    finish(&session).await.unwrap();
    assert_eq!(site.principal(&issued(&session)).await, Some(bob()));
    // It ends no session if the new id cannot reach the browser.
    assert!(matches!(session.credentials_changed().await, Err(SessionError::HeadSent)));
}
