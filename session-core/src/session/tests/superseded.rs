//! Requests with an id that a rotation replaced.

use super::*;

/// A site without a grace, so that a renewal supersedes the former id at once.
fn site() -> Site {
    Site::with_policy(Policy::default().rotation_grace(Duration::ZERO))
}

/// The result of a write with this id.
async fn write(site: &Site, id: &SessionId) -> (Result<(), SessionError>, CookieChange) {
    let session = site.open(Some(id));
    session.insert("n", &9).unwrap();
    let written = finish(&session).await;
    (written, session.cookie())
}

async fn assert_refused(site: &Site, id: &SessionId) {
    let before = site.record(id).await;
    let (written, cookie) = write(site, id).await;
    assert!(matches!(written, Err(SessionError::Superseded)), "{written:?}");
    assert_eq!(cookie, CookieChange::Keep);
    for recorded in [
        |session: &Session| session.renew(),
        |session: &Session| session.reauthenticated(),
        |session: &Session| session.clear(),
    ] {
        let session = site.open(Some(id));
        recorded(&session);
        assert!(matches!(finish(&session).await, Err(SessionError::Superseded)));
        assert_eq!(session.cookie(), CookieChange::Keep);
    }
    let session = site.open(Some(id));
    assert!(matches!(session.add("n", 1).await, Err(SessionError::Superseded)));
    assert!(matches!(session.update::<i32>("n", |_| Some(2)).await, Err(SessionError::Superseded)));
    assert!(matches!(session.commit().await, Err(SessionError::Superseded)));
    assert_eq!(session.cookie(), CookieChange::Keep);
    assert_eq!(site.record(id).await, before);
    assert_eq!(site.living().await, 1);
}

#[tokio::test]
async fn h27_superseded_id_reads_an_anonymous_session() {
    let site = site();
    let old = site.sign_in(None, bob()).await;
    let new = site.renew(&old).await;
    for after in [Duration::ZERO, 9 * SECOND, MINUTE] {
        site.clock.advance(after);
        let session = site.open(Some(&old));
        assert_eq!(session.principal().await.unwrap(), None);
        assert_eq!(session.handle().await.unwrap(), None);
        assert!(session.names().await.unwrap().is_empty());
        assert!(!session.authenticated_within(HOUR).await.unwrap());
        finish(&session).await.unwrap();
        assert_eq!(session.cookie(), CookieChange::Keep);
    }
    assert_eq!(site.principal(&new).await, Some(bob()));
}

#[tokio::test]
async fn h27_write_within_ten_seconds_is_superseded() {
    let site = site();
    let first = site.session().await;
    site.renew(&first).await;
    assert_refused(&site, &first).await;
    site.clock.advance(9 * SECOND);
    assert_refused(&site, &first).await;
    // A sign-in is also a rotation.
    let site = self::site();
    let first = site.session().await;
    site.sign_in(Some(&first), bob()).await;
    assert_refused(&site, &first).await;
}

#[tokio::test]
async fn h27_write_that_began_before_the_rotation_is_superseded() {
    let site = site();
    let old = site.session().await;
    site.renew(&old).await;
    site.clock.advance(MINUTE);
    let began = Instant::now().checked_sub(MINUTE + SECOND).unwrap();
    let session =
        site.open_with([cookie(&old, SignedBy::Current)], CookieDelivery::Possible, began);
    session.insert("n", &9).unwrap();
    assert!(matches!(finish(&session).await, Err(SessionError::Superseded)));
    assert_eq!(session.cookie(), CookieChange::Keep);
    // At any later time: a request that saw its session alive began before the rotation.
    let id = site.session().await;
    let slow = site.open(Some(&id));
    slow.get::<i32>("n").await.unwrap();
    site.renew(&id).await;
    site.clock.advance(MINUTE);
    slow.insert("n", &9).unwrap();
    assert!(matches!(finish(&slow).await, Err(SessionError::Superseded)));
}

