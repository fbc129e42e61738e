//! S06 to S08: the scope of a signature, and the signing keys.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use session_core::cookie::Key;
use tests::{
    Browser, Demo, KEY, OTHER_KEY, Page, Setup,
    client::{Request, send},
    cookie::id_of,
};

use crate::cookies::page_for;

on_every_shared_setup!(
    s06_value_signed_for_another_cookie_or_purpose_is_refused,
    s07_key_rotation_signs_no_user_out,
    s08_weak_key_is_refused,
);

async fn s06_value_signed_for_another_cookie_or_purpose_is_refused(setup: &Setup) {
    // Two demos have the same key and store, but different cookie names.
    let one = ["--workers", "1"];
    let secure = [&one[..], &["--cookie", "secure", "--trusted-proxy", "127.0.0.1/32"]].concat();
    let (plain, secure) = tokio::join!(setup.start_with(&one), setup.start_with(&secure));
    let https = |request: Request| request.header("X-Forwarded-Proto", "https");
    let mut bob = plain.signed_in("bob").await;
    let moved = https(Request::get("/session")).cookie(format!("__Host-id={}", bob.cookie()));
    assert!(
        send(secure.address, &moved)
            .await
            .expect("an answer")
            .expect(200)
            .json::<Page>()
            .is_anonymous()
    );
    let mut eve = secure.browser().always("X-Forwarded-Proto", "https");
    let _ = eve.login("eve").await.expect(200);
    assert_eq!(eve.page().await.principal.as_deref(), Some("eve"));
    assert!(page_for(&plain, &[format!("id={}", eve.cookie()).into_bytes()]).await.is_anonymous());
    // A signature over the same id for another purpose.
    let id = id_of(bob.cookie());
    let key = Key::parse(KEY).expect("a strong key");
    let mac = Hmac::<sha2::Sha256>::new_from_slice(key.expose()).expect("any length");
    let bare = URL_SAFE_NO_PAD.encode(mac.chain_update(id).finalize().into_bytes());
    assert!(page_for(&plain, &[format!("id=2.{id}.{bare}").into_bytes()]).await.is_anonymous());
    assert_eq!(bob.page().await.principal.as_deref(), Some("bob"));
}

async fn s07_key_rotation_signs_no_user_out(setup: &Setup) {
    let both = format!("{OTHER_KEY},{KEY}");
    let with = async |keys: &str| setup.start_with(&["--workers", "2", "--cookie-key", keys]).await;
    let mut first = with(KEY).await;
    let mut browser = first.signed_in("bob").await;
    let old = browser.cookie().to_owned();
    first.stop().await;
    let mut second = with(&both).await;
    browser = browser.at(second.address);
    let response = browser.get("/session").await.expect(200);
    assert_eq!(response.json::<Page>().principal.as_deref(), Some("bob"));
    let issued = response.set_cookie().expect("the cookie is issued again");
    assert_eq!(issued.id(), id_of(&old), "the same id");
    assert_ne!(issued.value, old, "the new key signed it");
    assert!(
        browser.get("/session").await.expect(200).set_cookie().is_none(),
        "the cookie is issued again only once"
    );
    second.stop().await;
    let third = with(OTHER_KEY).await;
    assert_eq!(browser.at(third.address).page().await.principal.as_deref(), Some("bob"));
    assert!(
        Browser::holding(third.address, &old).page().await.is_anonymous(),
        "the old key is not accepted"
    );
}

async fn s08_weak_key_is_refused(setup: &Setup) {
    for (weak, secret) in
        [("c2hvcnQtYW5kLXNlY3JldA==", "c2hvcnQ"), ("not a key, surely; swordfish!", "swordfish")]
    {
        let ended = Demo::run(
            &[&["--listen", "127.0.0.1:0"], &setup.flags_with(&["--cookie-key", weak])[..]]
                .concat(),
            &[],
        )
        .await;
        assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains("openssl rand"), "{}", ended.stderr);
        assert!(
            !ended.stderr.contains(secret) && !ended.stdout.contains(secret),
            "a key is printed: {}",
            ended.stderr
        );
        assert!(!ended.stdout.contains("listening"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s08_missing_key_is_generated_for_sessions_in_the_primary() {
    let flags = ["--workers", "2", "--listen", "127.0.0.1:0"];
    let (demo, other) = tokio::join!(Demo::start_with(&flags, &[]), Demo::start_with(&flags, &[]));
    let output = demo.output();
    assert!(
        output.contains("restart") && output.contains("cookie"),
        "the output warns that a restart invalidates cookies: {output}"
    );
    let mut browser = demo.signed_in("bob").await;
    for _ in 0..20 {
        assert_eq!(
            browser.page().await.principal.as_deref(),
            Some("bob"),
            "all workers use the same key"
        );
    }
    assert!(
        browser.at(other.address).page().await.is_anonymous(),
        "another demo generates another key"
    );
}
