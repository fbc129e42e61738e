//! Cookies that are https only, and whose word counts for https.

use std::{net::SocketAddr, sync::Arc};

use actix_web::{
    App,
    body::MessageBody,
    dev::{Service, ServiceResponse},
    http::header::{self, HeaderValue},
    test::{TestRequest, init_service},
};
use session_core::cookie::{CookieConfig, Key};

use crate::{routes, site::sessions, store::Store};

const PROXY: &str = "10.0.0.7:40000";

/// One request from `peer` with these values of `X-Forwarded-Proto` to a site with the default
/// cookie, whose proxies are 10.0.0.0/8 and `fd00::/8`; with the cookie of a session it has.
struct Request {
    peer: &'static str,
    forwarded: &'static [&'static str],
}

impl Request {
    /// Status, body and `Set-Cookie` of `path`, and what the store was asked.
    async fn get(&self, path: &str) -> (u16, String, Option<String>, Vec<&'static str>) {
        let store = Arc::new(Store::new());
        let proxies = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap());
        let sessions = sessions(&store, Key::random().unwrap())
            .cookie(CookieConfig::default())
            .trusted_proxies(proxies)
            .build()
            .unwrap();
        let site = init_service(App::new().wrap(sessions).configure(routes::common)).await;
        let over_tls = TestRequest::get()
            .uri("/start")
            .peer_addr(PROXY.parse().unwrap())
            .insert_header(("X-Forwarded-Proto", "https"));
        let started = answer(site.call(over_tls.to_request()).await.unwrap());
        let cookie = started.2.unwrap().split(';').next().unwrap().to_owned();
        store.calls();

        let peer: SocketAddr = self.peer.parse().unwrap();
        let mut request =
            TestRequest::get().uri(path).peer_addr(peer).insert_header((header::COOKIE, cookie));
        for value in self.forwarded {
            request = request.append_header((
                "X-Forwarded-Proto",
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            ));
        }
        let (status, body, cookie) = answer(site.call(request.to_request()).await.unwrap());
        (status, body, cookie, store.calls())
    }
}

fn answer<B: MessageBody>(response: ServiceResponse<B>) -> (u16, String, Option<String>) {
    let status = response.status().as_u16();
    let cookie = response
        .headers()
        .get(header::SET_COOKIE)
        .map(|cookie| cookie.to_str().unwrap().to_owned());
    let body =
        response.into_body().try_into_bytes().unwrap_or_else(|_| panic!("a body in one piece"));
    (status, String::from_utf8(body.to_vec()).unwrap(), cookie)
}

#[actix_web::test]
async fn s17_https_only_cookie_is_neither_read_nor_set_over_plain_http() {
    let plain = Request { peer: "198.51.100.1:5000", forwarded: &[] };
    assert_eq!(plain.get("/read").await, (200, "no n".to_owned(), None, vec![]));
    // A sign-out is refused as well: the cookie was not read, so nothing can be ended.
    for path in ["/start", "/add", "/logout"] {
        let (status, body, cookie, calls) = plain.get(path).await;
        assert_eq!(
            (status, body.as_str(), cookie, calls),
            (403, "sessions need https here\n", None, vec![]),
            "{path}"
        );
    }
    assert_eq!(plain.get("/plain").await, (200, "plain".to_owned(), None, vec![]));
}

#[actix_web::test]
async fn s17_cookie_over_https_is_secure() {
    let proxied = Request { peer: PROXY, forwarded: &["https"] };
    assert_eq!(proxied.get("/read").await.1, "n=1");
    let removal = proxied.get("/logout").await.2.unwrap();
    assert_eq!(removal, "__Host-id=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax");
}

#[actix_web::test]
async fn s17_forwarded_scheme_counts_from_trusted_proxies_only() {
    for peer in [PROXY, "[::ffff:10.0.0.7]:40000", "[fd00::1]:40000"] {
        assert_eq!(Request { peer, forwarded: &["https"] }.get("/read").await.1, "n=1", "{peer}");
    }
    for peer in [
        "198.51.100.1:5000",
        "127.0.0.1:5000",
        "[::ffff:198.51.100.1]:5000",
        "[::ffff:0:10.0.0.7]:40000",
        "[fe80::1]:5000",
    ] {
        assert_eq!(Request { peer, forwarded: &["https"] }.get("/read").await.1, "no n", "{peer}");
    }
}

#[actix_web::test]
async fn s17_last_forwarded_scheme_counts() {
    let https: [&[&str]; 5] =
        [&["https"], &["HTTPS"], &["http", "https"], &["http, https"], &["http,\thttps "]];
    for forwarded in https {
        assert_eq!(Request { peer: PROXY, forwarded }.get("/read").await.1, "n=1", "{forwarded:?}");
    }
    let not: [&[&str]; 8] = [
        &[],
        &[""],
        &["http"],
        &["https", "http"],
        &["https, http"],
        &["https,"],
        &["httpss"],
        &["https", "\u{e9}"],
    ];
    for forwarded in not {
        assert_eq!(
            Request { peer: PROXY, forwarded }.get("/read").await.1,
            "no n",
            "{forwarded:?}"
        );
    }
}