#[tokio::test]
async fn h27_first_write_after_ten_seconds_starts_a_new_session() {
    let site = site();
    let old = site.session().await;
    let new = site.renew(&old).await;
    site.clock.advance(11 * SECOND);
    let session = site.open(Some(&old));
    session.insert("n", &9).unwrap();
    finish(&session).await.unwrap();
    assert_ne!(issued(&session).key(), old.key(), "never the session of the superseded id");
    assert_eq!(site.open(Some(&issued(&session))).get::<i32>("n").await.unwrap(), Some(9));
    assert_eq!(site.open(Some(&new)).get::<i32>("n").await.unwrap(), Some(1));
    let session = site.open(Some(&old));
    assert_eq!(session.add("n", 5).await.unwrap(), 5);
    assert_ne!(issued(&session).key(), old.key());
    let session = site.open(Some(&old));
    session.renew();
    finish(&session).await.unwrap();
    assert_eq!(session.cookie(), CookieChange::Keep, "a renewal does not start a session");
}

#[tokio::test]
async fn h27_each_of_several_rotations_settles_separately() {
    let site = site();
    let first = site.session().await;
    let second = site.sign_in(Some(&first), bob()).await;
    site.clock.advance(6 * SECOND);
    let session = site.open(Some(&second));
    session.reauthenticated();
    finish(&session).await.unwrap();
    let third = issued(&session);
    let last = site.renew(&third).await;
    for id in [&first, &second, &third] {
        assert_refused(&site, id).await;
    }
    // The first id was replaced 11 s ago, the others 5 s ago.
    site.clock.advance(5 * SECOND);
    for id in [&second, &third] {
        assert_refused(&site, id).await;
    }
    let (written, cookie) = write(&site, &first).await;
    written.unwrap();
    assert!(matches!(cookie, CookieChange::Issue { id, .. } if id.key() != first.key()));
    assert_eq!(site.principal(&last).await, Some(bob()));
    // Old entries are dropped with the next rotation.
    site.clock.advance(MINUTE);
    let latest = site.renew(&last).await;
    assert!(site.record(&latest).await.unwrap().attributes.is_default());
}

#[tokio::test]
async fn h27_constant_renewals_of_a_thief_do_not_hide_the_reuse() {
    for reaction in [OnSupersededId::Report, OnSupersededId::EndSession] {
        let site = Site { policy: Policy::default().on_superseded_id(reaction), ..Site::new() };
        let stolen = site.sign_in(None, bob()).await;
        let mut thiefs = stolen.clone();
        for second in 0..20 {
            thiefs = site.renew(&thiefs).await;
            site.audit.take();
            site.clock.advance(SECOND);
            let _ = site.principal(&stolen).await;
            let reported = site.audit.take().iter().any(|line| line == "superseded id used bob");
            // Three rotations before the last one are recorded, so the first id counts as old after
            // the fifth.
            assert_eq!(reported, second >= 4, "after {second} seconds");
            if reported && reaction == OnSupersededId::EndSession {
                assert_eq!(site.living().await, 0);
                break;
            }
        }
    }
}

#[tokio::test]
async fn h27_rotation_settles_is_configurable() {
    let site = Site {
        policy: Policy::default().rotation_grace(Duration::ZERO).rotation_settles(MINUTE),
        ..Site::new()
    };
    let old = site.session().await;
    site.renew(&old).await;
    site.clock.advance(59 * SECOND);
    assert!(matches!(write(&site, &old).await.0, Err(SessionError::Superseded)));
    site.clock.advance(2 * SECOND);
    write(&site, &old).await.0.unwrap();
}

#[tokio::test]
async fn h27_one_of_many_concurrent_rotations_wins() {
    let site = site();
    let id = site.session().await;
    let renewals = (0..50).map(|_| {
        let session = site.open(Some(&id));
        async move {
            session.contains("n").await.unwrap();
            session.renew();
            finish(&session).await.map(|()| issued(&session))
        }
    });
    let renewed = futures_util::future::join_all(renewals).await;
    assert_eq!(renewed.iter().filter(|renewed| renewed.is_ok()).count(), 1);
    assert!(renewed.iter().all(|renewed| matches!(renewed, Ok(_) | Err(SessionError::Superseded))));
    assert_eq!(site.record(&id).await.unwrap().generation, 1);
}

