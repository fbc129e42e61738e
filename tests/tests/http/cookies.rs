//! S01, S04, S05 and S09 to S11: foreign cookies, changed cookies, and several cookies at once.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use session_core::{
    SessionId,
    cookie::{CookieCodec, CookieConfig, Key},
};
use tests::{
    Browser, Demo, KEY, Page, Setup,
    client::{Connection, Request, send},
    cookie::{SetCookie, id_of},
};

/// The session that the demo finds for a request with these `Cookie` headers.
pub(crate) async fn page_for(demo: &Demo, headers: &[Vec<u8>]) -> Page {
    let request = headers
        .iter()
        .fold(Request::get("/session"), |request, header| request.cookie(header.clone()));
    let response = send(demo.address, &request).await.expect("an answer");
    assert_eq!(response.status, 200, "{}", headers.join(&b'|').escape_ascii());
    response.json()
}

async fn is_bob(demo: &Demo, headers: &[Vec<u8>]) -> bool {
    page_for(demo, headers).await.principal.as_deref() == Some("bob")
}

/// The correctly signed cookie value for an id. An attacker with the key can make it.
pub(crate) fn signed(key: &str, id: &SessionId) -> String {
    let codec = CookieCodec::signed(
        CookieConfig::development(),
        &Key::parse(key).expect("a strong key").into(),
    )
    .expect("a cookie");
    SetCookie::parse(&codec.issue(id, None)).value
}

pub(crate) fn random_id() -> SessionId {
    SessionId::random().expect("random bytes")
}

/// A cookie value in the correct format with a wrong signature.
pub(crate) fn forged() -> String {
    let text = |bytes: usize| {
        URL_SAFE_NO_PAD
            .encode(std::iter::repeat_with(|| fastrand::u8(..)).take(bytes).collect::<Vec<u8>>())
    };
    format!("2.{}.{}.{}", text(12), text(21), text(32))
}

on_every_setup!(
    s01_id_chosen_by_a_client_is_never_adopted,
    s04_s05_only_the_signed_value_is_accepted,
    s09_similar_cookie_names_are_ignored,
    s10_s11_valid_cookie_is_found_among_other_cookies_and_junk,
);

/// The check of a cookie needs only one worker.
const ONE: &[&str] = &["--workers", "1"];

async fn s01_id_chosen_by_a_client_is_never_adopted(setup: &Setup) {
    let demo = setup.start().await;
    for value in [forged(), signed(KEY, &random_id())] {
        let mut browser = Browser::holding(demo.address, &value);
        assert!(browser.page().await.is_anonymous());
        assert_eq!(browser.cookie(), value, "an anonymous read changes no cookie");
        for request in [
            Request::put("/session/n", "1"),
            Request::post("/login").json(r#"{"user":"bob"}"#),
            Request::post("/session/n/add?by=1"),
        ] {
            let mut browser = browser.clone();
            browser.send(request).await;
            assert_ne!(
                id_of(browser.cookie()),
                id_of(&value),
                "the server chose the id of the session"
            );
        }
        assert!(browser.page().await.is_anonymous(), "no session exists under the attacker's id");
    }
}

async fn s04_s05_only_the_signed_value_is_accepted(setup: &Setup) {
    let demo = setup.start_with(ONE).await;
    let cookie = demo.signed_in("bob").await.cookie().to_owned();
    every_flipped_byte_and_every_truncation_is_anonymous(&demo, &cookie).await;
    let (id, rest) = (id_of(&cookie), &cookie[2..]);
    let changed = [
        format!("2.{id}"),
        format!("2.{id}."),
        format!("1.{rest}"),
        format!("0.{rest}"),
        rest.to_owned(),
        format!("{cookie}A"),
    ];
    let unsigned = [format!("0.{id}"), id.to_owned(), format!("s:{id}")];
    for value in changed.iter().chain(&unsigned) {
        assert!(
            page_for(&demo, &[format!("id={value}").into_bytes()]).await.is_anonymous(),
            "{value:?}"
        );
    }
    assert!(is_bob(&demo, &[format!("id={cookie}").into_bytes()]).await);
}

async fn every_flipped_byte_and_every_truncation_is_anonymous(demo: &Demo, cookie: &str) {
    let mut connection = Connection::open(demo.address).await.expect("the demo accepts");
    let (mut anonymous, mut refused) = (0, 0);
    for at in 0..cookie.len() {
        let mut values = vec![cookie.as_bytes()[..at].to_vec()];
        for mask in [1, 2, 4, 8, 16, 32, 64, 128] {
            let mut value = cookie.as_bytes().to_vec();
            value[at] ^= mask;
            values.push(value);
        }
        for value in values {
            let request = Request::get("/session").cookie([b"id=".as_slice(), &value].concat());
            let response = connection.send(&request).await.expect("an answer");
            if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
                // A header cannot contain control characters other than tabs, so the server refuses
                // the request.
                assert_eq!(response.status, 400);
                connection = Connection::open(demo.address).await.expect("the demo accepts");
                refused += 1;
            } else {
                assert_eq!(response.status, 200, "{}", value.escape_ascii());
                assert!(response.json::<Page>().is_anonymous(), "{}", value.escape_ascii());
                anonymous += 1;
            }
        }
    }
    println!(
        "s04: {anonymous} changed cookies anonymous, {refused} requests with control characters refused, 0 accepted"
    );
}

