//! Sign-ins: which sessions they start and end.

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn h30_sign_in_keeps_the_three_newest_sessions() {
    let site = Site::new();
    let alices = site.sign_in(None, alice()).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(site.sign_in(None, bob()).await);
        site.clock.advance(SECOND);
    }
    // An old session, but the newest sign-in.
    let visitor = site.session().await;
    site.clock.advance(MINUTE);
    let newest = site.sign_in(Some(&visitor), SignIn::new(bob()).max_sessions(3)).await;
    let mut alive = Vec::new();
    for id in &ids {
        alive.push(site.principal(id).await.is_some());
    }
    assert_eq!(alive, [false, false, false, true, true]);
    assert_eq!(
        (site.principal(&newest).await, site.principal(&alices).await),
        (Some(bob()), Some(alice()))
    );
}

#[tokio::test]
async fn h30_age_of_the_authentication_decides() {
    let site = Site::new();
    let oldest = site.sign_in(None, bob()).await;
    site.clock.advance(MINUTE);
    let idle = site.sign_in(None, bob()).await;
    site.clock.advance(MINUTE);
    let session = site.open(Some(&oldest));
    session.reauthenticated();
    finish(&session).await.unwrap();
    let oldest = issued(&session);
    site.sign_in(None, SignIn::new(bob()).max_sessions(2)).await;
    assert_eq!((site.principal(&oldest).await, site.principal(&idle).await), (Some(bob()), None));
}

#[tokio::test]
async fn h30_concurrent_sign_ins_end_the_same_sessions() {
    let site = Site::new();
    for _ in 0..3 {
        site.sign_in(None, bob()).await;
    }
    site.clock.advance(SECOND);
    // All at the same moment of the store, so that the keys decide.
    let sign_ins = (0..10).map(|_| {
        let session = site.open(None);
        session.sign_in(SignIn::new(bob()).max_sessions(3));
        async move { finish(&session).await.map(|()| issued(&session)) }
    });
    let ids: Vec<_> =
        futures_util::future::join_all(sign_ins).await.into_iter().map(Result::unwrap).collect();
    let mut alive = Vec::new();
    for id in &ids {
        if site.principal(id).await.is_some() {
            alive.push(id.key());
        }
    }
    let mut least: Vec<_> = ids.iter().map(SessionId::key).collect();
    least.sort();
    alive.sort();
    assert_eq!(alive, least[..3], "the three newest by (time, key), and no older session");
    assert_eq!(site.living().await, 3);
}

#[tokio::test]
async fn h30_sign_in_succeeds_if_the_store_cannot_end_the_oldest() {
    let logged = Logged::default();
    let site = Site::new();
    let former = site.sign_in(None, bob()).await;
    for call in ["list", "delete"] {
        site.store.fail([call]);
        let guard = logged.listen();
        let new = site.sign_in(None, SignIn::new(bob()).max_sessions(1)).await;
        drop(guard);
        site.store.fail([]);
        assert_eq!(
            (site.principal(&new).await, site.principal(&former).await),
            (Some(bob()), Some(bob())),
            "{call}"
        );
        let lines = logged.take();
        assert!(
            lines.contains("WARN") && lines.contains("more sessions than allowed"),
            "{call}: {lines}"
        );
        site.open(Some(&new)).destroy().await.unwrap();
    }
}

#[tokio::test]
async fn another_user_gets_another_key() {
    let site = Site::new();
    let bobs = site.sign_in(None, SignIn::new(bob()).label("Firefox").unwrap()).await;
    let session = site.open(Some(&bobs));
    session.insert("basket", "alice's").unwrap();
    session.sign_in(alice());
    let ((), calls) = site.calls(async { finish(&session).await.unwrap() }).await;
    assert_eq!(calls, 3, "a load, the end of bob's session, and a new one");
    let alices = issued(&session);
    assert_ne!(alices.key(), bobs.key());
    assert_eq!((site.principal(&bobs).await, site.principal(&alices).await), (None, Some(alice())));
    let record = site.record(&alices).await.unwrap();
    assert_eq!((record.data.len(), record.attributes), (1, Attributes::default()));
    assert_eq!(
        site.audit.take(),
        ["created bob", "signed in bob", "ended SignedOut bob", "created alice", "signed in alice"]
    );
    // The old session has ended even if the new one could not be created.
    site.store.fail(["create"]);
    let session = site.open(Some(&alices));
    session.sign_in(bob());
    assert!(finish(&session).await.is_err());
    assert_eq!((session.cookie(), site.living().await), (CookieChange::Remove, 0));
}

