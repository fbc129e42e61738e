//! How long sessions live.

use super::*;

#[tokio::test]
async fn h16_idle_slides_with_use_and_absolute_does_not() {
    let site = Site { policy: Policy::default().absolute_timeout(Duration::from_secs(3_600)), ..Site::new() };
    let id = site.session().await;
    for minute in 0..6 {
        site.clock.advance(Duration::from_secs(599));
        let session = site.open(Some(&id));
        assert_eq!(session.get::<i32>("n").await.unwrap(), Some(1), "used every ten minutes, at {minute}0");
        finish(&session).await.unwrap();
    }
    site.clock.advance(Duration::from_secs(10));
    assert_eq!(site.open(Some(&id)).get::<i32>("n").await.unwrap(), None, "an hour is over");
}

#[tokio::test]
async fn h16_adding_without_ever_loading_keeps_a_session_alive() {
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
        assert_eq!(calls, 2, "one to add, one to extend a life of which less than three quarters are left");
    }
}

#[tokio::test]
async fn a_lifetime_of_its_own_is_kept_with_the_session() {
    let site = Site::new();
    let id = site.session().await;
    let session = site.open(Some(&id));
    session.set_idle_timeout(Duration::from_secs(86_400));
    session.set_absolute_timeout(Duration::from_secs(86_400 * 30));
    session.set_persistence(Persistence::Persistent);
    finish(&session).await.unwrap();
    let CookieChange::Issue { max_age: Some(max_age), .. } = session.cookie() else { panic!("not persistent") };
    assert_eq!(max_age.as_secs(), 86_400);
    site.clock.advance(Duration::from_secs(80_000));
    let session = site.open(Some(&id));
    assert_eq!(session.get::<i32>("n").await.unwrap(), Some(1));
    finish(&session).await.unwrap();
    let CookieChange::Issue { max_age: Some(max_age), .. } = session.cookie() else { panic!("the cookie was not renewed with the life") };
    assert_eq!(max_age.as_secs(), 86_400);
}
