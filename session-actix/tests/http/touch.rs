//! What a request costs at the store, and when it makes a session.

use actix_web::web;
use session_actix::{Error, Session};
use session_core::{SessionId, cookie::Key};

use crate::site::{Site, codec, sessions};

fn routes(routes: &mut web::ServiceConfig) {
    routes
        .route(
            "/blind",
            web::get().to(async |session: Session| session.insert("m", "x").map(|()| "inserted")),
        )
        .route("/same", web::get().to(read_and_insert_the_same))
        .route("/next", web::get().to(read_and_insert_the_next));
}

async fn read_and_insert_the_same(session: Session) -> Result<&'static str, Error> {
    if let Some(n) = session.get::<i64>("n").await? {
        session.insert("n", &n)?;
    }
    Ok("same")
}

async fn read_and_insert_the_next(session: Session) -> Result<&'static str, Error> {
    let n = session.get::<i64>("n").await?.unwrap_or(0);
    session.insert("n", &(n + 1))?;
    Ok("next")
}

#[actix_web::test]
async fn h01_route_without_session_makes_no_store_call() {
    let site = Site::start(routes);
    let cookie = site.sign_on().await;
    for _ in 0..100 {
        for answer in [site.get("/plain").await, site.get_as(&cookie, "/plain").await] {
            assert_eq!((answer.status, answer.body.as_str()), (200, "plain"));
            for header in ["set-cookie", "vary", "cache-control"] {
                assert_eq!(answer.header(header), None);
            }
        }
    }
    assert_eq!(site.store.calls(), [""; 0]);
}

#[actix_web::test]
async fn h02_anonymous_read_creates_no_session() {
    let site = Site::start(routes);
    let answer = site.get("/read").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "no n"));
    assert_eq!(answer.header("set-cookie"), None);
    assert_eq!(answer.header("vary"), Some("Cookie"));
    assert_eq!(site.store.calls(), [""; 0]);
    assert_eq!(site.store.inside.held_sessions(), 0);
}

#[actix_web::test]
async fn h03_first_insert_makes_one_create_and_one_cookie() {
    let site = Site::start(routes);
    let answer = site.get("/start").await;
    assert_eq!(answer.status, 200);
    assert_eq!(site.store.calls(), ["create"]);
    let cookie = answer.header("set-cookie").unwrap();
    assert!(
        cookie.starts_with("id=2.") && cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax"),
        "{}",
        cookie.len()
    );
    assert_eq!(site.get_as(&answer.cookie().unwrap(), "/read").await.body, "n=1");
}

#[actix_web::test]
async fn h04_h05_reads_and_equal_inserts_write_nothing() {
    let site = Site::start(routes);
    let cookie = site.sign_on().await;
    let requests: [(&str, &[&str]); 5] = [
        ("/read", &["load"]),
        ("/same", &["load"]),
        ("/next", &["load", "commit"]),
        ("/blind", &["commit"]),
        ("/add", &["commit"]),
    ];
    for (path, calls) in requests {
        let answer = site.get_as(&cookie, path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(site.store.calls(), calls, "{path}");
        assert_eq!(answer.header("set-cookie"), None, "{path}");
    }
    assert_eq!(site.get_as(&cookie, "/read").await.body, "n=3");
}

#[actix_web::test]
async fn s01_made_up_id_is_never_adopted() {
    let store = std::sync::Arc::new(crate::store::Store::new());
    let key = Key::random().unwrap();
    let codec = codec(&key);
    let site = Site::over(&store, sessions(&store, key).build().unwrap(), routes);
    let made_up = codec.issue(&SessionId::random().unwrap(), None);
    let made_up = made_up.split(';').next().unwrap();
    assert_eq!(site.get_as(made_up, "/read").await.body, "no n");
    let cookie = site.get_as(made_up, "/next").await.cookie().unwrap();
    assert!(cookie != made_up, "the browser gets an id of the server's making");
    assert_eq!(site.get_as(made_up, "/read").await.body, "no n");
}

#[actix_web::test]
async fn s03_s04_unverified_cookie_makes_no_store_call() {
    let site = Site::start(routes);
    let cookie = site.sign_on().await;
    let broken = [
        cookie[..cookie.len() - 1].to_owned(),
        cookie.replace("id=2.", "id=0."),
        cookie.replace("id=2.", "ID=2."),
        cookie.replace("id=", "id =").clone(),
        "id=".to_owned(),
        "id=\"\"".to_owned(),
        format!("id={}", "A".repeat(4_000)),
    ];
    for cookie in broken {
        let answer = site.get_as(&cookie, "/read").await;
        assert_eq!(
            (answer.status, answer.body.as_str(), answer.header("set-cookie")),
            (200, "no n", None)
        );
    }
    assert_eq!(site.store.calls(), [""; 0]);
}

#[actix_web::test]
async fn s10_s11_other_cookies_do_not_hide_the_session_cookie() {
    let site = Site::start(routes);
    let cookie = site.sign_on().await;
    let heads: [Vec<u8>; 5] = [
        format!("Cookie: id=attacker; {cookie}\r\n").into(),
        format!("Cookie: {cookie}; id=attacker\r\n").into(),
        format!("Cookie: id=attacker\r\nCookie: {cookie}\r\n").into(),
        [b"Cookie: \xff\xfe; =; ;;junk; ", cookie.as_bytes(), b"\r\n"].concat(),
        format!("Cookie: {}{cookie}\r\n", "a=b; ".repeat(200)).into(),
    ];
    for head in heads {
        assert_eq!(site.ask("GET", "/read", &head).await.body, "n=1", "{}", head.escape_ascii());
    }
}
