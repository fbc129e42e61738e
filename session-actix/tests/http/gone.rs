//! Sessions that end while a request uses them.

use std::time::Duration;

use actix_web::web;
use session_actix::{Error, Session};
use session_core::{OnSessionEnded, Policy};
use tokio::sync::Semaphore;

use crate::{site::Site, store::Store};

/// Requests that have read and wait, and permits for them to go on.
static WAITING: Semaphore = Semaphore::const_new(0);
static GO_ON: Semaphore = Semaphore::const_new(0);

fn routes(routes: &mut web::ServiceConfig) {
    routes
        .route("/expires", web::get().to(expire_meanwhile))
        .route("/slow", web::get().to(wait_meanwhile));
}

async fn expire_meanwhile(
    session: Session,
    store: web::Data<Store>,
) -> Result<&'static str, Error> {
    session.get::<i64>("n").await?;
    store.clock.advance(Duration::from_secs(3_600));
    session.insert("n", &2)?;
    Ok("welcome")
}

async fn wait_meanwhile(session: Session) -> Result<&'static str, Error> {
    session.get::<i64>("n").await?;
    WAITING.add_permits(1);
    // Both semaphores are never closed.
    if let Ok(permit) = GO_ON.acquire().await {
        permit.forget();
    }
    session.insert("n", &2)?;
    Ok("welcome")
}

#[actix_web::test]
async fn h13_write_to_an_expired_session_is_a_conflict() {
    let site = Site::start(routes);
    let cookie = site.sign_on().await;
    let answer = site.get_as(&cookie, "/expires").await;
    assert_eq!((answer.status, answer.header("set-cookie")), (409, None));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(!answer.body.contains("welcome"));
    assert_eq!(site.store.calls(), ["load", "commit"]);
    assert_eq!(site.get_as(&cookie, "/read").await.body, "no n");
}

#[actix_web::test]
async fn h13_policy_can_serve_without_changes_and_remove_the_cookie() {
    let site = Site::with_policy(Policy::default().on_session_ended(OnSessionEnded::Serve), routes);
    let cookie = site.sign_on().await;
    let answer = site.get_as(&cookie, "/expires").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "welcome"));
    assert!(answer.header("set-cookie").unwrap().starts_with("id=; Path=/; Max-Age=0;"));
    assert_eq!(site.get_as(&cookie, "/read").await.body, "no n");
}

#[actix_web::test]
async fn h13_sign_out_during_a_slow_write_is_final() {
    let site = Site::start(routes);
    let cookie = site.sign_on().await;
    let slow = site.get_as(&cookie, "/slow");
    let logout = async {
        WAITING.acquire().await.unwrap().forget();
        let answer = site.get_as(&cookie, "/logout").await;
        GO_ON.add_permits(1);
        answer
    };
    let (slow, logout) = tokio::join!(slow, logout);
    assert_eq!(logout.status, 200);
    assert_eq!((slow.status, slow.header("set-cookie")), (409, None));
    assert_eq!(site.store.inside.held_sessions(), 0, "no record under any id");
}
