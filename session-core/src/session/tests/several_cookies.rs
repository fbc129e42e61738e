//! Requests with several valid session cookies.

use super::*;

impl Site {
    fn open_several(&self, ids: &[&SessionId]) -> Request {
        self.open_with(
            ids.iter().map(|id| cookie(id, SignedBy::Current)),
            CookieDelivery::Possible,
            Instant::now(),
        )
    }

    /// Sessions of one user: with the current secret, in the grace, superseded, absent.
    async fn one_of_each(&self) -> [SessionId; 4] {
        let sign_in = async |name: &str| {
            let session = self.open(None);
            session.sign_in(bob());
            session.insert("name", name).unwrap();
            finish(&session).await.unwrap();
            issued(&session)
        };
        let superseded = sign_in("superseded").await;
        self.renew(&superseded).await;
        self.clock.advance(9 * SECOND);
        let grace = sign_in("grace").await;
        self.renew(&grace).await;
        self.clock.advance(5 * SECOND);
        [sign_in("current").await, grace, superseded, SessionId::random().unwrap()]
    }
}

#[tokio::test]
async fn h33_current_before_grace_before_superseded_before_absent() {
    let site = Site::new();
    let [current, grace, superseded, absent] = site.one_of_each().await;
    for (ids, read) in [
        ([&absent, &superseded, &grace, &current], Some("current")),
        ([&current, &grace, &superseded, &absent], Some("current")),
        ([&absent, &superseded, &grace, &absent], Some("grace")),
        ([&grace, &absent, &superseded, &absent], Some("grace")),
        ([&absent, &superseded, &absent, &absent], None),
    ] {
        let session = site.open_several(&ids);
        assert_eq!(session.get::<String>("name").await.unwrap().as_deref(), read);
        assert_eq!(session.principal().await.unwrap().is_some(), read.is_some());
    }
    // The refusal shows that the superseded id is chosen before the absent one.
    let session = site.open_several(&[&absent, &superseded]);
    assert!(matches!(session.others().await, Err(SessionError::Superseded)));
    assert_eq!(site.open_several(&[&absent, &absent]).others().await.unwrap(), []);
}

#[tokio::test]
async fn h33_corrupt_record_hides_no_other_session() {
    let site = Site::new();
    let [current, grace, superseded, absent] = site.one_of_each().await;
    let corrupt = site.session().await;
    *site.store.corrupt.lock() = Some(corrupt.key());
    for (usable, name) in [(&current, "current"), (&grace, "grace")] {
        for ids in [[&corrupt, usable], [usable, &corrupt]] {
            assert_eq!(
                site.open_several(&ids).get::<String>("name").await.unwrap().as_deref(),
                Some(name)
            );
        }
    }
    for unusable in [&superseded, &absent] {
        let read = site.open_several(&[unusable, &corrupt]).get::<String>("name").await;
        assert!(matches!(read, Err(SessionError::Store(StoreError::Corrupt { .. }))), "{read:?}");
    }
    site.store.fail(["load"]);
    assert!(
        site.open_several(&[&current, &corrupt]).get::<String>("name").await.is_err(),
        "an outage is still an error"
    );
}

#[tokio::test]
async fn h33_first_of_two_current_cookies_is_used() {
    let site = Site::new();
    let (first, second) = (site.sign_in(None, bob()).await, site.sign_in(None, alice()).await);
    assert_eq!(site.open_several(&[&first, &second]).principal().await.unwrap(), Some(bob()));
    assert_eq!(site.open_several(&[&second, &first]).principal().await.unwrap(), Some(alice()));
}

#[tokio::test]
async fn h33_writes_reach_the_session_with_the_current_secret() {
    let site = Site::new();
    let [current, grace, superseded, absent] = site.one_of_each().await;
    for write in 0..4 {
        let session = site.open_several(&[&absent, &superseded, &grace, &current]);
        match write {
            0 => session.insert("n", &1).unwrap(),
            1 => drop(session.add("n", 1).await.unwrap()),
            2 => drop(session.update::<i32>("n", |n| n.map(|n| n + 1)).await.unwrap()),
            _ => session.remove("name").unwrap(),
        }
        finish(&session).await.unwrap();
        assert_eq!(session.cookie(), CookieChange::Keep);
    }
    let session = site.open(Some(&current));
    assert_eq!(
        (session.get::<i32>("n").await.unwrap(), session.contains("name").await.unwrap()),
        (Some(3), false)
    );
    assert_eq!(site.living().await, 3);
}

#[tokio::test]
async fn h33_cookies_are_looked_up_concurrently_and_once() {
    let site = Site::new();
    let [current, grace, superseded, absent] = site.one_of_each().await;
    site.store.most_at_once.store(0, Relaxed);
    let session = site.open_several(&[&absent, &superseded, &grace, &current]);
    let ((), calls) = site
        .calls(async {
            session.principal().await.unwrap();
            session.contains("name").await.unwrap();
            finish(&session).await.unwrap();
        })
        .await;
    assert_eq!((calls, site.store.most_at_once.load(Relaxed)), (4, 4));
}

