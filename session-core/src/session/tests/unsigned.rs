//! Unsigned cookies. A client that knows the key of a session can make up such a cookie.

use super::*;

impl Site {
    fn open_unsigned(&self, id: &SessionId) -> Request {
        self.open_with([cookie(id, SignedBy::None)], CookieDelivery::Possible, Instant::now())
    }
}

#[tokio::test]
async fn unsigned_id_with_the_current_secret_works() {
    let site = Site::new();
    let id = site.sign_in(None, bob()).await;
    let session = site.open_unsigned(&id);
    assert_eq!(session.principal().await.unwrap(), Some(bob()));
    session.insert("n", &1).unwrap();
    finish(&session).await.unwrap();
    assert_eq!(session.cookie(), CookieChange::Keep);
    site.open_unsigned(&id).destroy().await.unwrap();
    assert_eq!(site.living().await, 0);
}

#[tokio::test]
async fn unsigned_id_with_a_wrong_secret_is_absent() {
    let site = Site::with_policy(Policy::default().on_superseded_id(OnSupersededId::EndSession));
    let current = site.renew(&site.sign_in(None, bob()).await).await;
    let old = SessionId::parse(&current.to_text()).unwrap();
    let current = site.renew(&current).await;
    // Made up for the known key, with the former, the current and a later generation.
    let made_up = [
        current.rotated_after(0).unwrap(),
        current.rotated_after(1).unwrap(),
        current.rotated_after(7).unwrap(),
    ];
    site.audit.take();
    for after in [Duration::ZERO, 9 * SECOND, MINUTE] {
        site.clock.advance(after);
        for id in made_up.iter().chain([&old]) {
            let session = site.open_unsigned(id);
            assert_eq!(session.principal().await.unwrap(), None, "also in the grace");
            assert_eq!(session.is_alive().await.unwrap(), Liveness::Ended);
            assert_eq!(session.others().await.unwrap(), []);
            assert_eq!(session.destroy_all().await.unwrap(), 0);
            let session = site.open_unsigned(id);
            session.destroy().await.unwrap();
            assert_eq!(session.cookie(), CookieChange::Remove);
            let session = site.open_unsigned(id);
            session.insert("n", &1).unwrap();
            finish(&session).await.unwrap();
            let new = issued(&session);
            assert_ne!(new.key(), current.key());
            site.open(Some(&new)).destroy().await.unwrap();
        }
        assert_eq!(site.principal(&current).await, Some(bob()));
    }
    assert!(
        !site.audit.take().iter().any(|line| line.contains("superseded") || line.contains("bob"))
    );
}

#[tokio::test]
async fn unsigned_id_with_a_wrong_secret_is_chosen_last() {
    let site = Site::new();
    let old = site.sign_in(None, bob()).await;
    let new = site.renew(&old).await;
    let cookies = [&old, &new].map(|id| cookie(id, SignedBy::None));
    let session = site.open_with(cookies, CookieDelivery::Possible, Instant::now());
    assert_eq!(session.principal().await.unwrap(), Some(bob()));
    let other = site.sign_in(None, bob()).await;
    let made_up = other.rotated().unwrap();
    let cookies = [&made_up, &old].map(|id| cookie(id, SignedBy::None));
    site.open_with(cookies, CookieDelivery::Possible, Instant::now()).destroy().await.unwrap();
    assert_eq!(
        (site.principal(&other).await, site.principal(&new).await),
        (Some(bob()), Some(bob()))
    );
}
