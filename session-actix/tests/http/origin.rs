//! Requests that pages of other origins cause.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    dev::Service,
    http::header,
    test::{TestRequest, init_service},
    web,
};
use session_actix::{CrossOriginGuard, Error, MemoryStore, Session, SessionMiddleware};
use session_core::cookie::Key;

use crate::{
    log_capture,
    site::{Answer, Site},
};

const REFUSAL: &str = "this request is refused because a page of another site caused it\n";

/// Trusts `https://app.example.com`, and the test's own address as a proxy.
fn guard() -> CrossOriginGuard {
    let proxies = ["127.0.0.1/32", "10.0.0.0/8"].map(|net| net.parse().unwrap());
    CrossOriginGuard::builder()
        .trusted_origin("https://app.example.com")
        .trusted_proxies(proxies)
        .build()
        .unwrap()
}

fn routes(routes: &mut web::ServiceConfig) {
    let guarded =
        web::resource("/guarded").wrap(guard()).route(web::get().to(get)).route(web::to(count));
    routes.service(guarded);
}

async fn count(session: Session) -> Result<String, Error> {
    Ok(format!("n={}", session.add("n", 1).await?))
}

/// Opens a WebSocket that says something and ends, if it is asked to.
async fn get(request: HttpRequest) -> HttpResponse {
    if !request.headers().contains_key(header::UPGRADE) {
        return HttpResponse::Ok().body("page");
    }
    let frames =
        futures_util::stream::iter([Ok::<_, std::io::Error>(bytes::Bytes::from_static(b"frame"))]);
    HttpResponse::SwitchingProtocols().upgrade("websocket").streaming(frames)
}

/// A request whose head has these lines beside `Host: localhost`.
async fn ask(site: &Site, method: &str, lines: &[&str]) -> Answer {
    let head = lines.iter().flat_map(|line| [line, "\r\n"]).collect::<String>();
    site.ask(method, "/guarded", head.as_bytes()).await
}

#[actix_web::test]
async fn s24_refused_request_reaches_no_handler_and_no_store() {
    let site = Site::start(routes);
    let cookie = format!("Cookie: {}", site.sign_on().await);
    let refused: [&[&str]; 10] = [
        &["Sec-Fetch-Site: cross-site"],
        &["Sec-Fetch-Site: same-site"],
        &["Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"],
        &["Sec-Fetch-Site: cross-site", "Origin: http://localhost"],
        &["Origin: https://evil.example"],
        &["Origin: http://localhost:8080"],
        &["Origin: null"],
        &["Origin:"],
        &["Origin: http://localhost", "Origin: http://localhost"],
        &["X-Forwarded-Proto: https", "Origin: http://localhost"],
    ];
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        for lines in refused {
            let answer =
                ask(&site, method, &[lines, &[&cookie, "Content-Length: 0"]].concat()).await;
            assert_eq!((answer.status, answer.body.as_str()), (403, REFUSAL), "{method} {lines:?}");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
            assert_eq!((answer.header("set-cookie"), answer.header("vary")), (None, None));
        }
    }
    assert_eq!(site.store.calls(), [""; 0]);
}

#[actix_web::test]
async fn s24_own_and_trusted_requests_are_served() {
    let site = Site::start(routes);
    let cookie = format!("Cookie: {}", site.sign_on().await);
    let served: [&[&str]; 8] = [
        &[],
        &["Sec-Fetch-Site: same-origin"],
        &["Sec-Fetch-Site: none"],
        &["Sec-Fetch-Site: cross-site", "Origin: https://app.example.com"],
        &["Origin: https://app.example.com"],
        &["Origin: http://localhost:80"],
        &["X-Forwarded-Proto: http", "Origin: http://localhost"],
        &["X-Forwarded-Proto: https", "Origin: https://localhost"],
    ];
    for (n, lines) in (2..).zip(served) {
        let answer = ask(&site, "POST", &[lines, &[&cookie, "Content-Length: 0"]].concat()).await;
        assert_eq!((answer.status, answer.body), (200, format!("n={n}")), "{lines:?}");
    }
    let page =
        ask(&site, "GET", &["Sec-Fetch-Site: cross-site", "Origin: https://evil.example"]).await;
    assert_eq!((page.status, page.body.as_str()), (200, "page"), "a link from another site works");
}

#[actix_web::test]
async fn s24_websocket_of_another_origin_is_refused() {
    let site = Site::start(routes);
    let upgrade = |origin: &'static [&'static str]| {
        let head = [
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ];
        [&head, origin].concat()
    };
    for origin in
        [&["Origin: https://evil.example"][..], &["Sec-Fetch-Site: cross-site"], &["Origin: null"]]
    {
        let answer = ask(&site, "GET", &upgrade(origin)).await;
        assert_eq!((answer.status, answer.body.as_str()), (403, REFUSAL), "{origin:?}");
    }
    for origin in [
        &["Origin: http://localhost"][..],
        &["Origin: https://app.example.com"],
        &["Sec-Fetch-Site: same-origin"],
        &[],
    ] {
        assert_eq!(ask(&site, "GET", &upgrade(origin)).await.status, 101, "{origin:?}");
    }
}

