//! S15 to S21, S23 and S24: injection, handles, caches, plain http, cross-site requests, slow
//! clients.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tests::{
    Browser, Demo, PATIENCE, Page, Setup,
    client::{Connection, Request, Response, send},
};

async fn ask(demo: &Demo, request: &Request) -> Response {
    send(demo.address, request).await.expect("an answer")
}

on_every_setup!(
    s15_s16_hostile_text_is_stored_as_plain_data,
    s17_https_only_cookie_is_never_used_over_plain_http,
    s18_id_outside_the_cookie_is_ignored,
    s19_response_that_sets_an_id_is_not_cacheable,
    s21_s24_cross_site_requests_change_nothing,
    s23_long_headers_and_slow_clients_do_not_delay_others,
);

mod handles {
    use super::*;

    on_every_setup_and_a_set!(s20_handles_open_no_session_and_end_only_own_sessions);

    async fn s20_handles_open_no_session_and_end_only_own_sessions(setup: &Setup) {
        let demo = setup.start().await;
        let (mut first, mut second, mut eve) =
            (demo.signed_in("bob").await, demo.signed_in("bob").await, demo.signed_in("eve").await);
        let devices: Vec<serde_json::Value> = first.get("/devices").await.expect(200).json();
        assert_eq!(devices.len(), 2);
        assert_eq!(devices.iter().filter(|device| device["current"] == true).count(), 1);
        let text = serde_json::to_string(&devices).expect("JSON");
        for browser in [&first, &second] {
            let (key, secret) = (
                tests::cookie::key_of(browser.cookie()),
                tests::cookie::secret_of(browser.cookie()),
            );
            assert!(
                !text.contains(key)
                    && !text.contains(secret)
                    && !text.contains(&browser.cookie()[48..])
            );
        }
        let other = second.page().await.handle.expect("a handle");
        assert!(
            devices.iter().any(|device| device["handle"] == *other && device["current"] == false)
        );
        for value in [other.clone(), format!("2.{other}"), format!("0.{other}")] {
            assert!(
                Browser::holding(demo.address, &value).page().await.is_anonymous(),
                "a handle is not accepted as a cookie"
            );
        }
        // A handle of another user and an unknown handle have no effect.
        let _ = eve.send(Request::delete(format!("/devices/{other}"))).await.expect(404);
        assert!(matches!(
            demo.browser().send(Request::delete(format!("/devices/{other}"))).await.status,
            401 | 404
        ));
        assert_eq!(second.page().await.principal.as_deref(), Some("bob"));
        let _ = demo.browser().get("/devices").await.expect(401);
        let _ = first.send(Request::delete(format!("/devices/{other}"))).await.expect(204);
        assert!(second.page().await.is_anonymous());
        let _ = first.send(Request::delete(format!("/devices/{other}"))).await.expect(404);
        let mut third = demo.signed_in("bob").await;
        assert_eq!(
            first.post("/logout-others").await.expect(200).json::<serde_json::Value>()["ended"],
            1
        );
        assert!(third.page().await.is_anonymous());
        assert_eq!(first.page().await.principal.as_deref(), Some("bob"));
        let _ = demo.browser().post("/logout-others").await.expect(401);
        let _ = demo.browser().post("/logout-everywhere").await.expect(401);
        assert_eq!(
            first.post("/logout-everywhere").await.expect(200).json::<serde_json::Value>()["ended"],
            1
        );
        assert_eq!(eve.page().await.principal.as_deref(), Some("eve"));
    }
}

