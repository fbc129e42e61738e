//! A store that fails, and calls that it refuses.

use actix_web::{ResponseError, web};
use session_actix::{Error, Session};
use session_core::{Rejection, SessionError, StoreError};

use crate::{
    site::{Answer, Site},
    store::{DRIVER_WORDS, Fault},
};

fn routes(routes: &mut web::ServiceConfig) {
    routes
        .route(
            "/text",
            web::get().to(async |session: Session| session.insert("n", "text").map(|()| "text")),
        )
        .route(
            "/big",
            web::get().to(async |session: Session| {
                session.insert("big", &"x".repeat(70_000)).map(|()| "big")
            }),
        )
        .route(
            "/bad-name",
            web::get()
                .to(async |session: Session| session.insert("two\nlines", &1).map(|()| "named")),
        )
        .route("/wrong-type", web::get().to(wrong_type));
}

async fn wrong_type(session: Session) -> Result<String, Error> {
    Ok(session.get::<String>("n").await?.unwrap_or_default())
}

/// Every way to need the store: while the handler runs, or when the response is built.
const USES: [&str; 4] = ["/read", "/add", "/text", "/logout"];

/// Makes the store fail, and checks the status and the `Retry-After` header of each use of it.
async fn assert_each_use_answers(
    site: &Site,
    cookie: &str,
    expected: (u16, Option<&str>),
    fault: Fault,
) {
    site.store.fail(fault);
    for path in USES {
        let answer = site.get_as(cookie, path).await;
        assert_eq!((answer.status, answer.header("retry-after")), expected, "{fault:?} {path}");
        assert_opaque(&answer);
    }
}

#[actix_web::test]
async fn h18_h19_h20_outage_is_a_503_and_keeps_the_cookie() {
    let site = Site::start(routes);
    let cookie = site.sign_on().await;
    for fault in [Fault::Unavailable, Fault::Timeout] {
        assert_each_use_answers(&site, &cookie, (503, Some("1")), fault).await;
        let answer = site.get("/start").await;
        assert_eq!(answer.status, 503, "{fault:?}: no cookie for an id that was not saved");
        assert_opaque(&answer);
        assert_eq!(site.get_as(&cookie, "/plain").await.status, 200, "{fault:?}");
        site.store.fail(None);
        assert_eq!(
            site.get_as(&cookie, "/read").await.body,
            "n=1",
            "{fault:?}: the same cookie, nothing changed"
        );
    }
}

#[actix_web::test]
async fn corrupt_record_or_broken_store_is_a_500() {
    let site = Site::start(routes);
    let cookie = site.sign_on().await;
    for fault in [Fault::Corrupt, Fault::Other] {
        assert_each_use_answers(&site, &cookie, (500, None), fault).await;
        site.store.fail(None);
        assert_eq!(site.get_as(&cookie, "/read").await.body, "n=1", "{fault:?}");
    }
}

#[actix_web::test]
async fn rejected_call_is_a_4xx_and_changes_nothing() {
    let site = Site::start(routes);
    let cookie = site.sign_on().await;
    for (path, status) in [("/big", 413), ("/bad-name", 400)] {
        for answer in [site.get_as(&cookie, path).await, site.get(path).await] {
            assert_eq!(answer.status, status, "{path}");
            assert_opaque(&answer);
        }
        assert_eq!(site.get_as(&cookie, "/read").await.body, "n=1", "{path}");
    }
    let answer = site.get_as(&cookie, "/wrong-type").await;
    assert_eq!(answer.status, 500, "the application asks for what it did not put in");
    assert_opaque(&answer);
    assert_eq!(site.get_as(&cookie, "/text").await.status, 200);
    let answer = site.get_as(&cookie, "/add").await;
    assert_eq!(answer.status, 400, "a text is nothing to add to");
    assert_opaque(&answer);
}

#[test]
fn status_matches_the_cause_of_the_error() {
    let store = |error: StoreError| Error::from(SessionError::from(error));
    let full = Rejection::Full { store: "memory".into(), what: "max_sessions = 1".into() };
    let name = session_core::Name::new("n").unwrap();
    let statuses = [
        (store(full.into()), 503),
        (store(Rejection::Overflow { name: name.clone() }.into()), 400),
        (store(Rejection::NotAnInteger { name }.into()), 400),
        (store(Rejection::DataTooLarge { bytes: 2, limit: 1 }.into()), 413),
        (store(Rejection::PrincipalWithoutRotation.into()), 500),
        (Error::from(SessionError::Gone), 409),
        (Error::from(SessionError::Superseded), 409),
        (Error::from(SessionError::Contended { name: "n".to_owned(), attempts: 200 }), 409),
        (Error::from(SessionError::PlainHttp), 403),
        (Error::from(SessionError::HeadSent), 500),
    ];
    for (error, status) in statuses {
        assert_eq!(error.status_code().as_u16(), status, "{error}");
        assert_eq!(error.error_response().status().as_u16(), status, "{error}");
    }
}

/// The client learns nothing of the store, and its cookie stays as it is.
fn assert_opaque(answer: &Answer) {
    assert_eq!(answer.header("set-cookie"), None);
    for word in [DRIVER_WORDS, "test store", "memory", "db-7"] {
        assert!(!answer.body.contains(word), "{}", answer.body);
    }
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}
