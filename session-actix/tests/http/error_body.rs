//! The application's own response for the errors of the library.

use std::sync::{Arc, Mutex};

use actix_web::{
    App, HttpResponse, ResponseError,
    body::MessageBody,
    dev::{Service, ServiceRequest, ServiceResponse},
    http::header,
    middleware::{Next, from_fn},
    test::{TestRequest, call_and_read_body, init_service},
    web,
};
use session_actix::{Error, Session, SessionError, SessionMiddleware};
use session_core::cookie::Key;

use crate::{
    log_capture, routes,
    site::{Site, sessions},
    store::{Fault, Store},
};

/// Every error as JSON, with the cause where the client can act on it.
fn json(error: &Error) -> HttpResponse {
    let code = match error {
        Error::Session(SessionError::Gone) => "session_ended",
        Error::Panic => "panic",
        _ => "session",
    };
    HttpResponse::build(error.status_code()).json(serde_json::json!({ "error": code }))
}

fn with_json(store: &Arc<Store>) -> SessionMiddleware {
    sessions(store, Key::random().unwrap()).error_response(json).build().unwrap()
}

fn failing(routes: &mut web::ServiceConfig) {
    get_routes!(routes;
        "/insert" => insert,
        "/ends-meanwhile" => end_meanwhile,
        "/bad-name" => bad_name,
        "/panics" => panic,
        "/store-alone" => store_alone,
    )
    .service(
        web::scope("/inner-error").wrap(from_fn(fail_after)).route("/", web::get().to(insert)),
    );
}

/// Its commit comes after the handler.
async fn insert(session: Session) -> actix_web::Result<&'static str> {
    session.insert("n", &2)?;
    Ok("inserted")
}

async fn end_meanwhile(
    session: Session,
    store: web::Data<Store>,
) -> actix_web::Result<&'static str> {
    session.get::<i64>("n").await?;
    store.clock.advance(std::time::Duration::from_secs(3_600));
    session.insert("n", &2)?;
    Ok("inserted")
}

async fn bad_name(session: Session) -> actix_web::Result<&'static str> {
    session.insert("two\nlines", &1)?;
    Ok("inserted")
}

async fn panic(session: Session) -> actix_web::Result<&'static str> {
    session.insert("n", &2)?;
    panic!("as a handler with a bug does");
}

/// Fails without a session.
async fn store_alone(store: web::Data<Store>) -> actix_web::Result<&'static str> {
    session_actix::SessionStore::ping(&**store).await.map_err(Error::from)?;
    Ok("up")
}

async fn fail_after(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse, actix_web::Error> {
    next.call(request).await?;
    Err(Error::from(SessionError::Gone).into())
}

#[actix_web::test]
async fn every_library_error_gets_the_body_of_the_application() {
    let store = Arc::new(Store::new());
    let site = Site::over(&store, with_json(&store), failing);
    let cases = [
        ("/ends-meanwhile", None, 409, "session_ended"),
        ("/inner-error/", None, 409, "session_ended"),
        ("/bad-name", None, 400, "session"),
        ("/panics", None, 500, "panic"),
        ("/read", Some(Fault::Unavailable), 503, "session"),
        ("/insert", Some(Fault::Timeout), 503, "session"),
        ("/insert", Some(Fault::Corrupt), 500, "session"),
        ("/store-alone", Some(Fault::Unavailable), 503, "session"),
    ];
    for (path, fault, status, code) in cases {
        store.fail(None);
        let cookie = site.sign_on().await;
        store.fail(fault);
        let answer = site.get_as(&cookie, path).await;
        assert_eq!(answer.status, status, "{path} {fault:?}");
        assert_eq!(answer.body, format!("{{\"error\":\"{code}\"}}"), "{path} {fault:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
        let retry = (status == 503).then_some("1");
        assert_eq!(answer.header("retry-after"), retry, "{path}");
        assert!(answer.header("cache-control").unwrap().contains("no-"), "{path}");
        assert_eq!(answer.header("set-cookie"), None, "{path}");
    }
}

#[actix_web::test]
async fn outer_middleware_sees_the_error_of_a_failed_commit() {
    log_capture::listen();
    let store = Arc::new(Store::new());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let app =
        App::new().wrap(with_json(&store)).configure(failing).wrap_fn(move |request, next| {
            let (log, response) = (Arc::clone(&log), next.call(request));
            async move {
                let response = response.await?;
                let error = response.response().error().and_then(|error| error.as_error::<Error>());
                log.lock().unwrap().push(error.map(ToString::to_string));
                Ok(response)
            }
        });
    let app = init_service(app.app_data(web::Data::from(Arc::clone(&store)))).await;
    store.fail(Fault::Timeout);
    let body = call_and_read_body(&app, TestRequest::get().uri("/insert").to_request()).await;
    assert_eq!(body, "{\"error\":\"session\"}");
    let seen = seen.lock().unwrap();
    assert!(seen[0].as_ref().unwrap().contains("2s"), "{seen:?}");
}

#[actix_web::test]
async fn uncaught_panic_saves_nothing_and_closes_the_connection() {
    let store = Arc::new(Store::new());
    let sessions = SessionMiddleware::builder(Arc::clone(&store), Key::random().unwrap())
        .development()
        .build()
        .unwrap();
    let site = Site::over(&store, sessions, failing);
    let cookie = site.sign_on().await;
    let connection = site.ask_bytes("/panics", &cookie).await;
    assert_eq!(connection, b"", "no response");
    assert_eq!(store.calls(), [""; 0]);
    assert_eq!(site.get_as(&cookie, "/read").await.body, "n=1", "the server continues");
}

#[actix_web::test]
async fn question_mark_works_in_handlers_with_an_actix_result() {
    let store = Arc::new(Store::new());
    let app = App::new().wrap(with_json(&store)).configure(routes::common).configure(failing);
    let app = init_service(app.app_data(web::Data::from(Arc::clone(&store)))).await;
    let response = app.call(TestRequest::get().uri("/insert").to_request()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.headers().contains_key(header::SET_COOKIE));
}
