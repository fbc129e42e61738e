//! What the tests of the start with the stores of all products have in common.

use tests::{Demo, Ended, KEY, PATIENCE, Setup, client::Request, service::PASSWORD, wait};

/// The password in URLs that reach no server.
pub(crate) const SECRET: &str = "hunter2";

/// A URL, and the words that its message must contain.
pub(crate) type Mistake = (&'static str, &'static [&'static str]);

/// Expects the end of the demo with this code and these words, without a password.
pub(crate) fn assert_refused(ended: &Ended, code: i32, words: &[&str]) {
    let Ended { status, stdout, stderr } = ended;
    assert_eq!(status.code(), Some(code), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is missing in: {stderr}");
    }
    assert!(!stdout.contains("listening") && !stderr.contains("panicked"), "{stderr}");
    for secret in [SECRET, PASSWORD] {
        assert!(
            !stdout.contains(secret) && !stderr.contains(secret),
            "a password is shown: {stdout}{stderr}"
        );
    }
}

/// Starts a demo with this store. The URL is passed in the environment variable.
pub(crate) async fn run_with(store: &str, url: &str) -> Ended {
    let arguments =
        ["--listen", "127.0.0.1:0", "--workers", "2", "--store", store, "--log", "trace"];
    Demo::run(&arguments, &[("DEMO_STORE_URL", url), ("DEMO_COOKIE_KEY", KEY)]).await
}

/// Expects an error for each URL and each URL with a password that is not percent-encoded, and for
/// `alone`, a URL without `--store`: without that option the demo would keep the sessions itself.
/// `unencoded_words` are the words of the message for a password that is not percent-encoded.
pub(crate) async fn assert_wrong_urls_are_refused(
    store: &str,
    mistakes: &[Mistake],
    unencoded: &[&str],
    unencoded_words: &[&str],
    alone: &str,
) {
    for (url, words) in mistakes {
        assert_refused(&run_with(store, url).await, 2, words);
    }
    for url in unencoded {
        assert_refused(&run_with(store, url).await, 2, unencoded_words);
    }
    let ended = Demo::run(&["--store-url", alone], &[]).await;
    assert_refused(&ended, 2, &["--store-url", &format!("--store {store}")]);
    println!(
        "usage: {} wrong URLs, each ends with 2 and names the remedy",
        mistakes.len() + unencoded.len() + 1
    );
}

/// Expects that `--print-config` shows the host of each URL, without its password.
pub(crate) async fn assert_settings_hide_the_password(store: &str, urls: &[&str]) {
    for &url in urls {
        let arguments = ["--print-config", "--store", store, "--store-url", url];
        let shown = Demo::run(&arguments, &[]).await;
        assert!(shown.status.success(), "{}", shown.stderr);
        assert!(shown.stdout.contains("***") && !shown.stdout.contains(SECRET), "{}", shown.stdout);
        assert!(
            shown.stdout.contains(
                url.rsplit('@').next().and_then(|rest| rest.split('?').next()).expect("a host")
            ),
            "{}",
            shown.stdout
        );
    }
}

/// Expects a startup message that shows the URL from its `begin` on, without its password.
pub(crate) async fn assert_startup_message_hides_the_password(store: &str, url: &str, begin: &str) {
    let demo = start(store, url).await;
    wait::until_true("the whole startup message", PATIENCE, || demo.output().contains("/login"))
        .await;
    let output = demo.output();
    assert!(
        output.contains(&format!("  store    {begin}")) && !output.contains(PASSWORD),
        "{output}"
    );
}

/// A demo with one worker that has started with this store.
pub(crate) async fn start(store: &str, url: &str) -> Demo {
    Demo::start(&["--store", store, "--workers", "1", "--store-url", url]).await
}

pub(crate) async fn demo_starts_while_its_servers_are_down_and_serves_later(setup: &mut Setup) {
    setup.service().stop().await;
    let demo = setup.start_with(&["--deadline", "500ms"]).await;
    wait::until_true("a warning", PATIENCE, || {
        demo.output().contains("sessions cannot be reached yet")
    })
    .await;
    let mut browser = demo.browser();
    let _ = browser.get("/healthz").await.expect(200);
    let _ = browser.get("/readyz").await.expect(503);
    for request in [
        Request::post("/login").json(r#"{"user":"bob"}"#),
        Request::put("/session/n", "1"),
        Request::get("/"),
    ] {
        assert!(browser.send(request).await.expect(503).set_cookie().is_none());
    }
    setup.service().restart().await;
    demo.ready().await;
    wait::until("a sign-in", PATIENCE, async || {
        (browser.login("bob").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(browser.page().await.principal.as_deref(), Some("bob"));
}
