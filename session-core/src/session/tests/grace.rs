//! Reads with the former id during the grace after a renewal.

use super::*;

#[tokio::test]
async fn h28_former_id_reads_during_the_grace() {
    let site = Site::new();
    let old = site.sign_in(Some(&site.session().await), bob()).await;
    let new = site.renew(&old).await;
    for _ in 0..9 {
        site.clock.advance(SECOND);
        let session = site.open(Some(&old));
        assert_eq!(session.principal().await.unwrap(), Some(bob()));
        assert_eq!(session.get::<i32>("n").await.unwrap(), Some(1));
        finish(&session).await.unwrap();
        assert_eq!(session.cookie(), CookieChange::Keep);
    }
    site.clock.advance(2 * SECOND);
    assert_eq!(site.principal(&old).await, None);
    assert_eq!(site.principal(&new).await, Some(bob()));
}

#[tokio::test]
async fn h28_request_in_the_grace_commits_nothing_and_gets_no_cookie() {
    let site = Site::with_policy(
        Policy::default()
            .rotation_grace(MINUTE)
            .idle_timeout(MINUTE)
            .persistence(Persistence::Persistent),
    );
    let old = site.sign_in(None, bob()).await;
    site.renew(&old).await;
    // With the current secret the ttl would be extended and the cookie sent again.
    site.clock.advance(30 * SECOND);
    let before = site.record(&old).await;
    let (session, calls) = site
        .calls(async {
            let session = site.open_with(
                [cookie(&old, SignedBy::Older)],
                CookieDelivery::Possible,
                Instant::now(),
            );
            assert_eq!(session.principal().await.unwrap(), Some(bob()));
            finish(&session).await.unwrap();
            session
        })
        .await;
    assert_eq!((calls, session.cookie()), (1, CookieChange::Keep));
    assert_eq!(site.record(&old).await, before);
}

#[tokio::test]
async fn h28_write_in_the_grace_is_superseded() {
    let site = Site::new();
    let old = site.sign_in(None, bob()).await;
    site.renew(&old).await;
    let session = site.open(Some(&old));
    assert_eq!(session.principal().await.unwrap(), Some(bob()));
    session.insert("n", &1).unwrap();
    assert!(matches!(finish(&session).await, Err(SessionError::Superseded)));
    assert_eq!(session.cookie(), CookieChange::Keep);
    assert!(matches!(site.open(Some(&old)).add("n", 1).await, Err(SessionError::Superseded)));
    assert!(matches!(site.open(Some(&old)).others().await, Err(SessionError::Superseded)));
    assert!(site.record(&old).await.unwrap().data.get("n").is_none());
}

#[tokio::test]
async fn h28_sign_in_and_sign_out_work_in_the_grace() {
    let site = Site::new();
    let old = site.sign_in(None, bob()).await;
    let new = site.renew(&old).await;
    let fresh = site.sign_in(Some(&old), bob()).await;
    assert_ne!(fresh.key(), old.key());
    assert_eq!(site.principal(&new).await, Some(bob()));
    let session = site.open(Some(&old));
    assert_eq!(session.principal().await.unwrap(), Some(bob()));
    session.destroy().await.unwrap();
    assert_eq!(session.cookie(), CookieChange::Remove);
    assert_eq!(site.principal(&new).await, None);
}

#[tokio::test]
async fn h28_sign_in_and_step_up_leave_no_grace() {
    let site = Site::new();
    let visitor = site.session().await;
    let user = site.sign_in(Some(&visitor), bob()).await;
    assert!(!site.open(Some(&visitor)).contains("n").await.unwrap());
    let again = site.sign_in(Some(&user), bob()).await;
    assert_eq!(site.principal(&user).await, None);
    let session = site.open(Some(&again));
    session.reauthenticated_with("mfa").unwrap();
    // Also if the same request renews.
    session.renew();
    finish(&session).await.unwrap();
    assert_eq!(site.principal(&again).await, None);
    let session = site.open(Some(&issued(&session)));
    assert_eq!(session.acr().await.unwrap().as_ref().map(ShortText::as_str), Some("mfa"));
}

#[tokio::test]
async fn h28_rotation_without_grace_forgets_the_former_grace() {
    for step_up in
        [|session: &Session| session.reauthenticated(), |session: &Session| session.sign_in(bob())]
    {
        let site = Site::new();
        let first = site.sign_in(None, bob()).await;
        let second = site.renew(&first).await;
        assert_eq!(site.principal(&first).await, Some(bob()));
        let session = site.open(Some(&second));
        step_up(&session);
        finish(&session).await.unwrap();
        for old in [&first, &second] {
            let session = site.open(Some(old));
            assert_eq!(session.principal().await.unwrap(), None);
            assert!(!session.authenticated_within(HOUR).await.unwrap());
        }
    }
}

#[tokio::test]
async fn h28_second_renewal_ends_the_first_grace() {
    let site = Site::new();
    let first = site.sign_in(None, bob()).await;
    let second = site.renew(&first).await;
    site.renew(&second).await;
    assert_eq!((site.principal(&first).await, site.principal(&second).await), (None, Some(bob())));
}

#[tokio::test]
async fn h11_policy_without_grace_leaves_none() {
    let site = Site::with_policy(Policy::default().rotation_grace(Duration::ZERO));
    let old = site.sign_in(None, bob()).await;
    let new = site.renew(&old).await;
    assert_eq!((site.principal(&old).await, site.principal(&new).await), (None, Some(bob())));
}