#[tokio::test]
async fn h33_destroy_ends_the_sessions_of_all_cookies() {
    let site = Site::new();
    for reads_before in [false, true] {
        let [current, grace, superseded, absent] = site.one_of_each().await;
        let alices = site.sign_in(None, alice()).await;
        let [planted, victims] = {
            let planted = site.session().await;
            let victims = site.sign_in(Some(&planted), bob()).await;
            site.clock.advance(11 * SECOND);
            [planted, victims]
        };
        let session = site.open_several(&[&superseded, &current, &grace, &alices]);
        if reads_before {
            session.principal().await.unwrap();
        }
        session.destroy().await.unwrap();
        assert_eq!(session.cookie(), CookieChange::Remove);
        for id in [&current, &grace, &superseded, &alices] {
            assert!(site.record(id).await.is_none(), "reads before: {reads_before}");
        }
        site.open_several(&[&absent, &planted]).destroy().await.unwrap();
        assert_eq!(
            site.principal(&victims).await,
            Some(bob()),
            "an id from before the sign-in ends no session here either"
        );
    }
}

#[tokio::test]
async fn h33_destroy_all_ends_the_sessions_of_all_cookies() {
    let site = Site::new();
    let device = site.sign_in(None, bob()).await;
    let (bobs, alices) = (site.sign_in(None, bob()).await, site.sign_in(None, alice()).await);
    let alices_device = site.sign_in(None, alice()).await;
    let session = site.open_several(&[&bobs, &alices]);
    assert_eq!(session.destroy_all().await.unwrap(), 2);
    assert_eq!(session.cookie(), CookieChange::Remove);
    for id in [&device, &bobs, &alices] {
        assert!(site.record(id).await.is_none());
    }
    assert_eq!(
        site.principal(&alices_device).await,
        Some(alice()),
        "the request signs alice out on this browser only"
    );
}

#[tokio::test]
async fn h33_two_ids_of_one_session_end_it() {
    let site = Site::new();
    let planted = site.session().await;
    let current = site.sign_in(Some(&planted), bob()).await;
    for ids in [[&planted, &current], [&current, &planted]] {
        let session = site.open_several(&ids);
        assert_eq!(
            session.principal().await.unwrap(),
            Some(bob()),
            "the planted id does not hide the current one"
        );
    }
    let session = site.open_several(&[&planted, &current]);
    session.destroy().await.unwrap();
    assert_eq!((session.cookie(), site.living().await), (CookieChange::Remove, 0));
}

#[tokio::test]
async fn h33_cookie_stays_after_a_partly_failed_sign_out() {
    let site = Site::new();
    let (first, second) = (site.sign_in(None, bob()).await, site.sign_in(None, bob()).await);
    site.store.fail(["delete"]);
    let session = site.open_several(&[&first, &second]);
    assert!(session.destroy().await.is_err());
    assert_eq!(session.cookie(), CookieChange::Keep);
    site.store.fail([]);
    session.destroy().await.unwrap();
    assert_eq!((session.cookie(), site.living().await), (CookieChange::Remove, 0));
}

#[tokio::test]
async fn h32_event_of_another_cookie_names_no_wrong_user() {
    let site = Site::new();
    let (bobs, alices) = (site.sign_in(None, bob()).await, site.sign_in(None, alice()).await);
    site.audit.take();
    let session = site.open_several(&[&bobs, &alices]);
    session.principal().await.unwrap();
    session.destroy().await.unwrap();
    assert_eq!(site.audit.take(), ["ended SignedOut bob", "ended SignedOut -"]);
}

#[tokio::test]
async fn h33_old_planted_cookie_does_not_refuse_the_sign_out() {
    for reads_before in [false, true] {
        let site = Site::new();
        let planted = site.session().await;
        let victims = site.sign_in(Some(&planted), alice()).await;
        site.clock.advance(MINUTE);
        let own = site.sign_in(None, bob()).await;
        let session = site.open_several(&[&own, &planted]);
        if reads_before {
            assert_eq!(session.principal().await.unwrap(), Some(bob()));
        }
        session.destroy().await.unwrap();
        assert_eq!(session.cookie(), CookieChange::Remove, "reads before: {reads_before}");
        assert!(site.record(&own).await.is_none());
        assert_eq!(site.principal(&victims).await, Some(alice()));
    }
}

#[tokio::test]
async fn h33_planted_cookie_of_a_moment_ago_refuses_the_sign_out() {
    let site = Site::new();
    let own = site.sign_in(None, bob()).await;
    let planted = site.session().await;
    let victims = site.sign_in(Some(&planted), alice()).await;
    let session = site.open_several(&[&own, &planted]);
    assert_eq!(session.principal().await.unwrap(), Some(bob()));
    assert!(matches!(session.destroy().await, Err(SessionError::Superseded)));
    assert_eq!(session.cookie(), CookieChange::Keep);
    assert!(site.record(&own).await.is_none());
    assert_eq!(site.principal(&victims).await, Some(alice()));
}