#[tokio::test]
async fn former_session_ends_only_if_the_new_one_can_start() {
    let (site, bobs, session) = signed_in().await;
    finish(&session).await.unwrap();
    session.sign_in(alice());
    assert!(matches!(session.commit().await, Err(SessionError::HeadSent)));
    assert_eq!(
        site.principal(&bobs).await,
        Some(bob()),
        "the cookie cannot be sent, so the session continues"
    );
    // An id in the grace ends no session: another request has the current one.
    let renewed = site.renew(&bobs).await;
    let alices = site.sign_in(Some(&bobs), alice()).await;
    assert_eq!(
        (site.principal(&renewed).await, site.principal(&alices).await),
        (Some(bob()), Some(alice()))
    );
}

#[tokio::test]
async fn another_user_does_not_remove_the_cookie_of_a_racing_sign_in() {
    let (site, bobs, session) = signed_in().await;
    let fresh = site.sign_in(Some(&bobs), bob()).await;
    session.sign_in(alice());
    site.store.fail(["create"]);
    assert!(finish(&session).await.is_err());
    assert_eq!(session.cookie(), CookieChange::Keep);
    assert_eq!(site.principal(&fresh).await, Some(bob()));
    // A rotation of this request whose answer was lost leaves no session behind.
    site.store.fail([]);
    let session = site.open(Some(&fresh));
    assert_eq!(session.principal().await.unwrap(), Some(bob()));
    session.sign_in(bob());
    site.commit_without_answer(&session).await;
    session.sign_in(alice());
    finish(&session).await.unwrap();
    assert_eq!(site.living().await, 1);
}

#[tokio::test]
async fn renewal_keeps_attributes_of_a_concurrent_request() {
    let site = Site::new();
    let id = site.sign_in(None, bob()).await;
    let id = site.renew(&id).await;
    let renewing = site.open(Some(&id));
    assert_eq!(renewing.principal().await.unwrap(), Some(bob()));
    renewing.renew();
    let other = site.open(Some(&id));
    other.set_absolute_timeout(MINUTE);
    finish(&other).await.unwrap();
    finish(&renewing).await.unwrap();
    let record = site.record(&id).await.unwrap();
    assert!(record.attributes.absolute_timeout.is_some());
    assert_eq!(record.generation, 2);
}

#[tokio::test]
async fn sign_in_with_a_zero_timeout_is_rejected() {
    let site = Site::new();
    let id = site.sign_in(None, bob()).await;
    for browser in [None, Some(&id)] {
        let session = site.open(browser);
        session.sign_in(SignIn::new(bob()).remember(Duration::ZERO));
        let refused = finish(&session).await;
        assert!(
            matches!(
                refused,
                Err(SessionError::Store(StoreError::Rejected(Rejection::Ttl { .. })))
            ),
            "{refused:?}"
        );
        assert_eq!(session.cookie(), CookieChange::Keep);
    }
    assert_eq!(site.principal(&id).await, Some(bob()), "the session continues");
}

#[tokio::test]
async fn h31_authenticated_within_counts_from_the_last_proof() {
    let site = Site::new();
    let id = site.sign_in(None, bob()).await;
    let within =
        async |id: &SessionId, time| site.open(Some(id)).authenticated_within(time).await.unwrap();
    site.clock.advance(5 * MINUTE);
    assert!(within(&id, 5 * MINUTE + SECOND).await);
    assert!(!within(&id, 4 * MINUTE).await);
    let renewed = site.renew(&id).await;
    assert!(!within(&renewed, MINUTE).await, "a renewal is not an authentication");
    let session = site.open(Some(&renewed));
    session.reauthenticated_with("mfa").unwrap();
    assert!(
        session.authenticated_within(Duration::ZERO).await.unwrap(),
        "its own authentication counts"
    );
    finish(&session).await.unwrap();
    let proved = issued(&session);
    assert_ne!(proved, renewed, "a step-up gives a new id");
    assert!(within(&proved, SECOND).await);
    assert_eq!(site.open(Some(&proved)).acr().await.unwrap(), Some(ShortText::new("mfa").unwrap()));
    site.clock.advance(2 * SECOND);
    assert!(!within(&proved, SECOND).await);
    let again = site.sign_in(Some(&proved), bob()).await;
    assert!(within(&again, SECOND).await);
    assert_eq!(site.open(Some(&again)).acr().await.unwrap(), None);
}

