//! Everybody who asks within one request gets the same session.

use actix_web::{HttpMessage, dev::Service, web};
use session_actix::{Error, Session, SessionExt};

use crate::{routes, site::Site};

fn routes(routes: &mut web::ServiceConfig) {
    routes.route("/two", web::get().to(two)).service(
        web::scope("/guarded")
            .wrap_fn(|request, service| {
                if let Some(session) = request.session() {
                    request.extensions_mut().insert(session.insert("n", &5).is_ok());
                }
                service.call(request)
            })
            .route("/", web::get().to(routes::read)),
    );
}

async fn two(one: Session, other: Session) -> Result<String, Error> {
    one.insert("n", &2)?;
    let seen = other.get::<i64>("n").await?;
    other.insert("m", &3)?;
    Ok(format!("{seen:?} {:?}", one.into_inner().get::<i64>("m").await?))
}

#[actix_web::test]
async fn two_extractors_of_a_request_share_one_session() {
    let site = Site::start(routes);
    let cookie = site.sign_on().await;
    assert_eq!(site.get_as(&cookie, "/two").await.body, "Some(2) Some(3)");
    assert_eq!(site.store.calls(), ["commit"]);
}

#[actix_web::test]
async fn middleware_and_handler_share_one_session() {
    let site = Site::start(routes);
    let answer = site.get("/guarded/").await;
    assert_eq!(answer.body, "n=5");
    assert_eq!(site.store.calls(), ["create"]);
    assert_eq!(site.get_as(&answer.cookie().unwrap(), "/read").await.body, "n=5");
}
