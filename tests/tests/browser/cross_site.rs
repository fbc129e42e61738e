//! S21 and S24: requests of pages of other origins.

use tests::{
    PATIENCE, Page,
    chromium::{Access, Chromium, Nginx},
    wait,
};

use crate::rig::{Rig, cookie, devices, page, send};

/// The routes that change state by `POST` and need no body.
const ROUTES: [&str; 7] = [
    "/session/n/add",
    "/session/n/update",
    "/renew",
    "/credentials-changed",
    "/logout",
    "/logout-others",
    "/logout-everywhere",
];

/// The body of a sign-in. A form sends it as `text/plain`, with `=` between name and value.
const LOGIN: [&str; 2] = [r#"{"user":"mallory","label":""#, r#""}"#];

/// Posts forms, sends requests with `fetch`, and opens a WebSocket. Each form has a frame for its
/// response, so that the page stays. The script does not wait for the frames, because a frame with
/// status 204 never reports that it has loaded.
const ATTACK: &str = r#"
const post = (target, name, value) => {
    const frame = document.createElement("iframe");
    frame.name = "frame" + document.getElementsByTagName("iframe").length;
    document.body.append(frame);
    const form = document.createElement("form");
    Object.assign(form, { method: "post", action: input.site + target, target: frame.name, enctype: "text/plain" });
    const field = document.createElement("input");
    Object.assign(field, { name, value });
    form.append(field);
    document.body.append(form);
    form.submit();
};
const send = (target, body) => fetch(input.site + target, { method: "POST", mode: "no-cors", credentials: "include", body }).catch(() => {});
const connect = target => new Promise(done => {
    const socket = new WebSocket(input.site.replace("https:", "wss:") + target);
    socket.onopen = () => done(true);
    socket.onerror = () => done(false);
});
for (const route of input.routes) post(route, "a", "b");
post("/login", ...input.login);
for (const route of input.routes) await send(route);
await send("/login", input.login.join("="));
return await connect("/");
"#;

/// Posts a form as a navigation of the whole window. The browser accepts cookies of such a
/// response.
const NAVIGATE: &str = r#"
const form = document.createElement("form");
Object.assign(form, { method: "post", action: input.site + "/login", enctype: "text/plain" });
const field = document.createElement("input");
Object.assign(field, { name: input.login[0], value: input.login[1] });
form.append(field);
document.body.append(form);
setTimeout(() => form.submit(), 0);
"#;

/// A form and a `fetch` for each route and for the sign-in, one WebSocket and one navigation.
const REQUESTS: usize = 2 * ROUTES.len() + 2 + 1 + 1;

/// The state that the attacks must not change.
#[derive(Debug, PartialEq)]
struct State {
    principal: Option<String>,
    handle: Option<String>,
    data: Option<serde_json::Map<String, serde_json::Value>>,
    /// The handles of the user's devices.
    devices: Vec<String>,
    cookie: String,
}

impl State {
    async fn of(browser: &Chromium) -> Self {
        let Page { principal, handle, data, .. } = page(browser).await;
        let devices = devices(browser).await.into_iter().map(|device| device.handle).collect();
        Self { principal, handle, data, devices, cookie: cookie(browser).await }
    }
}

/// Attacks from a page of this host. Returns the requests that arrived.
async fn attack(browser: &Chromium, nginx: &Nginx, host: &str) -> Vec<Access> {
    let origin = nginx.origin(host);
    let input = serde_json::json!({ "site": nginx.site(), "routes": ROUTES, "login": LOGIN });
    browser.open(&origin).await;
    let connected: bool = browser.run(ATTACK, &input).await;
    assert!(!connected, "{host}: a WebSocket was opened");
    // A navigation would cancel the pending forms.
    let _ = arrived(nginx, 0, &origin, REQUESTS - 1).await;
    let () = browser.run(NAVIGATE, &input).await;
    arrived(nginx, 0, &origin, REQUESTS).await
}

/// Waits until `count` requests with this `Origin` have ended. Skips the first `before` lines of
/// the access log.
async fn arrived(nginx: &Nginx, before: usize, origin: &str, count: usize) -> Vec<Access> {
    wait::until("the requests of a page", PATIENCE, async || {
        let mut arrived = nginx.accesses().split_off(before);
        arrived.retain(|access| access.host == "site.test" && access.origin == origin);
        (arrived.len() >= count).then_some(arrived)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s21_s24_cross_site_requests_of_a_page_change_nothing() {
    let Some(rig) = Rig::start(&[]).await else { return };
    let (browser, other) = (rig.signed_in("bob").await, rig.signed_in("bob").await);
    assert_eq!(send(&browser, "POST", "/session/n/add", None).await, (200, "1".to_owned()));
    let before = State::of(&browser).await;
    assert_eq!((before.principal.as_deref(), before.devices.len()), (Some("bob"), 2));
    // The browser sends no cookie with requests of another site. It sends the cookie with requests
    // of the same site, so only the check of the origin protects there.
    for (host, cookie) in [("evil.test", "no"), ("sub.site.test", "yes")] {
        let arrived = attack(&browser, &rig.nginx, host).await;
        let refused = arrived.iter().filter(|access| access.status == "403").count();
        let sockets = arrived.iter().filter(|access| access.upgrade == "websocket").count();
        println!(
            "s21: {host}: {} requests arrived, {sockets} of them for a WebSocket; {refused} answered 403; cookie: {cookie}",
            arrived.len()
        );
        assert!(arrived.len() == REQUESTS && refused == REQUESTS && sockets == 1, "{arrived:?}");
        assert!(arrived.iter().all(|access| access.cookie == cookie), "{arrived:?}");

        browser.open(&format!("{}/healthz", rig.nginx.site())).await;
        assert_eq!(State::of(&browser).await, before, "{host}");
        assert_eq!(
            page(&other).await.principal.as_deref(),
            Some("bob"),
            "{host}: the other device"
        );
    }
    works_from_the_site(&rig, &browser).await;
    browser.close().await;
    other.close().await;
}

/// The same requests from a page of the site itself have an effect. This shows that the attack
/// script works.
async fn works_from_the_site(rig: &Rig, browser: &Chromium) {
    let origin = rig.nginx.site();
    let before = rig.nginx.accesses().len();
    let input = serde_json::json!({ "site": origin, "routes": ["/session/n/add"], "login": LOGIN });
    let _: bool = browser.run(ATTACK, &input).await;
    // Two adds, two sign-ins and a WebSocket request, which gets a text response.
    let own = arrived(&rig.nginx, before, &origin, 5).await;
    let answered: Vec<_> = own.iter().map(|access| access.status.as_str()).collect();
    println!("s21: the site's own page: {answered:?}");
    assert!(own.len() == 5 && !answered.contains(&"403"), "{own:?}");
    assert_eq!(page(browser).await.principal.as_deref(), Some("mallory"));
}