/// Texts with a meaning for a database, a shell or the records of a store.
const HOSTILE: &[&str] = &[
    "'; DROP TABLE sessions; --",
    "\" OR \"1\"=\"1",
    "{\"$where\":\"sleep(5000)\"}",
    "$where",
    "a.b.$set",
    "__proto__",
    "${jndi:ldap://x}",
    "../../etc/passwd",
    "\u{202e}bob",
    "bob\u{0}eve",
    // MongoDB: operators, paths, variables, and fields of the stored documents.
    "{\"$gt\":\"\"}",
    "{\"$ne\":null}",
    "{\"$oid\":\"000000000000000000000000\"}",
    "$set",
    "$unset",
    "$replaceWith",
    "$literal",
    "$data",
    "$principal",
    "$$ROOT",
    "$$NOW",
    "$$REMOVE",
    "$",
    "$$",
    ".",
    "a.b",
    ".a.",
    "a..b",
    "a.0",
    "0",
    "%24set",
    "%2E",
    "%",
    "_id",
    "data",
    "key",
    "mark",
    "expires",
    "constructor",
    "prototype",
    "toString",
    // Redis: patterns, scripts, the protocol, hash tags.
    "*",
    "?[a-z]*",
    "'] redis.call('FLUSHALL') --",
    "EVAL \"return redis.call('FLUSHALL')\" 0",
    "]]..redis.call('FLUSHALL')..[[",
    "\r\nDEL *\r\n",
    "*1\r\n$8\r\nFLUSHALL\r\n",
    "$-1\r\n*-1\r\n",
    "{}",
    "}{",
    "{bob}",
    "%s %d %n",
    // Parts of a Redis record: the head, marks of arguments, the index of a user, the field of the
    // principal.
    "1|1|0|1|9999999999999|",
    "user:bob",
    "u}bob",
    "=bob",
    "=",
    "-",
    "s",
    "r",
    "a",
    "\t",
];

async fn s15_s16_hostile_text_is_stored_as_plain_data(setup: &Setup) {
    let demo = setup.start().await;
    let mut bystander = demo.signed_in("bob").await;
    let _ = bystander.insert("n", "1").await.expect(204);
    for text in HOSTILE {
        let mut browser = demo.browser().always(
            "User-Agent",
            "' OR 1=1; {\"$gt\":\"\"} $where $$ROOT EVAL \"redis.call('FLUSHALL')\" 0",
        );
        let is_plain = !text.chars().any(char::is_control);
        let _ = browser
            .insert("value", &serde_json::json!({ *text: text }).to_string())
            .await
            .expect(204);
        let login = browser.login(text).await;
        assert_eq!(login.status, if is_plain { 200 } else { 400 }, "{text:?}");
        let name = text.bytes().fold(String::new(), |name, byte| name + &format!("%{byte:02x}"));
        let put = browser
            .send(Request::put(format!("/session/{name}"), serde_json::json!(text).to_string()))
            .await;
        // A slash, even an encoded one, may split the path. Then the route does not exist.
        assert!(
            put.status == if is_plain { 204 } else { 400 }
                || text.contains('/') && put.status == 404,
            "{text:?}: {}",
            put.status
        );
        if put.status == 204 {
            let sum = browser.post(&format!("/session/{name}/add?by=1")).await;
            assert_eq!(sum.status, 400, "an add to a text is refused");
        }
        let page = browser.page().await;
        if is_plain {
            assert_eq!(page.principal.as_deref(), Some(*text));
            let devices: Vec<serde_json::Value> = browser.get("/devices").await.expect(200).json();
            assert_eq!(devices.len(), 1, "{text:?} is a separate user");
        }
        if put.status == 204 {
            assert_eq!(page.value(text), Some(&serde_json::json!(text)));
        }
        assert_eq!(page.value("value"), Some(&serde_json::json!({ *text: text })));
        // As a cookie the text is invalid, or the server refuses the header.
        let cookie = Request::get("/session").cookie(format!("id={text}"));
        let anonymous = ask(&demo, &cookie).await;
        assert!(
            anonymous.status == 400 || anonymous.expect(200).json::<Page>().is_anonymous(),
            "{text:?}"
        );
        if is_plain {
            assert_eq!(
                browser.post("/logout-everywhere").await.expect(200).json::<serde_json::Value>()["ended"],
                1
            );
        }
    }
    let page = bystander.page().await;
    assert_eq!(
        (page.principal.as_deref(), page.value("n")),
        (Some("bob"), Some(&serde_json::json!(1)))
    );
    assert_eq!(
        bystander.get("/devices").await.expect(200).json::<Vec<serde_json::Value>>().len(),
        1
    );
    if let Some(stored) = setup.server_content().await {
        let left = HOSTILE.iter().filter(|text| text.chars().any(char::is_control)).count();
        assert_eq!(
            stored.sessions.len(),
            1 + left,
            "a refused sign-in leaves the anonymous session"
        );
        assert!(stored.others.iter().all(|name| name == "u}bob"), "{:?}", stored.others);
    }
    println!(
        "s15: {} hostile texts as user, name, value, cookie and user agent; all returned unchanged",
        HOSTILE.len()
    );
}

