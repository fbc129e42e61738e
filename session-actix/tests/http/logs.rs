//! What the log contains, and what it never contains.

use std::sync::Arc;

use actix_web::{
    App, HttpResponse, ResponseError,
    body::MessageBody,
    dev::Service,
    http::{StatusCode, header},
    middleware::from_fn,
    test::{TestRequest, init_service},
    web,
};
use session_actix::Session;
use session_core::{SessionId, cookie::Key};

use crate::{
    log_capture::{forget, listen, logged},
    routes,
    site::sessions,
    store::{DRIVER_WORDS, Fault, Store},
};

async fn panic_now(session: Session) -> HttpResponse {
    let _ = session.insert("n", &2);
    assert!(std::hint::black_box(false), "a handler's own words");
    HttpResponse::Ok().finish()
}

#[actix_web::test]
async fn extractor_without_middleware_is_a_500_with_a_log_line() {
    listen();
    forget();
    let app = init_service(App::new().configure(routes::common)).await;
    let response = app.call(TestRequest::get().uri("/read").to_request()).await.unwrap();
    assert_eq!(response.status().as_u16(), 500);
    let body = response.into_body().try_into_bytes().unwrap();
    assert_eq!(&body[..], b"the request failed\n");
    assert!(logged().contains("no SessionMiddleware wraps this route"), "{}", logged());
}

/// An error of an application that wraps errors of this crate.
#[derive(Debug)]
struct Wrapping(session_actix::Error);

impl std::fmt::Display for Wrapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl ResponseError for Wrapping {
    fn status_code(&self) -> StatusCode {
        self.0.status_code()
    }

    fn error_response(&self) -> HttpResponse {
        self.0.complete(HttpResponse::build(self.status_code()).json(["wrapped"]))
    }
}

#[actix_web::test]
async fn error_that_the_application_wraps_is_logged_once() {
    listen();
    let store = Arc::new(Store::new());
    let read =
        async |session: Session| session.get::<i64>("n").await.map(|_| "read").map_err(Wrapping);
    let app = App::new()
        .wrap(sessions(&store, Key::random().unwrap()).build().unwrap())
        .configure(routes::common)
        .route("/wrapped", web::get().to(read));
    let app = init_service(app).await;
    let started = app.call(TestRequest::get().uri("/start").to_request()).await.unwrap();
    let cookie = started.headers().get(header::SET_COOKIE).unwrap().to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    store.fail(Some(Fault::Corrupt));
    forget();
    let request = TestRequest::get().uri("/wrapped").insert_header((header::COOKIE, cookie));
    let response = app.call(request.to_request()).await.unwrap();
    assert_eq!(response.status().as_u16(), 500);
    assert_eq!(response.headers().get(header::CACHE_CONTROL).unwrap(), "no-store");
    assert_eq!(logged().matches("session call failed").count(), 1, "{}", logged());
}

#[actix_web::test]
async fn h25_log_has_causes_but_no_id_and_no_cookie() {
    listen();
    forget();
    let store = Arc::new(Store::new());
    let key = Key::random().unwrap();
    let app = App::new()
        .wrap(sessions(&store, key).build().unwrap())
        .configure(routes::common)
        .route(
            "/bad-name",
            web::get().to(async |session: Session| session.insert("a\nb", &1).map(|()| "named")),
        )
        .route("/panics", web::get().to(panic_now));
    let app = init_service(app).await;
    let started = app.call(TestRequest::get().uri("/start").to_request()).await.unwrap();
    let cookie = started
        .headers()
        .get(header::SET_COOKIE)
        .unwrap()
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();

    for fault in [
        None,
        Some(Fault::Unavailable),
        Some(Fault::Timeout),
        Some(Fault::Corrupt),
        Some(Fault::Other),
    ] {
        store.fail(fault);
        for path in ["/plain", "/read", "/add", "/start", "/bad-name", "/panics", "/logout"] {
            let request = TestRequest::get()
                .uri(path)
                .insert_header((header::COOKIE, cookie.clone()))
                .to_request();
            // Whether it failed is another test's business.
            drop(app.call(request).await);
        }
    }

    let log = logged();
    for cause in [
        DRIVER_WORDS,
        "did not answer within 2s",
        "the request handler panicked",
        "control character",
    ] {
        assert!(log.contains(cause), "{cause:?} is missing in:\n{log}");
    }
    let value = cookie.strip_prefix("id=2.").unwrap();
    let (id, mac) = value.rsplit_once('.').unwrap();
    let key = SessionId::parse(id.as_bytes()).unwrap().key();
    for secret in [id, mac, key.as_str(), &id[17..], "a handler's own words"] {
        assert!(!log.contains(secret), "a secret is in the log");
    }
}

/// Loggers write responses and errors with `{:?}`.
#[actix_web::test]
async fn h25_debug_of_responses_and_errors_shows_no_cookie() {
    let store = Arc::new(Store::new());
    let app = App::new()
        .wrap(sessions(&store, Key::random().unwrap()).build().unwrap())
        .configure(routes::common)
        .service(web::scope("/fails").wrap(from_fn(routes::tea_after)).configure(routes::common));
    let app = init_service(app).await;

    let response = app.call(TestRequest::get().uri("/start").to_request()).await.unwrap();
    let error = app.call(TestRequest::get().uri("/fails/start").to_request()).await.unwrap_err();
    let shown = format!("{response:?} {error:?} {error}");
    for response in [response.into_parts().1.map_into_boxed_body(), error.error_response()] {
        let cookie = response.headers().get(header::SET_COOKIE).unwrap().to_str().unwrap();
        let value = cookie.split(';').next().unwrap().strip_prefix("id=2.").unwrap();
        assert!(!shown.contains(&value[..16]) && !shown.contains(&value[17..45]), "an id is shown");
    }
}

#[test]
fn c45_debug_of_the_middleware_shows_no_key() {
    let store = Arc::new(Store::new());
    let secret = [b"0123456789abcdef".as_slice(), b"ghijklmnopqrstuv"].concat();
    let shown =
        format!("{:?}", sessions(&store, Key::from_bytes(secret).unwrap()).build().unwrap());
    assert!(shown.contains("CookieCodec") && !shown.contains("abcdef"), "{shown}");
}