#[actix_web::test]
async fn s24_scheme_counts_if_a_trusted_proxy_sends_it() {
    let app =
        init_service(App::new().wrap(guard()).route("/", web::post().to(async || "done"))).await;
    let table = [
        ("10.0.0.7:40000", Some("https"), "https://example.com", 200),
        ("10.0.0.7:40000", Some("https"), "http://example.com", 403),
        ("10.0.0.7:40000", Some("http"), "https://example.com", 403),
        ("10.0.0.7:40000", Some("https, http"), "http://example.com", 200),
        ("10.0.0.7:40000", Some("gopher"), "http://example.com", 200),
        ("10.0.0.7:40000", None, "http://example.com", 200),
        ("198.51.100.1:5000", Some("https"), "http://example.com", 200),
        ("198.51.100.1:5000", Some("https"), "http://example.org", 403),
    ];
    for (peer, forwarded, origin, status) in table {
        let mut request = TestRequest::post()
            .peer_addr(peer.parse().unwrap())
            .insert_header(("Host", "example.com"));
        if let Some(scheme) = forwarded {
            request = request.insert_header(("X-Forwarded-Proto", scheme));
        }
        let response =
            app.call(request.insert_header(("Origin", origin)).to_request()).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{peer} {forwarded:?} {origin}");
    }
}

#[actix_web::test]
async fn s24_host_of_the_request_target_overrides_the_header() {
    let app =
        init_service(App::new().wrap(guard()).route("/", web::post().to(async || "done"))).await;
    for (origin, status) in [("https://example.com", 200), ("https://proxy.internal", 403)] {
        let request = TestRequest::post()
            .uri("https://example.com/")
            .insert_header(("Host", "proxy.internal"));
        let response =
            app.call(request.insert_header(("Origin", origin)).to_request()).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{origin}");
    }
}

#[actix_web::test]
async fn s24_refusal_is_logged_without_cookie_and_path() {
    log_capture::listen();
    log_capture::forget();
    let app = init_service(
        App::new().wrap(guard()).route("/reset/{token}", web::post().to(async || "done")),
    )
    .await;
    for (origin, peer) in [
        ("https://evil.example", "198.51.100.1:5000"),
        ("https://evil.example", "198.51.100.1:5001"),
        ("http://example.com", "10.0.0.7:40000"),
    ] {
        let request = TestRequest::post()
            .uri("/reset/secret-token")
            .peer_addr(peer.parse().unwrap())
            .insert_header(("Host", "example.com"));
        let request = request
            .insert_header(("Cookie", "id=secret-cookie"))
            .insert_header(("X-Forwarded-Proto", "https"));
        app.call(request.insert_header(("Origin", origin)).to_request()).await.unwrap();
    }
    let logged = log_capture::logged();
    let lines: Vec<_> =
        logged.lines().filter(|line| line.contains("cross-origin request refused")).collect();
    let expected = [
        &[
            "WARN",
            "for https://example.com comes from https://evil.example",
            "forward the header Host",
        ][..],
        // At most one such warning a minute.
        &["DEBUG", "comes from https://evil.example"],
        &["WARN", "comes from http://example.com: the schemes differ", "X-Forwarded-Proto"],
    ];
    assert_eq!(lines.len(), expected.len(), "{logged}");
    for (line, words) in lines.iter().zip(expected) {
        for word in words {
            assert!(line.contains(word), "{word:?} is missing in {line}");
        }
    }
    assert!(!logged.contains("secret"), "{logged}");
}

#[test]
fn s24_invalid_trusted_origin_fails_the_build() {
    let error = CrossOriginGuard::builder().trusted_origin("app.example.com").build().unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("trusted origin \"app.example.com\" is not valid: it has no scheme; "),
        "{error}"
    );
}

/// nginx with `proxy_pass http://unix:…` has no address.
#[actix_web::test]
async fn d03_proxy_over_a_unix_socket_is_trusted_by_one_setting() {
    let folder = tempfile::tempdir().unwrap();
    for (trusted, status) in [(false, "403"), (true, "200")] {
        let path = folder.path().join(format!("app-{trusted}.sock"));
        let server = HttpServer::new(move || {
            let (sessions, guard) = (
                SessionMiddleware::builder(MemoryStore::new(), Key::random().unwrap()),
                CrossOriginGuard::builder(),
            );
            let (sessions, guard) = if trusted {
                (sessions.trusted_unix_proxy(), guard.trusted_unix_proxy())
            } else {
                (sessions, guard)
            };
            let insert = async |session: Session| session.insert("n", &1).map(|()| "inserted");
            App::new()
                .wrap(sessions.build().unwrap())
                .wrap(guard.build().unwrap())
                .route("/", web::post().to(insert))
        })
        .workers(1)
        .disable_signals()
        .bind_uds(&path)
        .unwrap()
        .run();
        let handle = server.handle();
        let serving = actix_web::rt::spawn(server);
        let response = actix_web::rt::task::spawn_blocking(move || {
            let mut stream = UnixStream::connect(path).unwrap();
            stream
                .write_all(
                    b"POST / HTTP/1.1\r\nHost: example.com\r\nOrigin: https://example.com\r\n\
                      X-Forwarded-Proto: https\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                )
                .unwrap();
            let mut response = String::new();
            stream.read_to_string(&mut response).unwrap();
            response
        })
        .await
        .unwrap();
        assert!(response.starts_with(&format!("HTTP/1.1 {status}")), "{trusted}: {response}");
        assert_eq!(response.contains("__Host-id="), trusted, "{response}");
        handle.stop(false).await;
        serving.await.unwrap().unwrap();
    }
}