#[tokio::test]
async fn h27_sign_in_with_a_superseded_id_starts_a_new_session() {
    for (after, former_lives) in [(Duration::ZERO, true), (9 * SECOND, true), (11 * SECOND, false)]
    {
        let site = site();
        let old = site.sign_in(None, bob()).await;
        let new = site.renew(&old).await;
        site.clock.advance(after);
        let session = site.open(Some(&old));
        session.insert("basket", &1).unwrap();
        session.sign_in(bob());
        finish(&session).await.unwrap();
        let fresh = issued(&session);
        assert_ne!(fresh.key(), old.key(), "after {after:?}");
        assert_eq!(site.principal(&fresh).await, Some(bob()), "after {after:?}");
        assert!(site.open(Some(&fresh)).contains("basket").await.unwrap());
        // While the rotation settles, a parallel request may own the new id.
        assert_eq!(site.principal(&new).await.is_some(), former_lives, "after {after:?}");
    }
}

#[tokio::test]
async fn h27_sign_in_ends_no_superseded_session_of_another_user() {
    let site = site();
    let old = site.sign_in(None, bob()).await;
    let new = site.renew(&old).await;
    site.clock.advance(MINUTE);
    site.sign_in(Some(&old), alice()).await;
    assert_eq!(site.principal(&new).await, Some(bob()));
    // Nor a session that was anonymous when the browser received the id.
    let planted = site.session().await;
    let victim = site.sign_in(Some(&planted), bob()).await;
    site.clock.advance(MINUTE);
    site.sign_in(Some(&planted), bob()).await;
    assert_eq!(site.principal(&victim).await, Some(bob()));
}

#[tokio::test]
async fn h27_destroy_with_an_id_since_the_sign_in_ends_the_session() {
    for after in [Duration::ZERO, MINUTE] {
        let site = site();
        let old = site.sign_in(None, bob()).await;
        let renewed = site.renew(&old).await;
        let newest = site.renew(&renewed).await;
        site.clock.advance(after);
        let session = site.open(Some(&old));
        session.destroy().await.unwrap();
        finish(&session).await.unwrap();
        assert_eq!(session.cookie(), CookieChange::Remove);
        assert_eq!(
            (site.principal(&newest).await, site.living().await),
            (None, 0),
            "after {after:?}"
        );
    }
}

#[tokio::test]
async fn h27_destroy_after_a_read_makes_one_call() {
    for after in [Duration::ZERO, MINUTE] {
        let site = site();
        let old = site.sign_in(None, bob()).await;
        site.renew(&old).await;
        site.clock.advance(after);
        let session = site.open(Some(&old));
        assert_eq!(session.principal().await.unwrap(), None);
        let ((), calls) = site.calls(async { session.destroy().await.unwrap() }).await;
        assert_eq!((calls, site.living().await), (1, 0), "after {after:?}");
    }
}

#[tokio::test]
async fn h27_destroy_with_an_id_before_the_sign_in_ends_nothing() {
    let site = site();
    let old = site.session().await;
    let new = site.sign_in(Some(&old), bob()).await;
    let session = site.open(Some(&old));
    assert!(
        matches!(session.destroy().await, Err(SessionError::Superseded)),
        "the browser is about to receive the new id"
    );
    assert_eq!(session.cookie(), CookieChange::Keep);
    site.clock.advance(11 * SECOND);
    let session = site.open(Some(&old));
    session.destroy().await.unwrap();
    assert_eq!(session.cookie(), CookieChange::Remove, "the id counts as absent");
    assert_eq!(site.principal(&new).await, Some(bob()));
}

#[tokio::test]
async fn h27_device_calls_reject_a_superseded_id() {
    for after in [Duration::ZERO, MINUTE] {
        let site = site();
        let device = site.sign_in(None, bob()).await;
        let old = site.sign_in(None, bob()).await;
        let new = site.renew(&old).await;
        site.clock.advance(after);
        let open = || site.open(Some(&old));
        assert!(matches!(open().others().await, Err(SessionError::Superseded)), "after {after:?}");
        assert!(
            matches!(open().destroy_others().await, Err(SessionError::Superseded)),
            "after {after:?}"
        );
        assert!(
            matches!(
                open().destroy_other(device.key().handle()).await,
                Err(SessionError::Superseded)
            ),
            "after {after:?}"
        );
        assert!(
            matches!(open().credentials_changed().await, Err(SessionError::Superseded)),
            "after {after:?}"
        );
        assert_eq!(
            (site.principal(&new).await, site.principal(&device).await),
            (Some(bob()), Some(bob()))
        );
        // It first ends its own session.
        let session = open();
        assert!(matches!(session.destroy_all().await, Err(SessionError::Gone)), "after {after:?}");
        assert_eq!(session.cookie(), CookieChange::Remove);
        assert_eq!(
            (site.principal(&new).await, site.principal(&device).await),
            (None, Some(bob())),
            "after {after:?}"
        );
    }
}

