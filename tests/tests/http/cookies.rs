//! S01 to S11: attacks with cookies.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use session_core::{
    SessionId,
    cookie::{CookieCodec, CookieConfig, Key},
};
use tests::{
    Browser, Demo, KEY, OTHER_KEY, Owner, Page, Setup,
    client::{Connection, Request, send},
    jar::{SetCookie, id_of},
};

/// Whom the demo sees behind these `Cookie` headers, each one header of its own.
async fn seen(demo: &Demo, headers: &[Vec<u8>]) -> Page {
    let request = headers.iter().fold(Request::get("/session"), |request, header| request.cookie(header.clone()));
    let response = send(demo.address, &request).await.expect("an answer");
    assert_eq!(response.status, 200, "{}", headers.join(&b'|').escape_ascii());
    response.json()
}

async fn is_bob(demo: &Demo, headers: &[Vec<u8>]) -> bool {
    seen(demo, headers).await.principal.as_deref() == Some("bob")
}

/// The cookie's value for any id, properly signed: what an attacker can make who knows the key.
pub(crate) fn signed(key: &str, id: &SessionId) -> String {
    let codec = CookieCodec::signed(CookieConfig::development(), &Key::parse(key).expect("a strong key").into()).expect("a cookie");
    SetCookie::parse(&codec.issue(id, None)).value
}

pub(crate) fn random_id() -> SessionId {
    SessionId::random().expect("random bytes")
}

/// A cookie's value of the right shape in every respect but its signature.
pub(crate) fn forged() -> String {
    let text = |bytes: usize| URL_SAFE_NO_PAD.encode(std::iter::repeat_with(|| fastrand::u8(..)).take(bytes).collect::<Vec<u8>>());
    format!("1.{}.{}", text(24), text(32))
}

on_every_setup!(s01_an_id_from_outside_is_never_adopted);

