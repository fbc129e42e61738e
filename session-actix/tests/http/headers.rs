//! What the session adds to a response's headers, and what it leaves alone.

use actix_web::{HttpResponse, http::header, web};
use session_actix::{Error, Session};

use crate::site::Site;

fn routes(routes: &mut web::ServiceConfig) {
    get_routes!(routes;
        "/vary/{fields}" => vary,
        "/public" => public,
        "/public-read" => public_read,
        "/own-cookie" => own_cookie,
        "/expires" => expires,
    );
}

async fn vary(session: Session, fields: web::Path<String>) -> Result<HttpResponse, Error> {
    session.insert("n", &1)?;
    let mut response = HttpResponse::Ok();
    for field in fields.split('+') {
        response.append_header((header::VARY, field));
    }
    Ok(response.finish())
}

async fn public(session: Session) -> Result<HttpResponse, Error> {
    session.insert("n", &1)?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "public, max-age=600")).finish())
}

async fn public_read(session: Session) -> Result<HttpResponse, Error> {
    session.get::<i64>("n").await?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "public, max-age=600")).finish())
}

async fn expires(session: Session) -> Result<HttpResponse, Error> {
    session.get::<i64>("n").await?;
    Ok(HttpResponse::NotFound().insert_header((header::EXPIRES, "0")).finish())
}

async fn own_cookie(session: Session) -> Result<HttpResponse, Error> {
    session.insert("n", &1)?;
    Ok(HttpResponse::Ok().append_header((header::SET_COOKIE, "theme=dark")).finish())
}

#[actix_web::test]
async fn s19_response_with_a_cookie_is_not_cached() {
    let site = Site::start(routes);
    for path in ["/start", "/public"] {
        let answer = site.get(path).await;
        assert!(answer.cookie().is_some(), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(answer.header("vary"), Some("Cookie"), "{path}");
    }
}

#[actix_web::test]
async fn s19_response_of_a_read_varies_by_cookie_and_keeps_its_caching() {
    let site = Site::start(routes);
    let cookie = site.sign_on().await;
    let answer = site.get_as(&cookie, "/public-read").await;
    assert_eq!(answer.header("cache-control"), Some("public, max-age=600"));
    assert_eq!((answer.header("vary"), answer.header("set-cookie")), (Some("Cookie"), None));
}

#[actix_web::test]
async fn s19_page_that_used_the_session_is_private() {
    let site = Site::start(routes);
    let cookie = site.sign_on().await;
    for (path, status) in [("/read", 200), ("/add", 200), ("/expires", 404)] {
        let answer = site.get_as(&cookie, path).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (status, None), "{path}");
        assert_eq!(answer.header("cache-control"), Some("private, no-cache"), "{path}");
        assert_eq!(answer.header("vary"), Some("Cookie"), "{path}");
    }
    assert_eq!(
        site.get("/read").await.header("cache-control"),
        Some("private, no-cache"),
        "the page of a visitor without a session"
    );
    assert_eq!(site.get_as(&cookie, "/logout").await.header("cache-control"), Some("no-store"));
}

#[actix_web::test]
async fn s19_vary_is_merged_with_the_applications_value() {
    let site = Site::start(routes);
    let said: [(&str, &[&str]); 5] = [
        ("Accept", &["Accept", "Cookie"]),
        ("Accept+Origin", &["Accept", "Origin", "Cookie"]),
        ("accept,%20cookie", &["accept, cookie"]),
        ("Accept+COOKIE", &["Accept", "COOKIE"]),
        ("*", &["*"]),
    ];
    for (fields, sent) in said {
        assert_eq!(site.get(&format!("/vary/{fields}")).await.all("vary"), sent, "{fields}");
    }
}

#[actix_web::test]
async fn application_cookies_are_kept() {
    let site = Site::start(routes);
    let answer = site.get("/own-cookie").await;
    let cookies = answer.all("set-cookie");
    assert_eq!((cookies.len(), cookies[0]), (2, "theme=dark"));
    assert!(cookies[1].starts_with("id=2."));
}