#[tokio::test]
async fn h36_planted_id_from_before_the_sign_in_has_no_power() {
    for after in [Duration::ZERO, 9 * SECOND, MINUTE, HOUR / 3] {
        let site = Site::new();
        let device = site.sign_in(None, bob()).await;
        let planted = site.session().await;
        let victim = site.sign_in(Some(&planted), bob()).await;
        site.audit.take();
        site.clock.advance(after);
        let mallory = || site.open(Some(&planted));
        drop(mallory().destroy().await);
        drop(mallory().destroy_all().await);
        drop(mallory().destroy_others().await);
        drop(mallory().destroy_other(device.key().handle()).await);
        drop(mallory().credentials_changed().await);
        let session = mallory();
        session.renew();
        drop(finish(&session).await);
        let session = mallory();
        assert_eq!(session.principal().await.unwrap(), None);
        drop(session.destroy_all().await);
        site.sign_in(Some(&planted), Principal::new("mallory").unwrap()).await;
        for id in [&device, &victim] {
            assert_eq!(site.principal(id).await, Some(bob()), "after {after:?}");
        }
        let told = site.audit.take();
        assert!(!told.iter().any(|line| line.contains("bob")), "{told:?}");
    }
}

#[tokio::test]
async fn s31_superseded_id_is_reported_once_per_request() {
    let site = site();
    let first = site.sign_in(None, bob()).await;
    let second = site.renew(&first).await;
    let third = site.renew(&second).await;
    site.audit.take();
    site.clock.advance(9 * SECOND);
    assert_eq!(site.principal(&second).await, None);
    assert_eq!(site.audit.take(), [""; 0], "a parallel request may still have this id");
    site.clock.advance(2 * SECOND);
    for old in [&first, &second] {
        let session = site.open(Some(old));
        for _ in 0..2 {
            assert_eq!(session.principal().await.unwrap(), None);
            drop(session.refresh().await);
        }
        assert_eq!(site.audit.take(), ["superseded id used bob"]);
    }
    assert_eq!(site.principal(&third).await, Some(bob()), "it is reported and stays alive");
}

#[tokio::test]
async fn s31_policy_can_end_the_session() {
    let site = Site::with_policy(Policy::default().on_superseded_id(OnSupersededId::EndSession));
    let planted = site.session().await;
    let old = site.sign_in(Some(&planted), bob()).await;
    let new = site.renew(&old).await;
    site.audit.take();
    site.clock.advance(9 * SECOND);
    assert_eq!(site.principal(&old).await, Some(bob()), "in the grace");
    site.clock.advance(MINUTE);
    assert_eq!(site.principal(&planted).await, None);
    assert_eq!(
        site.audit.take(),
        [""; 0],
        "an id from before the sign-in reports nothing and ends nothing"
    );
    assert_eq!(site.principal(&new).await, Some(bob()));
    assert_eq!(site.principal(&old).await, None);
    assert_eq!(site.audit.take(), ["superseded id used bob", "ended SupersededIdUsed bob"]);
    assert_eq!((site.principal(&new).await, site.living().await), (None, 0));
}

#[tokio::test]
async fn s07_only_the_current_secret_is_signed_again() {
    for grace in [Duration::ZERO, MINUTE] {
        let site = Site::with_policy(
            Policy::default().rotation_grace(grace).persistence(Persistence::Persistent),
        );
        let old = site.sign_in(None, bob()).await;
        let new = site.renew(&old).await;
        // A ttl extension is due, so a request with the current secret makes one.
        site.clock.advance(20 * SECOND);
        for (id, issued_again) in [(&old, false), (&new, true)] {
            let session = site.open_with(
                [cookie(id, SignedBy::Older)],
                CookieDelivery::Possible,
                Instant::now(),
            );
            session.principal().await.unwrap();
            finish(&session).await.unwrap();
            assert_eq!(
                matches!(session.cookie(), CookieChange::Issue { .. }),
                issued_again,
                "grace {grace:?}"
            );
        }
    }
}
