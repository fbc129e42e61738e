//! H25 and S12: no output and no store contains a secret.

use std::collections::BTreeSet;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use session_core::SessionId;
use tests::{
    Browser, Demo, KEY, OTHER_KEY, ServerContent, Service, Setup,
    client::{Request, send},
    cookie::{id_of, key_of, secret_of},
    service::{Durability, PASSWORD},
};

use crate::cookies::signed;

on_every_setup_and_a_set!(h25_output_at_every_level_contains_no_secret);

mod outage {
    use super::*;

    on_own_setups!(
        h25_output_during_an_outage_contains_no_secret;
        ipc = Setup::ipc_owner(),
        redis = Setup::own_redis(Durability::None),
        redis_cluster = Setup::own_redis_cluster(Durability::None),
        mongo = Setup::own_mongo(Durability::None),
        mongo_set = Setup::own_mongo_set(Durability::Full),
        postgres = Setup::own_postgres(Durability::Full),
        mariadb = Setup::own_mariadb(Durability::Full),
        sqlite = Setup::own_sqlite(),
    );
}

/// A secret value in a session.
const VALUE: &str = "swordfish-4711";

/// The user of the sessions.
const USER: &str = "rosebud-1941";

/// Requests all routes and causes all kinds of failure. Returns every issued cookie.
async fn visit_all_routes(demo: &Demo) -> BTreeSet<String> {
    let mut issued = BTreeSet::new();
    let mut browser = demo.browser();
    let mut keep = |browser: &Browser| issued.insert(browser.cookie().to_owned());
    let _ = browser.get("/").await.expect(200);
    keep(&browser);
    let _ = browser.insert("secret", &format!("{VALUE:?}")).await.expect(204);
    let _ = browser.login(USER).await.expect(200);
    keep(&browser);
    let _ = browser.post("/renew").await.expect(204);
    keep(&browser);
    let mut other = demo.signed_in(USER).await;
    keep(&other);
    let _ = other.insert("secret", &format!("{VALUE:?}")).await.expect(204);
    for request in [
        Request::get("/session"),
        Request::get("/devices"),
        Request::get("/readyz"),
        Request::get("/nowhere"),
        Request::post("/session/n/add?by=5"),
        Request::post("/session/secret/add?by=1"),
        Request::post("/session/n/update"),
        Request::post("/session/secret/update"),
        Request::post(format!("/session/n/add?by={}", i64::MAX)),
        Request::put("/session/slow", format!("{VALUE:?}")),
        Request::get("/slow?ms=1"),
        Request::delete("/session/slow"),
        Request::put("/session/secret", format!("{{\"{VALUE}")),
        Request::put("/session/secret", format!("\"{}\"", VALUE.repeat(6_000))),
        Request::put("/session/%01", format!("{VALUE:?}")),
        Request::delete("/session/nothing"),
        Request::delete("/devices/aaaaaaaaaaaaaaaa"),
        Request::post("/login").header("Sec-Fetch-Site", "cross-site").json(r#"{"user":"eve"}"#),
    ] {
        browser.send(request).await;
    }
    // Some updates run again, because another one committed first.
    let updates = (0..20).map(|_| {
        let mut browser = browser.clone();
        async move { browser.post("/session/m/update").await.status }
    });
    assert!(futures_util::future::join_all(updates).await.iter().all(|status| *status == 200));
    let cookie = browser.cookie().to_owned();
    for broken in [
        format!("id={cookie}x"),
        format!("id=\"{cookie}\""),
        format!("id={}", &cookie[..70]),
        format!("x={cookie}"),
    ] {
        send(demo.address, &Request::get("/session").cookie(broken)).await.expect("an answer");
    }
    let _ = send(demo.address, &Request::get("/session").cookie(format!("id={cookie}\0"))).await;
    // A conflict: the session ends during a slow request.
    let mut slow = browser.clone();
    let slow = tokio::spawn(async move { slow.get("/slow?ms=600").await });
    tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    let _ = other.post("/logout-others").await.expect(200);
    let _ = slow.await.expect("no panic").expect(409);
    let _ = other.post("/logout").await.expect(204);
    issued
}

/// The texts that no output may contain: cookies, ids and signatures in several encodings, the
/// value, the keys, the password of the store.
fn secrets(cookies: &BTreeSet<String>) -> Vec<(String, String)> {
    let mut secrets =
        vec![("value".to_owned(), VALUE.to_owned()), ("password".to_owned(), PASSWORD.to_owned())];
    for key in [KEY, OTHER_KEY] {
        let bytes = URL_SAFE.decode(key).expect("base64");
        secrets.push(("key".to_owned(), key.to_owned()));
        secrets.push(("key in base64".to_owned(), STANDARD.encode(&bytes)));
        secrets.push(("key in hex".to_owned(), hex(&bytes)));
        secrets.push(("key as a list".to_owned(), list(&bytes)));
    }
    for cookie in cookies {
        let secret = secret_of(cookie);
        let bytes = URL_SAFE.decode(secret).expect("base64");
        let hash = SessionId::parse(id_of(cookie).as_bytes()).expect("an id").secret_hash();
        secrets.push(("key of a session".to_owned(), key_of(cookie).to_owned()));
        secrets.push(("secret".to_owned(), secret.to_owned()));
        // The first four bytes are the generation.
        secrets.push(("secret without its generation".to_owned(), secret[6..].to_owned()));
        secrets.push(("secret in hex".to_owned(), hex(&bytes[4..])));
        secrets.push(("secret as a list".to_owned(), list(&bytes[4..])));
        secrets.push(("hash in hex".to_owned(), hex(hash.as_bytes())));
        secrets.push(("hash as a list".to_owned(), list(hash.as_bytes())));
        secrets.push(("signature".to_owned(), cookie[cookie.len() - 43..].to_owned()));
    }
    secrets
}

/// The texts that a server knows and must not log: the user and the keys of the sessions.
fn known_to_servers(cookies: &BTreeSet<String>) -> Vec<(String, String)> {
    let keys =
        cookies.iter().map(|cookie| ("key of a session".to_owned(), key_of(cookie).to_owned()));
    keys.chain([("user".to_owned(), USER.to_owned())]).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn list(bytes: &[u8]) -> String {
    bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ")
}

fn assert_clean(output: &str, secrets: &[(String, String)]) {
    let mut found = BTreeSet::new();
    for line in output.lines() {
        let folded = line.to_ascii_lowercase();
        for (what, secret) in secrets {
            if line.contains(secret) || what.contains("hex") && folded.contains(secret) {
                found.insert(format!("{what}: {}", line.replace(secret, "<HERE>")));
            }
        }
    }
    assert!(found.is_empty(), "an output contains secrets: {found:#?}");
}

async fn h25_output_at_every_level_contains_no_secret(setup: &Setup) {
    let demo = setup
        .start_with(&[
            "--log",
            "trace",
            "--cookie-key",
            &format!("{KEY},{OTHER_KEY}"),
            "--allow-crash",
        ])
        .await;
    let cookies = visit_all_routes(&demo).await;
    let _ = demo.browser().try_send(Request::post("/crash")).await;
    let (output, service_log) = (demo.output(), setup.service_output());
    let secrets = secrets(&cookies);
    assert!(output.lines().count() > 20, "the level trace logs events: {output}");
    assert_clean(&output, &secrets);
    assert_clean(&service_log, &secrets);
    assert_clean(&service_log, &known_to_servers(&cookies));
    println!(
        "h25: {} lines of output, {} secrets searched, none found",
        output.lines().count(),
        secrets.len()
    );
}

async fn h25_output_during_an_outage_contains_no_secret(setup: &mut Setup) {
    let demo = setup.start_with(&["--log", "trace", "--deadline", "1s"]).await;
    demo.settle().await;
    let mut browser = demo.signed_in(USER).await;
    let _ = browser.insert("secret", &format!("{VALUE:?}")).await.expect(204);
    setup.service().freeze().await;
    let _ = browser.insert("secret", &format!("{VALUE:?}")).await.expect(503);
    setup.service().thaw().await;
    demo.ready().await;
    let service_log = setup.service().output();
    setup.service().stop().await;
    let _ = browser.insert("secret", &format!("{VALUE:?}")).await.expect(503);
    let cookies = BTreeSet::from([browser.cookie().to_owned()]);
    let secrets = secrets(&cookies);
    assert!(demo.output().contains("503"), "the log names the status");
    assert_eq!(service_log.is_empty(), setup.service().is_file(), "a server writes a log");
    assert_clean(&demo.output(), &secrets);
    assert_clean(&service_log, &secrets);
    if matches!(setup.service(), Service::Redis(..) | Service::Mongo(..) | Service::Sql(..)) {
        assert_clean(&service_log, &known_to_servers(&cookies));
    }
}

mod stored {
    use super::*;

    on_every_shared_setup!(s12_stored_data_opens_no_session);
    on_setup!(mongo_set, s12_stored_data_opens_no_session);

    async fn s12_stored_data_opens_no_session(setup: &Setup) {
        let demo = setup.start().await;
        let mut browsers = Vec::new();
        for n in 0..20 {
            let mut browser = demo.browser();
            let _ = browser.insert("n", &n.to_string()).await.expect(204);
            if n % 2 == 0 {
                let _ = browser.login(&format!("user{n}")).await.expect(200);
            }
            if n % 4 == 0 {
                let _ = browser.post("/renew").await.expect(204);
            }
            browsers.push(browser);
        }
        let ServerContent { sessions: stored_keys, marks, bytes, others } =
            setup.server_content().await.expect("sessions outside the demo");
        assert_eq!(stored_keys.len(), browsers.len());
        for browser in &browsers {
            for (what, encoding) in encodings(browser.cookie()) {
                assert!(
                    !bytes.windows(encoding.len()).any(|window| window == encoding),
                    "a dump contains an id: {what}"
                );
            }
            let key = key_of(browser.cookie());
            assert!(
                stored_keys.iter().any(|stored| stored == key),
                "the dump contains the session under its key"
            );
        }
        for stored in &stored_keys {
            // An attacker with the key of a session does not know its secret.
            let made_up = format!("{stored}.{}", "A".repeat(28));
            let as_id = SessionId::parse(made_up.as_bytes()).expect("the alphabet of ids");
            for value in [
                stored.clone(),
                format!("2.{stored}"),
                format!("0.{made_up}"),
                format!("2.{made_up}.{}", "A".repeat(43)),
                // The same, correctly signed.
                signed(KEY, &as_id),
            ] {
                assert!(
                    Browser::holding(demo.address, &value).page().await.is_anonymous(),
                    "a stored key is not accepted as a cookie"
                );
            }
        }
        let mut public = marks;
        for browser in &browsers {
            public.push(browser.clone().page().await.handle.expect("a handle"));
        }
        for text in &public {
            for value in
                [text.clone(), format!("0.{text}"), format!("2.{text}"), format!("2.{text}.{text}")]
            {
                assert!(
                    Browser::holding(demo.address, &value).page().await.is_anonymous(),
                    "other stored texts are not accepted as a cookie"
                );
            }
        }
        println!(
            "s12: {} sessions and {} other entries, {} bytes, no id in any encoding; {} other texts open no session",
            stored_keys.len(),
            others.len(),
            bytes.len(),
            public.len()
        );
    }

    /// The secret and the signature of a cookie in every encoding that a dump could contain.
    fn encodings(cookie: &str) -> Vec<(&'static str, Vec<u8>)> {
        let secret = secret_of(cookie);
        let all = URL_SAFE.decode(secret).expect("base64");
        let mut encodings = vec![("signature", cookie.as_bytes()[cookie.len() - 43..].to_vec())];
        for bytes in [&all[..], &all[4..]] {
            let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
            encodings.extend([
                ("bytes", bytes.to_vec()),
                ("bytes backwards", reversed),
                ("hex", hex(bytes).into_bytes()),
                ("hex in capitals", hex(bytes).to_uppercase().into_bytes()),
                ("base64", STANDARD.encode(bytes).into_bytes()),
                ("base64url", URL_SAFE.encode(bytes).into_bytes()),
                ("a list", list(bytes).into_bytes()),
                ("a tight list", list(bytes).replace(' ', "").into_bytes()),
                ("base64 of the text", STANDARD.encode(secret).as_bytes()[..36].to_vec()),
                ("hex of the text", hex(&secret.as_bytes()[6..]).into_bytes()),
            ]);
        }
        encodings
    }
}
