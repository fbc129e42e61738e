//! S17: how the browser treats the session cookie.

use crate::rig::{Rig, principal, send};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s17_browser_keeps_the_cookie_from_scripts_and_plain_http() {
    let Some(rig) = Rig::start(&[]).await else { return };
    let browser = rig.signed_in("bob").await;
    let cookies = browser.cookies().await;
    assert_eq!(cookies.len(), 1);
    let cookie = &cookies[0];
    assert_eq!(cookie.name, "__Host-id");
    assert_eq!((cookie.secure, cookie.http_only, cookie.same_site.as_str()), (true, true, "Lax"));
    assert_eq!(
        (cookie.domain.as_str(), cookie.path.as_str(), cookie.expiry),
        ("site.test", "/", None)
    );
    // A cookie that the script sets shows that scripts can read cookies.
    let seen: String = browser.run("document.cookie = 'own=1'; return document.cookie;", ()).await;
    assert_eq!(seen, "own=1");
    browser.open(&rig.nginx.plain()).await;
    browser.open(&rig.nginx.site()).await;
    let sent = |scheme: &str| {
        let accesses = rig.nginx.accesses();
        let of_the_page =
            accesses.iter().filter(|access| access.scheme == scheme && access.target == "/");
        of_the_page.map(|access| access.cookie.clone()).collect::<Vec<_>>()
    };
    println!(
        "s17: the browser sent a cookie: over http {:?}, over https {:?}",
        sent("http"),
        sent("https")
    );
    assert_eq!(sent("http"), ["no"]);
    assert_eq!(sent("https"), ["yes"]);
    assert_eq!(principal(&browser).await.as_deref(), Some("bob"));
    assert_eq!(send(&browser, "POST", "/logout", None).await.0, 204);
    assert!(
        browser.cookies().await.iter().all(|cookie| cookie.name == "own"),
        "the sign-out removed the cookie"
    );
    browser.close().await;
}
