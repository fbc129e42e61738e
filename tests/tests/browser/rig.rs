//! The fixture of each test: a demo with four workers, nginx in front of it, and `ChromeDriver`.

use serde::Deserialize;
use tests::{
    Demo,
    chromium::{ChromeDriver, Chromium, Nginx, Programs},
};

/// Four workers with the sessions in the primary, behind a TLS proxy. The deadline is long, because
/// a browser keeps the machine busy.
const FLAGS: [&str; 8] = [
    "--cookie",
    "secure",
    "--trusted-proxy",
    "127.0.0.1/32",
    "--workers",
    "4",
    "--deadline",
    "10s",
];

/// A site and a browser driver. Dropping it ends both.
pub(crate) struct Rig {
    driver: ChromeDriver,
    pub(crate) nginx: Nginx,
    _demo: Demo,
}

impl Rig {
    /// Starts the site with these additional flags. Returns `None` if a program is missing; the
    /// output names it.
    pub(crate) async fn start(flags: &[&str]) -> Option<Self> {
        let programs = Programs::find()?;
        let demo = Demo::start(&[&FLAGS, flags].concat()).await;
        let nginx = Nginx::start(&programs, demo.address).await;
        let driver = ChromeDriver::start(&programs).await;
        Some(Self { driver, nginx, _demo: demo })
    }

    /// A browser with a new profile, on a page of the site that does not use the session.
    pub(crate) async fn browser(&self) -> Chromium {
        let browser = self.driver.open().await;
        browser.open(&format!("{}/healthz", self.nginx.site())).await;
        browser
    }

    /// The same with a signed-in user.
    pub(crate) async fn signed_in(&self, user: &str) -> Chromium {
        let browser = self.browser().await;
        assert_eq!(
            send(&browser, "POST", "/login", Some(&format!(r#"{{"user":"{user}"}}"#))).await.0,
            200
        );
        assert_eq!(principal(&browser).await.as_deref(), Some(user));
        browser
    }
}

/// Lets the page send a request to its own origin. Returns the status and the text of the response.
pub(crate) async fn send(
    browser: &Chromium,
    method: &str,
    target: &str,
    body: Option<&str>,
) -> (u16, String) {
    let script = "const answer = await fetch(input[1], { method: input[0], body: input[2], cache: 'no-store' }); \
         return [answer.status, await answer.text()];";
    browser.run(script, (method, target, body)).await
}

/// The response to `GET /session` of the page.
pub(crate) async fn page(browser: &Chromium) -> tests::Page {
    let (status, text) = send(browser, "GET", "/session", None).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("a page")
}

/// A row of `GET /devices`.
#[derive(Debug, Deserialize)]
pub(crate) struct Device {
    pub(crate) handle: String,
    /// Whether it is this browser's own session.
    pub(crate) current: bool,
}

/// The devices of the signed-in user.
pub(crate) async fn devices(browser: &Chromium) -> Vec<Device> {
    let (status, text) = send(browser, "GET", "/devices", None).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("devices")
}

/// The value of the only cookie.
pub(crate) async fn cookie(browser: &Chromium) -> String {
    let [cookie] = <[_; 1]>::try_from(browser.cookies().await).expect("one cookie");
    cookie.value
}

/// The user that the page sees signed in.
pub(crate) async fn principal(browser: &Chromium) -> Option<String> {
    page(browser).await.principal
}
