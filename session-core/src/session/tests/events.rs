//! The events of the audit trail.

use super::*;

#[tokio::test]
async fn h32_events_cover_the_life_of_a_session() {
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
    assert_eq!(site.audit.take(), [""; 0], "a change of values emits no event");
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
        "emitted once; a sign-out without a load does not know the user"
    );
}

#[tokio::test]
async fn h32_events_contain_the_cause_of_the_end() {
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
        "expiry in the store emits no event"
    );
}

#[tokio::test]
async fn h32_superseded_requests_and_reads_emit_nothing() {
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
async fn h32_outcome_is_unknown_after_a_timeout() {
    let site = Site::new();
    let lost = |site: &Site| site.store.lose_answer.store(true, Relaxed);
    let session = site.open(None);
    session.sign_in(bob());
    lost(&site);
    assert!(session.commit().await.is_err());
    assert_eq!(site.audit.take(), ["created bob?", "signed in bob?"]);
    session.commit().await.unwrap();
    assert_eq!(site.audit.take(), [""; 0], "it took effect before, and is emitted at most once");
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
    assert_eq!(site.audit.take(), [""; 0], "it had ended before");
    // A rejection is a certain outcome.
    let session = site.open(None);
    session.insert("big", &"x".repeat(100_000)).unwrap();
    assert!(session.commit().await.is_err());
    assert_eq!(site.audit.take(), [""; 0]);
}

#[tokio::test]
async fn h32_events_contain_the_handle_and_no_id() {
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

#[test]
fn shared_receiver_gets_every_event() {
    fn emit_each(events: &impl SessionEvents) {
        let handle = StoreKey::from_text("key").handle();
        let event = SessionEvent { handle, principal: None, outcome: EventOutcome::Confirmed };
        events.created(&event);
        events.signed_in(&event);
        events.rotated(&event);
        events.superseded_id_used(&event);
        events.ended(&event, EndCause::SignedOut);
    }
    let audit = Arc::new(AuditTrail::default());
    let direct = {
        emit_each(&*audit);
        audit.take()
    };
    assert_eq!(direct.len(), 5);
    emit_each(&audit);
    assert_eq!(audit.take(), direct);
    emit_each(&(Arc::clone(&audit) as Arc<dyn SessionEvents>));
    assert_eq!(audit.take(), direct);
}