async fn s09_similar_cookie_names_are_ignored(setup: &Setup) {
    let demo = setup.start_with(ONE).await;
    let cookie = demo.signed_in("bob").await.cookie().to_owned();
    let before_name: [&[u8]; 14] = [
        b"%69d=",
        b"i%64=",
        b"\xe2\x80\x80id=",
        b"\xc2\xa0id=",
        b"\tid=",
        b"a=b;\tid=",
        b"ID=",
        b"Id=",
        b"_id=",
        b"=id=",
        b"=",
        b"id =",
        b"\"id\"=",
        b"$Version=1; $id=",
    ];
    for name in before_name {
        let header = [name, cookie.as_bytes()].concat();
        // The HTTP parser removes white space around a header value (RFC 9110, 5.5).
        let is_trimmed = name.starts_with(b"\t");
        assert_eq!(
            is_bob(&demo, std::slice::from_ref(&header)).await,
            is_trimmed,
            "{}",
            header.escape_ascii()
        );
    }
    assert!(
        !is_bob(&demo, &[format!("id=\"{cookie}\"").into_bytes()]).await,
        "a quoted value is a different value"
    );
    let secure = setup
        .start_with(&["--workers", "1", "--cookie", "secure", "--trusted-proxy", "127.0.0.1/32"])
        .await;
    let mut browser = secure.browser().always("X-Forwarded-Proto", "https");
    let _ = browser.login("bob").await.expect(200);
    let ask = async |header: Vec<u8>| {
        let request = Request::get("/session").header("X-Forwarded-Proto", "https").cookie(header);
        send(secure.address, &request)
            .await
            .expect("an answer")
            .expect(200)
            .json::<Page>()
            .principal
    };
    assert_eq!(ask(browser.cookie_header().into_bytes()).await.as_deref(), Some("bob"));
    for name in [
        "%5F%5FHost-id",
        "%5f%5fHost-id",
        "__host-id",
        "__HOST-ID",
        "_Host-id",
        "__Host-id ",
        "\u{2000}__Host-id",
        "a=b;\t__Host-id",
        "__Host%2Did",
        "Host-id",
        "id",
    ] {
        assert_eq!(
            ask(format!("{name}={}", browser.cookie()).into_bytes()).await,
            None,
            "{name:?}"
        );
    }
}

async fn s10_s11_valid_cookie_is_found_among_other_cookies_and_junk(setup: &Setup) {
    let demo = setup.start_with(ONE).await;
    let real = demo.signed_in("bob").await.cookie_header();
    attacker_cookies_are_ignored(&demo, &real).await;
    malformed_cookies_are_ignored(&demo, real.as_bytes()).await;
}

async fn attacker_cookies_are_ignored(demo: &Demo, real: &str) {
    let forged = format!("id={}", forged());
    for other in [forged, "id=".to_owned(), "id=x".to_owned(), "id=\"".to_owned()] {
        for headers in [
            vec![format!("{real}; {other}")],
            vec![format!("{other}; {real}")],
            vec![real.to_owned(), other.clone()],
            vec![other.clone(), real.to_owned()],
            vec![format!("{other}; {other}; {other}"), format!("a=b; {real}")],
        ] {
            let headers: Vec<_> = headers.into_iter().map(String::into_bytes).collect();
            assert!(is_bob(demo, &headers).await, "{}", headers.join(&b'|').escape_ascii());
        }
    }
}

async fn malformed_cookies_are_ignored(demo: &Demo, real: &[u8]) {
    let many =
        (0..200).flat_map(|n| format!("cookie{n}=value{n}; ").into_bytes()).collect::<Vec<u8>>();
    let junk: [&[u8]; 9] = [
        b"\xff\xfe=\xff; ",
        b"noequals; ",
        b"; ; ;; ",
        b"=; ",
        b"\"; ",
        b"a=\"b; ",
        b"%zz=%; ",
        b"a=b,c=d; ",
        &many,
    ];
    for neighbour in junk {
        assert!(
            is_bob(demo, &[[neighbour, real].concat()]).await,
            "before: {}",
            neighbour.escape_ascii()
        );
        assert!(
            is_bob(demo, &[[real, b"; ", neighbour].concat()]).await,
            "after: {}",
            neighbour.escape_ascii()
        );
        assert!(
            is_bob(demo, &[neighbour.to_vec(), real.to_vec()]).await,
            "next to: {}",
            neighbour.escape_ascii()
        );
    }
}