#[tokio::test]
async fn h31_anonymous_session_is_never_authenticated() {
    let site = Site::new();
    let session = site.open(Some(&site.session().await));
    session.reauthenticated_with("mfa").unwrap();
    assert!(!session.authenticated_within(HOUR).await.unwrap());
    assert_eq!(session.acr().await.unwrap(), None);
    finish(&session).await.unwrap();
    let session = site.open(Some(&issued(&session)));
    assert!(!session.authenticated_within(HOUR).await.unwrap());
    assert_eq!(session.acr().await.unwrap(), None);
}

#[tokio::test]
async fn s28_remember_me_does_not_pass_to_the_next_sign_in() {
    for next in [alice(), bob()] {
        let site = Site::new();
        let session = site.open(None);
        session.sign_in(
            SignIn::new(bob()).remember(30 * DAY).acr("mfa").unwrap().label("Firefox").unwrap(),
        );
        session.insert("mail", "bob@example.com").unwrap();
        finish(&session).await.unwrap();
        let CookieChange::Issue { id, max_age: Some(max_age) } = session.cookie() else {
            panic!("not remembered")
        };
        assert_eq!(max_age, 30 * DAY);
        site.clock.advance(DAY);
        let session = site.open(Some(&id));
        assert_eq!(session.principal().await.unwrap(), Some(bob()));
        session.sign_in(next.clone());
        finish(&session).await.unwrap();
        let CookieChange::Issue { id, max_age: None } = session.cookie() else {
            panic!("{next} is remembered")
        };
        let record = site.record(&id).await.unwrap();
        assert_eq!(
            (record.principal, record.attributes),
            (Some(next.clone()), crate::Attributes::default())
        );
        assert_eq!(record.data.is_empty(), next != bob());
        site.clock.advance(31 * MINUTE);
        assert_eq!(site.principal(&id).await, None, "{next} has the policy's timeout");
    }
}

#[tokio::test]
async fn s28_attributes_of_a_visitor_do_not_pass_to_the_user() {
    let site = Site::new();
    let session = site.open(None);
    session.insert("basket", &1).unwrap();
    session.set_persistence(Persistence::Persistent);
    session.set_idle_timeout(30 * DAY);
    finish(&session).await.unwrap();
    let session = site.open(Some(&issued(&session)));
    session.sign_in(bob());
    finish(&session).await.unwrap();
    let CookieChange::Issue { id, max_age: None } = session.cookie() else {
        panic!("still persistent")
    };
    site.clock.advance(31 * MINUTE);
    assert_eq!(site.principal(&id).await, None);
}

#[tokio::test]
async fn c48_absolute_timeout_counts_from_the_sign_in() {
    let site = Site::new();
    let mut id = site.session().await;
    let used_until = async |id: &SessionId, end: Duration| {
        for _ in 0..end.as_secs() / 300 {
            site.clock.advance(5 * MINUTE);
            let session = site.open(Some(id));
            session.contains("n").await.unwrap();
            finish(&session).await.unwrap();
        }
    };
    used_until(&id, 7 * HOUR + 55 * MINUTE).await;
    id = site.sign_in(Some(&id), bob()).await;
    site.clock.advance(5 * MINUTE);
    // Eight hours after the first visit, and five minutes after the sign-in.
    let session = site.open(Some(&id));
    session.insert("blind", &1).unwrap();
    finish(&session).await.unwrap();
    assert_eq!(site.principal(&id).await, Some(bob()));
    used_until(&id, 7 * HOUR + 50 * MINUTE).await;
    let renewed = site.renew(&id).await;
    assert_eq!(site.principal(&renewed).await, Some(bob()));
    site.clock.advance(5 * MINUTE);
    assert_eq!(
        site.principal(&renewed).await,
        None,
        "eight hours after the sign-in; a renewal does not extend it"
    );
}

#[tokio::test]
async fn c48_step_up_restarts_the_absolute_timeout() {
    let site = Site::with_policy(Policy::default().absolute_timeout(HOUR).idle_timeout(HOUR));
    let id = site.sign_in(None, bob()).await;
    site.clock.advance(50 * MINUTE);
    let session = site.open(Some(&id));
    session.reauthenticated();
    finish(&session).await.unwrap();
    let id = issued(&session);
    site.clock.advance(50 * MINUTE);
    assert_eq!(site.principal(&id).await, Some(bob()));
    site.clock.advance(10 * MINUTE);
    assert_eq!(site.principal(&id).await, None);
}