async fn s01_an_id_from_outside_is_never_adopted(setup: &Setup) {
    let demo = setup.start().await;
    for value in [forged(), signed(KEY, &random_id())] {
        let mut browser = Browser::holding(demo.address, &value);
        assert!(browser.page().await.is_anonymous());
        assert_eq!(browser.cookie(), value, "an anonymous read changes no cookie");
        for request in
            [Request::put("/session/n", "1"), Request::post("/login").json(r#"{"user":"bob"}"#), Request::post("/session/n/add?by=1")]
        {
            let mut browser = browser.clone();
            browser.send(request).await;
            assert_ne!(id_of(browser.cookie()), id_of(&value), "the session has an id of the server's own");
        }
        assert!(browser.page().await.is_anonymous(), "nothing ever lives under the attacker's id");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s02_ten_thousand_made_up_cookies_make_no_record() {
    const COOKIES: usize = 10_000;
    let demo = Demo::start(&["--workers", "2", "--max-sessions", "3"]).await;
    let mut bob = demo.signed_in("bob").await;
    let _ = demo.signed_in("eve").await;
    let attackers = (0..8).map(|attacker| {
        let address = demo.address;
        tokio::spawn(async move {
            let mut connection = Connection::open(address).await.expect("the demo accepts");
            for n in 0..COOKIES / 8 {
                // Half of them properly signed, so that the store is really asked.
                let value = if n % 2 == 0 { signed(KEY, &random_id()) } else { forged() };
                let request = match (attacker + n) % 3 {
                    0 => Request::get("/session"),
                    1 => Request::get("/devices"),
                    _ => Request::delete("/session/n"),
                };
                let response = connection.send(&request.cookie(format!("id={value}"))).await.expect("an answer");
                assert!(response.status < 500 && response.set_cookie().is_none(), "{response:?}");
            }
        })
    });
    for attacker in attackers.collect::<Vec<_>>() {
        attacker.await.expect("every request is answered");
    }
    // There were two sessions and there is room for three: exactly one more fits.
    let _ = demo.signed_in("third").await;
    let full = demo.browser().login("fourth").await;
    assert_eq!(full.status, 503, "the count shows: {}", full.text());
    assert_eq!(bob.page().await.principal.as_deref(), Some("bob"));
    println!("s02: {COOKIES} made-up cookies, 2 records before, 2 after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s03_odd_cookies_are_anonymous_to_the_demo_too() {
    let demo = Demo::start(&["--workers", "1"]).await;
    let long = "A".repeat(65_536);
    for value in ["", "   ", "\"\"", "1234567", "../", "%00", "%", "\u{1f36a}", "1.", "1..", ";;;", "==", &long] {
        assert!(seen(&demo, &[format!("id={value}").into_bytes()]).await.is_anonymous());
    }
    for value in [&b"id=\0"[..], b"id=\x01", b"id=a\nb"] {
        let response = send(demo.address, &Request::get("/session").cookie(value)).await.expect("an answer");
        assert!(response.status == 400 || response.json::<Page>().is_anonymous(), "{}", value.escape_ascii());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s04_every_flipped_byte_and_every_truncation_is_anonymous() {
    let demo = Demo::start(&["--workers", "1"]).await;
    let cookie = demo.signed_in("bob").await.cookie().to_owned();
    assert!(is_bob(&demo, &[format!("id={cookie}").into_bytes()]).await);
    let mut connection = Connection::open(demo.address).await.expect("the demo accepts");
    let (mut anonymous, mut refused) = (0, 0);
    for at in 0..cookie.len() {
        let mut values = vec![cookie.as_bytes()[..at].to_vec()];
        for mask in [1, 2, 4, 8, 16, 32, 64, 128] {
            let mut value = cookie.clone().into_bytes();
            value[at] ^= mask;
            values.push(value);
        }
        for value in values {
            let request = Request::get("/session").cookie([b"id=".as_slice(), &value].concat());
            let response = connection.send(&request).await.expect("an answer");
            if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
                // Control characters but tabs are allowed in no header, so it is the request that is refused.
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
    let id = id_of(&cookie);
    let rest = &cookie[2..];
    for value in [format!("1.{id}"), format!("1.{id}."), format!("2.{rest}"), format!("0.{rest}"), rest.to_owned(), format!("{cookie}A")] {
        assert!(seen(&demo, &[format!("id={value}").into_bytes()]).await.is_anonymous());
    }
    println!("s04: {anonymous} changed cookies anonymous, {refused} requests with control characters refused, 0 let in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s05_an_unsigned_value_is_refused() {
    let demo = Demo::start(&["--workers", "1"]).await;
    let browser = demo.signed_in("bob").await;
    let id = id_of(browser.cookie());
    for value in [format!("0.{id}"), id.to_owned(), format!("1.{id}"), format!("s:{id}")] {
        assert!(seen(&demo, &[format!("id={value}").into_bytes()]).await.is_anonymous());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s06_a_value_moved_to_another_cookie_name_is_refused() {
    // Two demos with one key and one store; only their cookies' names differ.
    let owner = Owner::start().await;
    let store = ["--workers", "1", "--store-url", &owner.url()];
    let plain = Demo::start(&store).await;
    let secure = Demo::start(&[&store[..], &["--cookie", "secure", "--trusted-proxy", "127.0.0.1/32"]].concat()).await;
    let https = |request: Request| request.header("X-Forwarded-Proto", "https");
    let bob = plain.signed_in("bob").await;
    let moved = https(Request::get("/session")).cookie(format!("__Host-id={}", bob.cookie()));
    assert!(send(secure.address, &moved).await.expect("an answer").expect(200).json::<Page>().is_anonymous());
    let mut eve = secure.browser().always("X-Forwarded-Proto", "https");
    let _ = eve.login("eve").await.expect(200);
    assert_eq!(eve.page().await.principal.as_deref(), Some("eve"));
    assert!(seen(&plain, &[format!("id={}", eve.cookie()).into_bytes()]).await.is_anonymous());
    // A signature over the same id for another purpose.
    let id = id_of(bob.cookie());
    let bare = {
        use hmac::{Hmac, KeyInit, Mac};
        let key = Key::parse(KEY).expect("a strong key");
        let mac = Hmac::<sha2::Sha256>::new_from_slice(key.expose()).expect("any length");
        URL_SAFE_NO_PAD.encode(mac.chain_update(id).finalize().into_bytes())
    };
    assert!(seen(&plain, &[format!("id=1.{id}.{bare}").into_bytes()]).await.is_anonymous());
    assert!(is_bob(&plain, &[bob.cookie_header().into_bytes()]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s07_keys_change_without_signing_anybody_out() {
    let owner = Owner::start().await;
    let url = owner.url();
    let flags = |keys| ["--workers", "2", "--store-url", &url, "--cookie-key", keys];
    let mut first = Demo::start(&flags(KEY)).await;
    let mut browser = first.signed_in("bob").await;
    let old = browser.cookie().to_owned();
    first.stop().await;
    let both = format!("{OTHER_KEY},{KEY}");
    let mut second = Demo::start(&flags(&both)).await;
    browser = browser.at(second.address);
    let response = browser.get("/session").await.expect(200);
    assert_eq!(response.json::<Page>().principal.as_deref(), Some("bob"));
    let issued = response.set_cookie().expect("the cookie is issued again");
    assert_eq!(issued.id(), id_of(&old), "the same id");
    assert_ne!(issued.value, old, "with the new key's signature");
    assert!(browser.get("/session").await.expect(200).set_cookie().is_none(), "once is enough");
    second.stop().await;
    let third = Demo::start(&flags(OTHER_KEY)).await;
    assert_eq!(browser.at(third.address).page().await.principal.as_deref(), Some("bob"));
    assert!(Browser::holding(third.address, &old).page().await.is_anonymous(), "the old key is out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s08_without_a_key_it_makes_one_and_says_so() {
    let demo = Demo::start_with(&["--listen", "127.0.0.1:0", "--workers", "2"], &[]).await;
    let output = demo.output();
    assert!(output.contains("restart") && output.contains("cookie"), "it says that cookies will not survive: {output}");
    let mut browser = demo.signed_in("bob").await;
    for _ in 0..20 {
        assert_eq!(browser.page().await.principal.as_deref(), Some("bob"), "all workers have the same key");
    }
    let other = Demo::start_with(&["--listen", "127.0.0.1:0", "--workers", "1"], &[]).await;
    assert!(browser.at(other.address).page().await.is_anonymous());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s09_names_that_only_look_like_ours_are_not() {
    let demo = Demo::start(&["--workers", "1"]).await;
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
        // A header's value loses the blanks at its edges before anybody parses it, as RFC 9110 (5.5) says.
        let is_trimmed = name.starts_with(b"\t");
        assert_eq!(is_bob(&demo, std::slice::from_ref(&header)).await, is_trimmed, "{}", header.escape_ascii());
    }
    assert!(!is_bob(&demo, &[format!("id=\"{cookie}\"").into_bytes()]).await, "a quoted value is another value");
    let secure = Demo::start(&["--workers", "1", "--cookie", "secure", "--trusted-proxy", "127.0.0.1/32"]).await;
    let mut browser = secure.browser().always("X-Forwarded-Proto", "https");
    let _ = browser.login("bob").await.expect(200);
    let ask = async |header: Vec<u8>| {
        let request = Request::get("/session").header("X-Forwarded-Proto", "https").cookie(header);
        send(secure.address, &request).await.expect("an answer").expect(200).json::<Page>().principal
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
        assert_eq!(ask(format!("{name}={}", browser.cookie()).into_bytes()).await, None, "{name:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s10_the_real_cookie_counts_wherever_the_attackers_stands() {
    let demo = Demo::start(&["--workers", "1"]).await;
    let real = demo.signed_in("bob").await.cookie_header();
    let forged = format!("id={}", forged());
    for other in [forged, "id=".to_owned(), "id=x".to_owned(), "id=\"".to_owned()] {
        for headers in [
            vec![format!("{real}; {other}")],
            vec![format!("{other}; {real}")],
            vec![real.clone(), other.clone()],
            vec![other.clone(), real.clone()],
            vec![format!("{other}; {other}; {other}"), format!("a=b; {real}")],
        ] {
            let headers: Vec<_> = headers.into_iter().map(String::into_bytes).collect();
            assert!(is_bob(&demo, &headers).await, "{}", headers.join(&b'|').escape_ascii());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s11_junk_neighbours_hide_nothing() {
    let demo = Demo::start(&["--workers", "1"]).await;
    let real = demo.signed_in("bob").await.cookie_header().into_bytes();
    let many = (0..200).flat_map(|n| format!("cookie{n}=value{n}; ").into_bytes()).collect::<Vec<u8>>();
    let junk: [&[u8]; 9] = [b"\xff\xfe=\xff; ", b"noequals; ", b"; ; ;; ", b"=; ", b"\"; ", b"a=\"b; ", b"%zz=%; ", b"a=b,c=d; ", &many];
    for neighbour in junk {
        assert!(is_bob(&demo, &[[neighbour, &real].concat()]).await, "before: {}", neighbour.escape_ascii());
        assert!(is_bob(&demo, &[[&real[..], b"; ", neighbour].concat()]).await, "after: {}", neighbour.escape_ascii());
        assert!(is_bob(&demo, &[neighbour.to_vec(), real.clone()]).await, "beside: {}", neighbour.escape_ascii());
    }
}