async fn s17_https_only_cookie_is_never_used_over_plain_http(setup: &Setup) {
    let login = || Request::post("/login").json(r#"{"user":"bob"}"#);
    let https = |request: Request, value: &str| request.header("X-Forwarded-Proto", value);
    let untrusting = setup.start_with(&["--workers", "1", "--cookie", "secure"]).await;
    for request in [login(), https(login(), "https"), login().header("Forwarded", "proto=https")] {
        let response = ask(&untrusting, &request).await;
        assert_eq!(response.status, 403, "{request:?}");
        assert!(response.set_cookie().is_none());
    }
    let elsewhere = setup
        .start_with(&["--workers", "1", "--cookie", "secure", "--trusted-proxy", "10.0.0.0/8"])
        .await;
    assert!(ask(&elsewhere, &https(login(), "https")).await.expect(403).set_cookie().is_none());
    let trusting = setup
        .start_with(&["--workers", "1", "--cookie", "secure", "--trusted-proxy", "127.0.0.0/8"])
        .await;
    let cookie =
        ask(&trusting, &https(login(), "https")).await.expect(200).set_cookie().expect("a cookie");
    assert_eq!(cookie.name, "__Host-id");
    assert_eq!(cookie.attributes, ["Path=/", "HttpOnly", "Secure", "SameSite=Lax"]);
    let pair = format!("{}={}", cookie.name, cookie.value);
    let who = async |proto: Option<&str>| {
        let request = Request::get("/session").cookie(pair.clone());
        let request = proto.map_or(request.clone(), |value| https(request, value));
        ask(&trusting, &request).await.expect(200).json::<Page>().principal
    };
    assert_eq!(who(Some("https")).await.as_deref(), Some("bob"));
    assert_eq!(who(Some("HTTPS")).await.as_deref(), Some("bob"));
    assert_eq!(
        who(Some("http, https")).await.as_deref(),
        Some("bob"),
        "the last value is that of the nearest proxy"
    );
    // The demo ignores the valid cookie over plain http.
    for proto in [None, Some("http"), Some("https, http"), Some(""), Some("httpsx")] {
        assert_eq!(who(proto).await, None, "{proto:?}");
    }
}

async fn s18_id_outside_the_cookie_is_ignored(setup: &Setup) {
    let demo = setup.start_with(&["--workers", "1"]).await;
    let value = demo.signed_in("bob").await.cookie().to_owned();
    let anonymous = async |request: Request| {
        ask(&demo, &request).await.expect(200).json::<Page>().is_anonymous()
    };
    assert!(anonymous(Request::get(format!("/session?id={value}"))).await);
    assert!(anonymous(Request::get(format!("/session?session={value}&sid={value}"))).await);
    for header in
        ["Authorization", "X-Session-Id", "X-Id", "id", "Cookie2", "Set-Cookie", "X-Cookie"]
    {
        for prefix in ["", "id=", "Bearer ", "Bearer id="] {
            assert!(
                anonymous(Request::get("/session").header(header, format!("{prefix}{value}")))
                    .await,
                "{header}: {prefix}"
            );
        }
    }
    let body = Request::get("/session")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .json(format!("id={value}"));
    assert!(anonymous(body).await);
}

async fn s19_response_that_sets_an_id_is_not_cacheable(setup: &Setup) {
    let demo = setup.start_with(&["--workers", "1"]).await;
    let mut browser = demo.browser();
    let mut setting = vec![browser.get("/").await.expect(200)];
    setting.push(browser.login("bob").await.expect(200));
    setting.push(browser.post("/renew").await.expect(204));
    setting.push(browser.post("/logout").await.expect(204));
    setting.push(browser.insert("n", "1").await.expect(204));
    for response in &setting {
        assert!(response.set_cookie().is_some());
        assert_eq!(response.header("cache-control"), Some("no-store"));
    }
    let read = browser.get("/session").await.expect(200);
    assert_eq!(
        (read.set_cookie().is_none(), read.header("cache-control")),
        (true, Some("private, no-cache"))
    );
    setting.push(read);
    for response in setting {
        let varies: Vec<_> =
            response.headers("vary").flat_map(|value| value.split(',')).map(str::trim).collect();
        assert!(varies.iter().any(|field| field.eq_ignore_ascii_case("cookie")), "{varies:?}");
    }
    let untouched = demo.browser().get("/healthz").await.expect(200);
    assert_eq!((untouched.header("vary"), untouched.header("cache-control")), (None, None));
}

async fn s21_s24_cross_site_requests_change_nothing(setup: &Setup) {
    let demo = setup
        .start_with(&[
            "--allow-crash",
            "--trusted-proxy",
            "127.0.0.1/32",
            "--cookie",
            "development",
        ])
        .await;
    let mut bob = demo.signed_in("bob").await;
    let _ = demo.signed_in("bob").await;
    let _ = bob.insert("n", "1").await.expect(204);
    let workers = demo.workers();
    let handle = bob.page().await.handle.expect("a handle");
    let changing = || {
        [
            Request::put("/session/n", "2"),
            Request::delete("/session/n"),
            Request::post("/session/n/add?by=1"),
            Request::post("/session/n/update"),
            Request::post("/login").json(r#"{"user":"eve"}"#),
            Request::post("/logout"),
            Request::post("/renew"),
            Request::post("/logout-others"),
            Request::post("/logout-everywhere"),
            Request::delete(format!("/devices/{handle}")),
            Request::post("/crash"),
            Request::get("/session").header("Connection", "Upgrade").header("Upgrade", "websocket"),
        ]
    };
    let foreign: [&[(&'static str, &str)]; 10] = [
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-site")],
        &[("Origin", "https://evil.example")],
        &[("Origin", "null")],
        &[("Sec-Fetch-Site", "cross-site"), ("Origin", "http://localhost")],
        &[("Origin", "http://localhost.evil.example")],
        &[("Origin", "http://localhost:8080")],
        &[("Origin", "http://localhost"), ("Origin", "http://localhost")],
        &[("X-Forwarded-Proto", "https"), ("Origin", "http://localhost")],
        &[("X-Forwarded-Proto", "http"), ("Origin", "https://localhost")],
    ];
    for headers in foreign {
        for request in changing() {
            let request =
                headers.iter().fold(request, |request, (name, value)| request.header(name, *value));
            let response = bob.send(request.clone()).await;
            assert_eq!(response.status, 403, "{request:?}");
            assert_eq!(
                (response.set_cookie().is_none(), response.header("cache-control")),
                (true, Some("no-store"))
            );
        }
    }
    let page = bob.page().await;
    assert_eq!(
        (page.principal.as_deref(), page.value("n")),
        (Some("bob"), Some(&serde_json::json!(1)))
    );
    assert_eq!(demo.workers(), workers);
    assert_eq!(bob.get("/devices").await.expect(200).json::<Vec<serde_json::Value>>().len(), 2);
    let own: [&[(&'static str, &str)]; 5] = [
        &[("Sec-Fetch-Site", "same-origin")],
        &[("Sec-Fetch-Site", "none")],
        &[("Origin", "http://localhost")],
        &[("X-Forwarded-Proto", "https"), ("Origin", "https://localhost:443")],
        &[],
    ];
    for headers in own {
        let request =
            headers.iter().fold(Request::put("/session/n", "1"), |request, (name, value)| {
                request.header(name, *value)
            });
        let _ = bob.send(request).await.expect(204);
    }
    println!(
        "s21: {} cross-site requests, all 403, nothing changed",
        foreign.len() * changing().len()
    );
}

async fn s23_long_headers_and_slow_clients_do_not_delay_others(setup: &Setup) {
    let demo = setup.start_with(&["--workers", "1"]).await;
    let bob = demo.signed_in("bob").await;
    long_headers_are_served_or_refused(&demo, bob.clone()).await;
    slow_clients_are_disconnected(&demo, bob).await;
}

async fn long_headers_are_served_or_refused(demo: &Demo, mut bob: Browser) {
    let mut statuses = Vec::new();
    for kilobytes in [8, 16, 64, 256, 1_024, 8_192] {
        let long = "x".repeat(kilobytes * 1_024);
        let started = Instant::now();
        // A server that refuses early may close the connection while the client still sends.
        let answer = send(demo.address, &Request::get("/session").header("X-Long", long))
            .await
            .ok()
            .map(|response| response.status);
        assert!(
            answer.is_none_or(|status| status == 200 || (400..500).contains(&status)),
            "{kilobytes} KiB: {answer:?}"
        );
        assert!(started.elapsed() < Duration::from_secs(5));
        assert!(kilobytes < 1_024 || answer != Some(200), "headers of 1 MiB are refused");
        statuses.push((kilobytes, answer));
        assert_eq!(bob.page().await.principal.as_deref(), Some("bob"), "other clients are served");
    }
    println!("s23: {statuses:?} KiB of header");
}

async fn slow_clients_are_disconnected(demo: &Demo, mut bob: Browser) {
    let over = Arc::new(AtomicBool::new(false));
    let slow: Vec<_> = (0..100)
        .map(|n| {
            let (address, over) = (demo.address, Arc::clone(&over));
            tokio::spawn(async move {
                let mut connection = Connection::open(address).await.expect("the demo accepts");
                let started = Instant::now();
                let head = format!("GET /session HTTP/1.1\r\nHost: localhost\r\nX-Slow: {n}");
                for byte in head.bytes().chain(std::iter::repeat(b'x')) {
                    let is_cut = connection.write(&[byte]).await.is_err()
                        || connection.closed(Duration::from_millis(100)).await.is_ok();
                    if is_cut {
                        return Some(started.elapsed());
                    }
                    if over.load(Relaxed) {
                        return None;
                    }
                }
                None
            })
        })
        .collect();
    let started = Instant::now();
    let (mut served, mut longest) = (0, Duration::ZERO);
    while slow.iter().any(|client| !client.is_finished()) && started.elapsed() < PATIENCE {
        let asked = Instant::now();
        assert_eq!(bob.page().await.principal.as_deref(), Some("bob"));
        longest = longest.max(asked.elapsed());
        served += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    over.store(true, Relaxed);
    let cut = futures_util::future::join_all(slow)
        .await
        .into_iter()
        .map(|client| client.expect("no panic"))
        .collect::<Vec<_>>();
    let latest = cut.iter().flatten().max();
    println!(
        "s23: {} of 100 slow clients disconnected, the last after {latest:?}; meanwhile {served} requests, the longest {longest:?}",
        cut.iter().flatten().count()
    );
    // This is much shorter than the slow clients stay, so requests do not wait for them.
    assert!(longest < Duration::from_millis(2_500), "a request waited {longest:?}");
    assert!(cut.iter().all(Option::is_some), "a slow client is still connected");
}
