//! S02 and S03: forged and malformed cookies, by the counted store calls of the demo and by the
//! records in its store.

use std::net::SocketAddr;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tests::{
    Browser, Calls, Counting, Demo, KEY, Page, Setup,
    client::{Connection, Request, send},
};

use crate::cookies::{forged, page_for, random_id, signed};

on_every_shared_setup!(
    s02_10000_forged_cookies_create_no_record,
    s03_malformed_cookies_make_no_store_call
);

/// Long enough for a store on a busy machine.
const PATIENT: &[&str] = &["--deadline", "10s"];

/// The keys of all sessions in the store.
async fn stored_keys(setup: &Setup) -> Vec<String> {
    let mut keys = setup.server_content().await.expect("a store outside the demo").sessions;
    keys.sort();
    keys
}

async fn s02_10000_forged_cookies_create_no_record(setup: &Setup) {
    const FORGED: usize = 9_000;
    const SIGNED: usize = 1_000;
    let site = Counting::start(setup, PATIENT).await;
    let mut bob = site.demo.signed_in("bob").await;
    let _ = site.demo.signed_in("eve").await;
    let before = stored_keys(setup).await;
    assert!(before.len() >= 2 && site.calls().await.creates == 2, "both sign-ins created a record");
    send_cookies(&site.demo, FORGED, forged).await;
    assert_eq!(
        site.calls().await,
        Calls::default(),
        "a cookie with a wrong signature causes no store call"
    );
    // With the signing key an attacker can only cause loads.
    send_cookies(&site.demo, SIGNED, || signed(KEY, &random_id())).await;
    let calls = site.calls().await;
    assert!(
        calls.loads + calls.commits + calls.deletes + calls.others >= SIGNED,
        "a correctly signed id causes a store call: {calls:?}"
    );
    assert_eq!(calls.creates, 0);
    assert_eq!(stored_keys(setup).await, before);
    assert_eq!(bob.page().await.principal.as_deref(), Some("bob"));
    println!(
        "s02: {FORGED} forged cookies, 0 store calls; {SIGNED} signed ones, {calls:?}; {} records, as before",
        before.len()
    );
}

async fn s03_malformed_cookies_make_no_store_call(setup: &Setup) {
    let site = Counting::start(setup, &[PATIENT, &["--workers", "1"]].concat()).await;
    let good = site.demo.signed_in("bob").await.cookie().to_owned();
    let before = stored_keys(setup).await;
    site.calls().await;
    let count = malformed_cookies(site.demo.address, &good).await;
    let long = "A".repeat(65_536);
    let more =
        ["   ", "../", "%", "\u{1f36a}", ";;;", "==", &long, &good[1..], &good.to_lowercase()];
    for value in more {
        assert!(
            page_for(&site.demo, &[format!("id={value}").into_bytes()]).await.is_anonymous(),
            "{value:?}"
        );
    }
    let control = send(site.demo.address, &Request::get("/session").cookie("id=\u{1}"))
        .await
        .expect("an answer");
    assert!(control.status == 400 || control.json::<Page>().is_anonymous());
    assert_eq!(site.calls().await, Calls::default());
    assert_eq!(stored_keys(setup).await, before);
    assert_eq!(
        Browser::holding(site.demo.address, &good).page().await.principal.as_deref(),
        Some("bob")
    );
    assert_eq!(
        site.calls().await,
        Calls { loads: 1, ..Calls::default() },
        "a valid cookie makes one call"
    );
    println!("s03: {} malformed cookies, 0 store calls", count + more.len() + 1);
}

/// Sends this number of cookies over eight connections.
pub(crate) async fn send_cookies(demo: &Demo, cookies: usize, make: fn() -> String) {
    let attackers = (0..8).map(|attacker| {
        let address = demo.address;
        tokio::spawn(async move {
            let mut connection = Connection::open(address).await.expect("the demo accepts");
            for n in 0..cookies.div_ceil(8) {
                let request = match (attacker + n) % 3 {
                    0 => Request::get("/session"),
                    1 => Request::get("/devices"),
                    _ => Request::delete("/session/n"),
                };
                let response = connection
                    .send(&request.cookie(format!("id={}", make())))
                    .await
                    .expect("an answer");
                assert!(response.status < 500 && response.set_cookie().is_none(), "{response:?}");
            }
        })
    });
    for attacker in attackers.collect::<Vec<_>>() {
        attacker.await.expect("every request is answered");
    }
}

/// Sends malformed cookies, some of them derived from a valid one. Each request must be anonymous.
/// Returns the number of cookies.
pub(crate) async fn malformed_cookies(address: SocketAddr, good: &str) -> usize {
    let unsigned = tests::cookie::id_of(good);
    let long = "A".repeat(65_536);
    let other_mac = format!("2.{unsigned}.{}", URL_SAFE_NO_PAD.encode([7; 32]));
    let odd: [&[u8]; 18] = [
        b"",
        b" ",
        b"\"\"",
        b"\"",
        b"1234567",
        b"../../etc/passwd",
        b"%00",
        b"%0d%0aSet-Cookie: id=x",
        b"\xff\xfe",
        "zürich".as_bytes(),
        b"2.",
        b"2...",
        b"null",
        b"-1",
        &good.as_bytes()[..90],
        unsigned.as_bytes(),
        other_mac.as_bytes(),
        long.as_bytes(),
    ];
    for value in odd {
        for method in ["GET", "HEAD"] {
            let request = Request::new(method, "/session").cookie([b"id=", value].concat());
            let response = send(address, &request).await.expect("an answer");
            // Some routes do not support `HEAD`.
            assert!(
                matches!(response.status, 200) || method == "HEAD" && response.status < 500,
                "{}",
                value.escape_ascii()
            );
            assert!(response.set_cookie().is_none());
            if method == "GET" {
                assert!(response.json::<Page>().is_anonymous());
            }
        }
    }
    // A header cannot contain NUL or a bare line feed, so the server refuses the request.
    for value in [&b"id=\0"[..], b"id=a\nb"] {
        let response =
            send(address, &Request::get("/session").cookie(value)).await.expect("an answer");
        assert_eq!(response.status, 400);
    }
    // A line break adds a header to the attacker's request. It has no other effect.
    let response = send(address, &Request::get("/session").cookie("id=a\r\nX-Evil: b"))
        .await
        .expect("an answer");
    assert!(response.expect(200).json::<Page>().is_anonymous());
    2 * odd.len() + 3
}
