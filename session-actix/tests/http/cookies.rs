//! When the browser is told of an id, and when to forget it.

use std::{sync::Arc, time::Duration};

use actix_web::{HttpResponse, http::header, web};
use session_actix::{Error, Session};
use session_core::{
    Persistence, Policy, Principal,
    cookie::{Key, KeyRing},
};

use crate::{
    site::{Site, sessions},
    store::Store,
};

fn routes(routes: &mut web::ServiceConfig) {
    get_routes!(routes;
        "/sign-in" => sign_in,
        "/renew" => renew,
        "/remember" => remember,
        "/again" => end_and_start_again,
        "/redirect" => redirect,
        "/unchanged" => unchanged,
        "/upgrade" => upgrade,
    )
    .route("/start", web::head().to(redirect));
}

async fn renew(session: Session) -> &'static str {
    session.renew();
    "renewed"
}

async fn sign_in(session: Session) -> Result<&'static str, Error> {
    let bob = Principal::new("bob").map_err(actix_web::error::ErrorBadRequest);
    if let Ok(bob) = bob {
        session.sign_in(bob);
    }
    Ok("signed in")
}

async fn remember(session: Session) -> &'static str {
    session.set_persistence(Persistence::Persistent);
    "remembered"
}

async fn end_and_start_again(session: Session) -> Result<&'static str, Error> {
    session.destroy().await?;
    session.insert("n", &7)?;
    Ok("again")
}

async fn redirect(session: Session) -> Result<HttpResponse, Error> {
    session.insert("n", &1)?;
    Ok(HttpResponse::SeeOther().insert_header((header::LOCATION, "/read")).finish())
}

async fn unchanged(session: Session) -> Result<HttpResponse, Error> {
    session.insert("n", &1)?;
    Ok(HttpResponse::NotModified().finish())
}

async fn upgrade(session: Session) -> Result<HttpResponse, Error> {
    session.insert("n", &1)?;
    let frames =
        futures_util::stream::iter([Ok::<_, std::io::Error>(bytes::Bytes::from_static(b"frame"))]);
    Ok(HttpResponse::SwitchingProtocols().upgrade("websocket").streaming(frames))
}

#[actix_web::test]
async fn h10_h11_rotation_replaces_the_id() {
    let site = Site::with_policy(Policy::default().rotation_grace(Duration::ZERO), routes);
    for path in ["/sign-in", "/renew"] {
        let old = site.sign_on().await;
        let answer = site.get_as(&old, path).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        let new = answer.cookie().unwrap();
        assert!(new != old, "{path}");
        assert_eq!(site.get_as(&new, "/read").await.body, "n=1", "{path}");
        assert_eq!(site.get_as(&old, "/read").await.body, "no n", "{path}");
    }
}

#[actix_web::test]
async fn h12_sign_out_removes_record_and_cookie() {
    let site = Site::start(routes);
    let cookie = site.sign_on().await;
    for _ in 0..2 {
        let answer = site.get_as(&cookie, "/logout").await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.header("set-cookie"),
            Some("id=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax")
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(site.store.inside.held_sessions(), 0);
    }
    assert_eq!(
        site.get("/logout").await.header("set-cookie"),
        None,
        "a browser without a cookie has none to forget"
    );
}

#[actix_web::test]
async fn h17_only_persistent_sessions_have_a_max_age() {
    let site = Site::start(routes);
    let answer = site.get("/start").await;
    let cookie = answer.header("set-cookie").unwrap();
    assert!(!cookie.contains("Max-Age") && !cookie.contains("Expires"));
    let answer = site.get_as(&answer.cookie().unwrap(), "/remember").await;
    assert!(answer.header("set-cookie").unwrap().contains("; Max-Age=1800; "));
}

#[actix_web::test]
async fn h22_every_response_is_committed_before_its_head() {
    let site = Site::start(routes);
    for (method, path, status) in [
        ("GET", "/redirect", 303),
        ("HEAD", "/start", 303),
        ("GET", "/unchanged", 304),
        ("GET", "/upgrade", 101),
    ] {
        let answer = site.ask(method, path, b"").await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(site.store.calls(), ["create"], "{path}");
        assert_eq!(site.get_as(&answer.cookie().unwrap(), "/read").await.body, "n=1", "{path}");
        site.store.calls();
    }
}

#[actix_web::test]
async fn h24_insert_after_a_sign_out_starts_a_new_session() {
    let site = Site::start(routes);
    let old = site.sign_on().await;
    let new = site.get_as(&old, "/again").await.cookie().unwrap();
    assert!(new != old);
    assert_eq!(site.get_as(&new, "/read").await.body, "n=7");
    assert_eq!(site.get_as(&old, "/read").await.body, "no n");
}

#[actix_web::test]
async fn s07_cookie_of_an_older_key_is_signed_anew_with_the_first_key() {
    let store = Arc::new(Store::new());
    let (first, second) = (Key::random().unwrap(), Key::random().unwrap());
    let site = |keys: &[Key]| {
        let keys = KeyRing::new(keys.iter().cloned()).unwrap();
        Site::over(&store, sessions(&store, keys).build().unwrap(), routes)
    };
    let old = site(std::slice::from_ref(&first)).sign_on().await;
    let both = site(&[second.clone(), first]);
    assert_eq!(
        both.get_as(&old, "/plain").await.header("set-cookie"),
        None,
        "an untouched route tells nothing"
    );
    let answer = both.get_as(&old, "/read").await;
    assert_eq!(answer.body, "n=1");
    let new = answer.cookie().unwrap();
    assert!(new != old && new[..50] == old[..50], "the same id, signed anew");
    assert_eq!(both.get_as(&new, "/read").await.header("set-cookie"), None);
    let later = site(&[second]);
    assert_eq!(later.get_as(&new, "/read").await.body, "n=1");
    assert_eq!(later.get_as(&old, "/read").await.body, "no n");
}
