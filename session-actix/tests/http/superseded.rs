//! Requests with an id that a rotation replaced.

use std::time::Duration;

use actix_web::web;
use session_actix::{Error, Session};
use session_core::{Policy, Principal};

use crate::site::{Answer, Site};

fn routes(routes: &mut web::ServiceConfig) {
    get_routes!(routes;
        "/sign-in" => sign_in,
        "/renew" => renew,
        "/who" => who,
        "/insert" => insert,
        "/update" => update,
        "/everywhere" => sign_out_everywhere,
        "/devices" => devices,
    );
}

async fn sign_in(session: Session) -> &'static str {
    if let Ok(bob) = Principal::new("bob") {
        session.sign_in(bob);
    }
    "signed in"
}

async fn renew(session: Session) -> &'static str {
    session.renew();
    "renewed"
}

async fn who(session: Session) -> Result<String, Error> {
    Ok(session
        .principal()
        .await?
        .map_or_else(|| "stranger".to_owned(), |principal| principal.to_string()))
}

async fn insert(session: Session) -> Result<&'static str, Error> {
    session.insert("n", &9)?;
    Ok("inserted")
}

async fn update(session: Session) -> Result<&'static str, Error> {
    session.update::<i64>("n", |n| Some(n.unwrap_or(0) + 1)).await?;
    Ok("updated")
}

async fn sign_out_everywhere(session: Session) -> Result<&'static str, Error> {
    session.destroy_all().await?;
    Ok("goodbye")
}

async fn devices(session: Session) -> Result<String, Error> {
    Ok(session.others().await?.len().to_string())
}

/// A site without a grace, on which `/renew` supersedes at once.
fn site() -> Site {
    Site::with_policy(Policy::default().rotation_grace(Duration::ZERO), routes)
}

fn assert_conflict(answer: &Answer, what: &str) {
    assert_eq!((answer.status, answer.header("set-cookie")), (409, None), "{what}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
}

#[actix_web::test]
async fn h27_write_with_a_superseded_id_is_a_409_without_cookie() {
    let site = site();
    let old = site.sign_on().await;
    let new = site.get_as(&old, "/sign-in").await.cookie().unwrap();
    for _ in 0..50 {
        for path in ["/insert", "/add", "/update", "/renew"] {
            assert_conflict(&site.get_as(&old, path).await, path);
        }
    }
    assert_eq!(site.get_as(&old, "/who").await.body, "stranger");
    assert_eq!(site.get_as(&old, "/who").await.header("set-cookie"), None);
    assert_eq!(site.get_as(&new, "/read").await.body, "n=1", "nothing of it is saved");
    assert_eq!(site.store.inside.held_sessions(), 1);
}

#[actix_web::test]
async fn h27_late_write_with_a_superseded_id_starts_a_session() {
    let site = site();
    let old = site.sign_on().await;
    let new = site.get_as(&old, "/renew").await.cookie().unwrap();
    site.store.clock.advance(Duration::from_secs(11));
    let answer = site.get_as(&old, "/insert").await;
    let other = answer.cookie().unwrap();
    assert_eq!(answer.status, 200);
    assert!(other[..21] != old[..21], "another key");
    assert_eq!(site.get_as(&other, "/read").await.body, "n=9");
    assert_eq!(site.get_as(&new, "/read").await.body, "n=1");
}

#[actix_web::test]
async fn h27_h34_sign_in_with_a_superseded_id_works() {
    let site = site();
    let old = site.sign_on().await;
    for _ in 0..3 {
        // The browser receives none of the first two answers.
        let answer = site.get_as(&old, "/sign-in").await;
        assert_eq!(answer.status, 200);
        assert_eq!(site.get_as(&answer.cookie().unwrap(), "/who").await.body, "bob");
    }
}

#[actix_web::test]
async fn h27_h36_superseded_id_ends_its_own_session_only() {
    let site = site();
    let planted = site.sign_on().await;
    let device = site.get("/sign-in").await.cookie().unwrap();
    let signed_in = site.get_as(&planted, "/sign-in").await.cookie().unwrap();
    for path in ["/logout", "/everywhere", "/devices"] {
        assert_conflict(&site.get_as(&planted, path).await, path);
    }
    let renewed = site.get_as(&signed_in, "/renew").await.cookie().unwrap();
    assert_conflict(&site.get_as(&signed_in, "/devices").await, "the device list");
    assert_eq!(site.get_as(&renewed, "/devices").await.body, "1");
    let answer = site.get_as(&signed_in, "/everywhere").await;
    assert_eq!(answer.status, 409);
    assert!(
        answer.header("set-cookie").unwrap().starts_with("id=; Path=/; Max-Age=0;"),
        "its own session has ended"
    );
    assert_eq!(site.get_as(&renewed, "/who").await.body, "stranger");
    assert_eq!(site.get_as(&device, "/who").await.body, "bob", "and no other");
    let renewed = site.get_as(&device, "/renew").await.cookie().unwrap();
    let answer = site.get_as(&device, "/logout").await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("set-cookie").unwrap().starts_with("id=; Path=/; Max-Age=0;"));
    assert_eq!(site.get_as(&renewed, "/who").await.body, "stranger");
}

#[actix_web::test]
async fn h28_reads_in_the_grace_get_no_cookie() {
    let site = Site::with_policy(Policy::default().idle_timeout(Duration::from_secs(12)), routes);
    let old = site.get("/sign-in").await.cookie().unwrap();
    site.store.calls();
    let renewed = site.get_as(&old, "/renew").await;
    // Less than three quarters of the idle timeout are left: a request with the current secret
    // would extend the life.
    site.store.clock.advance(Duration::from_secs(5));
    site.store.calls();
    for _ in 0..19 {
        let answer = site.get_as(&old, "/who").await;
        assert_eq!(
            (answer.status, answer.body.as_str(), answer.header("set-cookie")),
            (200, "bob", None)
        );
        assert_eq!(site.store.calls(), ["load"]);
    }
    assert_conflict(&site.get_as(&old, "/insert").await, "a write in the grace");
    assert_eq!(site.get_as(&renewed.cookie().unwrap(), "/who").await.body, "bob");
    site.store.clock.advance(Duration::from_secs(6));
    assert_eq!(site.get_as(&old, "/who").await.body, "stranger", "the grace is over");
}

#[actix_web::test]
async fn h33_planted_cookie_does_not_hide_the_live_one() {
    let site = site();
    let planted = site.sign_on().await;
    let live = site.get_as(&planted, "/sign-in").await.cookie().unwrap();
    for cookies in [format!("{planted}; {live}"), format!("{live}; {planted}")] {
        assert_eq!(site.get_as(&cookies, "/who").await.body, "bob");
        assert_eq!(site.get_as(&cookies, "/insert").await.status, 200);
    }
    let answer = site.get_as(&format!("{planted}; {live}"), "/logout").await;
    assert_eq!((answer.status, site.store.inside.held_sessions()), (200, 0));
}
