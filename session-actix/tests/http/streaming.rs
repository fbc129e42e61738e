//! Bodies that go on after the head.

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;
use session_actix::{Error, Session, SessionExt};
use session_core::SessionError;

use crate::site::Site;

fn routes(routes: &mut web::ServiceConfig) {
    routes
        .route("/long", web::get().to(commit_while_streaming))
        .route("/late", web::get().to(start_while_streaming))
        .route("/first-asked-late", web::get().to(ask_while_streaming));
}

/// Inserts before the head and while the body runs.
async fn commit_while_streaming(session: Session) -> Result<HttpResponse, Error> {
    session.insert("n", &10)?;
    let body = stream::once(async move {
        session.insert("n", &11)?;
        session.commit().await?;
        let n = session.add("n", 1).await?;
        Ok::<_, Error>(Bytes::from(format!("committed {n}")))
    });
    Ok(HttpResponse::Ok().streaming(Box::pin(body)))
}

/// Tries to start a session when no cookie can be sent any more.
async fn start_while_streaming(session: Session) -> HttpResponse {
    let body = stream::once(async move {
        session.insert("n", &1)?;
        let committed = session.commit().await;
        let added = session.add("n", 1).await;
        let refused = |done: bool| if done { "done" } else { "refused" };
        let committed = refused(!matches!(committed, Err(Error::Session(SessionError::HeadSent))));
        let added = refused(!matches!(added, Err(Error::Session(SessionError::HeadSent))));
        Ok::<_, Error>(Bytes::from(format!("commit {committed}, add {added}")))
    });
    HttpResponse::Ok().streaming(Box::pin(body))
}

/// Asks for the session only when its response head is gone.
async fn ask_while_streaming(request: HttpRequest) -> HttpResponse {
    let body = stream::once(async move {
        let added = match request.session() {
            Some(session) => session.add("n", 1).await,
            None => return Ok(Bytes::from("no session")),
        };
        let refused = matches!(added, Err(Error::Session(SessionError::HeadSent)));
        Ok::<_, Error>(Bytes::from(if refused { "refused" } else { "done" }))
    });
    HttpResponse::Ok().streaming(Box::pin(body))
}

#[actix_web::test]
async fn h22_session_opened_after_the_head_creates_nothing() {
    let site = Site::start(routes);
    let answer = site.get("/first-asked-late").await;
    assert!(answer.body.contains("refused"), "{}", answer.body);
    assert_eq!(site.store.calls(), [""; 0]);
}

#[actix_web::test]
async fn h22_body_can_commit_after_the_head() {
    let site = Site::start(routes);
    let answer = site.get("/long").await;
    assert!(answer.body.contains("committed 12"), "{}", answer.body);
    assert_eq!(site.store.calls(), ["create", "commit", "commit"]);
    assert_eq!(site.get_as(&answer.cookie().unwrap(), "/read").await.body, "n=12");
}

#[actix_web::test]
async fn h22_no_session_is_created_after_the_head() {
    let site = Site::start(routes);
    let answer = site.get("/late").await;
    assert!(answer.body.contains("commit refused, add refused"), "{}", answer.body);
    assert_eq!((answer.status, answer.header("set-cookie")), (200, None));
    assert_eq!(site.store.calls(), [""; 0]);
}
