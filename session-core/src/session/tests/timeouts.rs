//! The timeouts of sessions.

use super::*;

#[tokio::test]
async fn h16_idle_timeout_slides_and_absolute_timeout_does_not() {
    let site = Site::with_policy(Policy::default().absolute_timeout(HOUR));
    let id = site.session().await;
    for minute in 0..6 {
        site.clock.advance(Duration::from_secs(599));
        let session = site.open(Some(&id));
        assert_eq!(
            session.get::<i32>("n").await.unwrap(),
            Some(1),
            "used every ten minutes, at {minute}0"
        );
        finish(&session).await.unwrap();
    }
    site.clock.advance(Duration::from_secs(10));
    assert_eq!(site.open(Some(&id)).get::<i32>("n").await.unwrap(), None, "an hour has passed");
}

#[tokio::test]
async fn h16_add_without_a_load_keeps_a_session_alive() {
    let site = Site::new();
    let id = site.session().await;
    for n in 2..10 {
        site.clock.advance(Duration::from_secs(1_200));
        let session = site.open(Some(&id));
        let add = async {
            let sum = session.add("n", 1).await.unwrap();
            finish(&session).await.unwrap();
            sum
        };
        let (sum, calls) = site.calls(add).await;
        assert_eq!(sum, n);
        assert_eq!(calls, 2, "one to add, one to extend a ttl below three quarters of the timeout");
    }
}

#[tokio::test]
async fn timeouts_of_a_session_are_stored_with_it() {
    let (site, id, session) = opened().await;
    session.set_idle_timeout(Duration::from_secs(86_400));
    session.set_absolute_timeout(Duration::from_secs(86_400 * 30));
    session.set_persistence(Persistence::Persistent);
    finish(&session).await.unwrap();
    let CookieChange::Issue { max_age: Some(max_age), .. } = session.cookie() else {
        panic!("not persistent")
    };
    assert_eq!(max_age.as_secs(), 86_400);
    site.clock.advance(Duration::from_secs(80_000));
    let session = site.open(Some(&id));
    assert_eq!(session.get::<i32>("n").await.unwrap(), Some(1));
    finish(&session).await.unwrap();
    let CookieChange::Issue { max_age: Some(max_age), .. } = session.cookie() else {
        panic!("the cookie was not renewed with the ttl")
    };
    assert_eq!(max_age.as_secs(), 86_400);
}

#[tokio::test]
async fn h16_insert_without_a_load_keeps_a_session_alive() {
    let site = Site::new();
    let id = site.session().await;
    for n in 0..8 {
        site.clock.advance(Duration::from_secs(600));
        let session = site.open(Some(&id));
        session.insert("n", &n).unwrap();
        let ((), calls) = site.calls(async { finish(&session).await.unwrap() }).await;
        assert_eq!(session.cookie(), CookieChange::Keep, "the session keeps its id");
        assert_eq!(calls, 2, "one to insert, one to extend");
    }
}

#[tokio::test]
async fn sign_in_can_set_its_own_absolute_timeout() {
    let site =
        Site::with_policy(Policy::default().absolute_timeout(Duration::from_secs(86_400 * 30)));
    let cart = site.open(None);
    cart.insert("cart", &1).unwrap();
    cart.set_idle_timeout(Duration::from_secs(86_400 * 30));
    finish(&cart).await.unwrap();
    site.clock.advance(Duration::from_secs(86_400 * 2));
    let session = site.open(Some(&issued(&cart)));
    session.sign_in(bob());
    session.set_idle_timeout(Duration::from_secs(86_400));
    session.set_absolute_timeout(Duration::from_secs(8 * 3_600));
    finish(&session).await.unwrap();
    let id = issued(&session);
    site.clock.advance(Duration::from_secs(8 * 3_600 - 1));
    assert_eq!(site.open(Some(&id)).principal().await.unwrap(), Some(bob()));
    site.clock.advance(Duration::from_secs(1));
    assert_eq!(site.open(Some(&id)).principal().await.unwrap(), None);
}

#[tokio::test]
async fn session_beyond_a_shortened_timeout_accepts_no_changes() {
    let site = Site::new();
    let id = site.session().await;
    for _ in 0..4 {
        site.clock.advance(Duration::from_secs(1_700));
        finish(&{
            let session = site.open(Some(&id));
            session.contains("n").await.unwrap();
            session
        })
        .await
        .unwrap();
    }
    let strict =
        Site { policy: Policy::default().absolute_timeout(Duration::from_secs(3_600)), ..site };
    assert!(matches!(strict.open(Some(&id)).add("n", 1).await, Err(SessionError::Gone)));
    assert_eq!(strict.living().await, 0);
}

#[tokio::test]
async fn infinite_and_zero_timeouts_are_accepted() {
    let site = Site::with_policy(
        Policy::default().idle_timeout(Duration::MAX).absolute_timeout(Duration::MAX),
    );
    let id = site.session().await;
    let session = site.open(Some(&id));
    assert!(session.contains("n").await.unwrap());
    session.set_idle_timeout(Duration::ZERO);
    finish(&session).await.unwrap();
    site.clock.advance(Duration::from_millis(1));
    assert!(!site.open(Some(&id)).contains("n").await.unwrap());
}
