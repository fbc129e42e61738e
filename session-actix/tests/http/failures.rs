//! Requests that fail: which of their changes stay.

use actix_web::{
    HttpResponse,
    body::MessageBody,
    dev::{Service, ServiceRequest, ServiceResponse},
    error::{ErrorImATeapot, ErrorInternalServerError, InternalError},
    http::header,
    middleware::{Next, from_fn},
    web,
};
use futures_util::future::LocalBoxFuture;
use session_actix::{Error, Session, SessionExt};
use session_core::{OnServerError, Policy};

use crate::{routes, site::Site};

/// Every route inserts `n` = 2 before it fails. The inner middlewares fail after their route has
/// served, or before.
fn routes(routes: &mut web::ServiceConfig) {
    routes
        .route(
            "/responds/500",
            web::get().to(async |session: Session| {
                insert(&session).map(|()| HttpResponse::InternalServerError().finish())
            }),
        )
        .route(
            "/responds/404",
            web::get().to(async |session: Session| {
                insert(&session).map(|()| HttpResponse::NotFound().finish())
            }),
        )
        .route(
            "/returns/500",
            web::get().to(async |session: Session| {
                fail(insert(&session), ErrorInternalServerError("boom"))
            }),
        )
        .route(
            "/returns/418",
            web::get().to(async |session: Session| fail(insert(&session), ErrorImATeapot("tea"))),
        )
        .route("/adds-at-once", web::get().to(add_and_fail))
        .route("/panics", web::get().to(panic_late))
        .service(
            web::scope("/middleware-500")
                .wrap(from_fn(boom_after))
                .route("/", web::get().to(inserted)),
        )
        .service(
            web::scope("/middleware-418")
                .wrap(from_fn(routes::tea_after))
                .route("/", web::get().to(inserted)),
        )
        .service(
            web::scope("/error-varies")
                .wrap(from_fn(vary_after))
                .route("/", web::get().to(inserted)),
        )
        .service(
            web::scope("/panics-at-once")
                .wrap_fn(|request, service| {
                    if let Some(session) = request.session() {
                        let _ = session.insert("n", &2);
                    }
                    let served: LocalBoxFuture<'static, _> = Box::pin(service.call(request));
                    assert!(std::hint::black_box(false), "before there is a future");
                    served
                })
                .route("/", web::get().to(routes::read)),
        );
}

fn insert(session: &Session) -> Result<(), Error> {
    session.insert("n", &2)
}

async fn inserted(session: Session) -> Result<&'static str, Error> {
    insert(&session).map(|()| "inserted")
}

async fn boom_after(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse, actix_web::Error> {
    next.call(request).await?;
    Err(ErrorInternalServerError("boom"))
}

async fn vary_after(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse, actix_web::Error> {
    next.call(request).await?;
    let response = HttpResponse::ImATeapot().insert_header((header::VARY, "Cookie")).finish();
    Err(InternalError::from_response("tea", response).into())
}

fn fail(
    inserted: Result<(), Error>,
    error: actix_web::Error,
) -> Result<HttpResponse, actix_web::Error> {
    inserted?;
    Err(error)
}

async fn add_and_fail(session: Session) -> Result<HttpResponse, Error> {
    session.add("n", 1).await?;
    session.insert("half", "work")?;
    Ok(HttpResponse::InternalServerError().body("half done"))
}

async fn panic_late(session: Session) -> Result<String, Error> {
    session.get::<i64>("n").await?;
    insert(&session)?;
    actix_web::rt::task::yield_now().await;
    assert!(std::hint::black_box(false), "after an await");
    Ok(String::new())
}

const FAIL_WITH_5XX: [&str; 5] =
    ["/responds/500", "/returns/500", "/middleware-500/", "/panics", "/panics-at-once/"];
const FAIL_WITH_4XX: [(&str, u16); 3] =
    [("/responds/404", 404), ("/returns/418", 418), ("/middleware-418/", 418)];

#[actix_web::test]
async fn h14_every_kind_of_5xx_drops_recorded_changes() {
    let site = Site::start(routes);
    let cookie = site.sign_on().await;
    for path in FAIL_WITH_5XX {
        let answer = site.get_as(&cookie, path).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (500, None), "{path}");
        assert!(!site.store.calls().contains(&"commit"), "{path}");
        assert_eq!(
            site.get_as(&cookie, "/read").await.body,
            "n=1",
            "{path}: the server goes on, and nothing was saved"
        );
        site.store.calls();
    }
    for path in FAIL_WITH_5XX {
        assert_eq!(site.get(path).await.header("set-cookie"), None, "{path}");
    }
    assert_eq!(site.store.inside.held_sessions(), 1, "no failed request started a session");
}

#[actix_web::test]
async fn h14_4xx_commits_changes_and_sends_the_cookie() {
    let site = Site::start(routes);
    for (path, status) in FAIL_WITH_4XX {
        let cookie = site.sign_on().await;
        assert_eq!(site.get_as(&cookie, path).await.status, status, "{path}");
        assert_eq!(site.store.calls(), ["commit"], "{path}");
        assert_eq!(site.get_as(&cookie, "/read").await.body, "n=2", "{path}");

        let answer = site.get(path).await;
        assert_eq!(
            (answer.status, answer.header("cache-control")),
            (status, Some("no-store")),
            "{path}"
        );
        assert_eq!(answer.header("vary"), Some("Cookie"), "{path}");
        assert_eq!(site.get_as(&answer.cookie().unwrap(), "/read").await.body, "n=2", "{path}");
    }
}

#[actix_web::test]
async fn h14_policy_can_keep_changes_on_a_5xx() {
    let site =
        Site::with_policy(Policy::default().on_server_error(OnServerError::KeepChanges), routes);
    for path in FAIL_WITH_5XX {
        let answer = site.get(path).await;
        assert_eq!(answer.status, 500, "{path}");
        assert_eq!(site.get_as(&answer.cookie().unwrap(), "/read").await.body, "n=2", "{path}");
    }
}

#[actix_web::test]
async fn h14_effects_of_immediate_calls_stay_and_the_cookie_is_sent() {
    let site = Site::start(routes);
    let answer = site.get("/adds-at-once").await;
    assert_eq!((answer.status, answer.body.as_str()), (500, "half done"));
    assert_eq!(site.store.calls(), ["create"]);
    assert_eq!(site.get_as(&answer.cookie().unwrap(), "/add").await.body, "n=2");
}

#[actix_web::test]
async fn h14_body_of_a_panic_contains_no_detail() {
    let site = Site::start(routes);
    for path in ["/panics", "/panics-at-once/"] {
        assert_eq!(site.get(path).await.body, "the request failed\n", "{path}");
    }
}

#[actix_web::test]
async fn s19_vary_is_merged_with_the_value_of_an_error() {
    let site = Site::start(routes);
    let answer = site.get("/error-varies/").await;
    assert_eq!((answer.status, answer.all("vary")), (418, vec!["Cookie"]));
}