#[tokio::test]
async fn c50_anonymous_timeout_applies_to_visitors() {
    let site = Site::with_policy(Policy::default().anonymous_idle_timeout(5 * MINUTE));
    let visitor = site.session().await;
    site.clock.advance(4 * MINUTE);
    let session = site.open(Some(&visitor));
    session.contains("n").await.unwrap();
    finish(&session).await.unwrap();
    site.clock.advance(4 * MINUTE);
    assert!(site.open(Some(&visitor)).contains("n").await.unwrap(), "it slides");
    let user = site.sign_in(Some(&visitor), bob()).await;
    let visitor = site.session().await;
    site.clock.advance(5 * MINUTE);
    assert!(!site.open(Some(&visitor)).contains("n").await.unwrap());
    site.clock.advance(24 * MINUTE);
    assert_eq!(site.principal(&user).await, Some(bob()));
}

#[tokio::test]
async fn expiry_spares_a_record_with_a_concurrent_sign_in() {
    let site = Site::new();
    let id = site.session().await;
    let strict = Site {
        policy: Policy::default().absolute_timeout(MINUTE),
        store: Arc::clone(&site.store),
        ..Site::new()
    };
    site.clock.advance(2 * MINUTE);
    let slow = strict.open(Some(&id));
    let stored = site.store.inside.load(&id.key()).await.unwrap().unwrap();
    // The sign-in happens between the load that finds the record too old and its deletion.
    let user = site.sign_in(Some(&id), bob()).await;
    slow.apply_opened(id.clone().into(), Some(stored.open(&id.secret_hash()))).await.unwrap();
    assert_eq!(site.principal(&user).await, Some(bob()));
}

/// The log lines of the current thread.
#[derive(Debug, Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Logged {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let this = self.clone();
        tracing::subscriber::set_default(
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || this.clone()).finish(),
        )
    }

    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock())).unwrap()
    }
}

impl std::io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn strength_set_after_a_sign_in_belongs_to_the_sign_in() {
    let site = Site::new();
    let mfa = Some(ShortText::new("mfa").unwrap());
    for id in [None, Some(site.session().await), Some(site.sign_in(None, bob()).await)] {
        let session = site.open(id.as_ref());
        session.sign_in(SignIn::new(bob()).acr("pwd").unwrap());
        session.reauthenticated_with("mfa").unwrap();
        assert_eq!(session.acr().await.unwrap(), mfa);
        finish(&session).await.unwrap();
        assert_eq!(site.open(Some(&issued(&session))).acr().await.unwrap(), mfa);
        let session = site.open(id.as_ref());
        session.sign_in(SignIn::new(alice()).acr("mfa").unwrap());
        session.reauthenticated();
        finish(&session).await.unwrap();
        assert_eq!(site.open(Some(&issued(&session))).acr().await.unwrap(), mfa);
    }
}

#[tokio::test]
async fn sign_in_drops_the_strength_that_was_set_before_it() {
    let (site, _, session) = signed_in().await;
    session.reauthenticated_with("mfa").unwrap();
    session.sign_in(bob());
    assert_eq!(session.acr().await.unwrap(), None);
    finish(&session).await.unwrap();
    assert_eq!(site.open(Some(&issued(&session))).acr().await.unwrap(), None);
}

#[tokio::test]
async fn label_is_that_of_the_latest_sign_in() {
    let site = Site::new();
    let session = site.open(None);
    assert_eq!(session.label().await.unwrap(), None);
    session.sign_in(SignIn::new(bob()).label_from("Firefox/142.0 on a very long operating system"));
    let label = |label: Option<ShortText>| label.map(|label| label.as_str().to_owned());
    let cut = Some("Firefox/142.0 on a very long operating s".to_owned());
    assert_eq!(label(session.label().await.unwrap()), cut, "before the commit");
    finish(&session).await.unwrap();
    let id = issued(&session);
    assert_eq!(label(site.open(Some(&id)).label().await.unwrap()), cut);
    let id = site.sign_in(Some(&id), SignIn::new(bob())).await;
    assert_eq!(site.open(Some(&id)).label().await.unwrap(), None);
}
