//! The audit trail.

use super::*;

#[tokio::test]
async fn h32_events_tell_the_life_of_a_session() {
    let site = Site::new();
    let id = site.session().await;
    assert_eq!(site.audit.take(), ["created -"]);
    let id = site.sign_in(Some(&id), bob()).await;
    assert_eq!(site.audit.take(), ["signed in bob"]);
    let session = site.open(Some(&id));
    session.principal().await.unwrap();
    session.insert("n", &2).unwrap();
    session.renew();
    finish(&session).await.unwrap();
    assert_eq!(site.audit.take(), ["rotated bob"]);
    let id = issued(&session);
    let session = site.open(Some(&id));
    session.reauthenticated();
    finish(&session).await.unwrap();
    assert_eq!(site.audit.take(), ["rotated bob"]);
    let id = issued(&session);
    let session = site.open(Some(&id));
    session.add("n", 1).await.unwrap();
    finish(&session).await.unwrap();
    assert_eq!(site.audit.take(), [""; 0], "a change of values is no event");
    let session = site.open(Some(&id));
    session.principal().await.unwrap();
    session.destroy().await.unwrap();
    session.destroy().await.unwrap();
    assert_eq!(site.audit.take(), ["ended SignedOut bob"]);
    let blind = site.sign_in(None, bob()).await;
    assert_eq!(site.audit.take(), ["created bob", "signed in bob"]);
    site.open(Some(&blind)).destroy().await.unwrap();
    site.open(Some(&blind)).destroy().await.unwrap();
    assert_eq!(
        site.audit.take(),
        ["ended SignedOut -"],
        "once, and a blind sign-out does not know the user"
    );
}

#[tokio::test]
async fn h32_events_tell_why_sessions_ended() {
    let site = Site::new();
    let [one, other, third] = [
        site.sign_in(None, bob()).await,
        site.sign_in(None, bob()).await,
        site.sign_in(None, bob()).await,
    ];
    site.audit.take();
    site.open(Some(&one)).destroy_other(other.key().handle()).await.unwrap();
    assert_eq!(site.audit.take(), ["ended Revoked bob"]);
    site.clock.advance(SECOND);
    let fourth = site.sign_in(None, SignIn::new(bob()).max_sessions(1)).await;
    assert_eq!(
        site.audit.take(),
        ["created bob", "signed in bob", "ended TooManySessions bob", "ended TooManySessions bob"]
    );
    let session = site.open(Some(&fourth));
    session.credentials_changed().await.unwrap();
    assert_eq!(site.audit.take(), ["rotated bob"]);
    session.destroy_all().await.unwrap();
    assert_eq!(site.audit.take(), ["ended SignedOut bob"]);
    let id = site.sign_in(Some(&third), bob()).await;
    site.audit.take();
    let strict = Site {
        policy: Policy::default().absolute_timeout(MINUTE),
        store: Arc::clone(&site.store),
        audit: Arc::clone(&site.audit),
        ..Site::new()
    };
    site.clock.advance(2 * MINUTE);
    assert_eq!(strict.principal(&id).await, None);
    assert_eq!(site.audit.take(), ["ended TimedOut bob"]);
    site.sign_in(None, bob()).await;
    site.audit.take();
    site.clock.advance(HOUR);
    assert_eq!(
        (site.living().await, site.audit.take()),
        (0, vec![]),
        "the store's own expiry is no event"
    );
}

#[tokio::test]
async fn h32_a_superseded_request_and_a_read_emit_nothing() {
    let site = Site::new();
    let old = site.session().await;
    site.sign_in(Some(&old), bob()).await;
    site.audit.take();
    let session = site.open(Some(&old));
    session.insert("n", &1).unwrap();
    assert!(finish(&session).await.is_err());
    assert_eq!(site.principal(&old).await, None);
    assert_eq!(site.audit.take(), [""; 0]);
}

#[tokio::test]
async fn h32_after_a_timeout_the_outcome_is_unknown() {
    let site = Site::new();
    let lost = |site: &Site| site.store.lose_answer.store(true, Relaxed);
    let session = site.open(None);
    session.sign_in(bob());
    lost(&site);
    assert!(session.commit().await.is_err());
    assert_eq!(site.audit.take(), ["created bob?", "signed in bob?"]);
    session.commit().await.unwrap();
    assert_eq!(site.audit.take(), [""; 0], "it had landed: at most once");
    session.renew();
    lost(&site);
    assert!(session.commit().await.is_err());
    assert_eq!(site.audit.take(), ["rotated bob?"]);
    session.commit().await.unwrap();
    assert_eq!(site.audit.take(), [""; 0]);
    lost(&site);
    assert!(session.destroy().await.is_err());
    assert_eq!(site.audit.take(), ["ended SignedOut bob?"]);
    session.destroy().await.unwrap();
    assert_eq!(site.audit.take(), [""; 0], "it had ended");
    // A refusal leaves nothing open.
    let session = site.open(None);
    session.insert("big", &"x".repeat(100_000)).unwrap();
    assert!(session.commit().await.is_err());
    assert_eq!(site.audit.take(), [""; 0]);
}

#[tokio::test]
async fn h32_events_name_the_session_by_its_handle_and_hold_no_id() {
    let site = Site::new();
    let first = site.sign_in(None, bob()).await;
    let second = site.renew(&first).await;
    site.clock.advance(MINUTE);
    assert_eq!(site.principal(&first).await, None);
    site.open(Some(&second)).destroy().await.unwrap();
    let (lines, handles) = (site.audit.take(), site.audit.handles.lock().clone());
    assert_eq!(
        lines,
        [
            "created bob",
            "signed in bob",
            "rotated bob",
            "superseded id used bob",
            "ended SignedOut -"
        ]
    );
    assert_eq!(handles, [first.key().handle(); 5]);
    let principal = bob();
    let event = SessionEvent {
        handle: first.key().handle(),
        principal: Some(&principal),
        outcome: EventOutcome::Confirmed,
    };
    let shown = format!("{event:?} {}", event.handle);
    for id in [&first, &second] {
        let text = String::from_utf8(id.to_text().to_vec()).unwrap();
        let (key, secret) = text.split_once('.').unwrap();
        assert!(!shown.contains(key) && !shown.contains(secret), "{shown}");
    }
}
