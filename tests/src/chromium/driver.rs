//! Chromium behind chromedriver, over the few calls of `WebDriver` that tests need.

use std::{net::SocketAddr, time::Duration};

use rustix::process::Signal;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::programs::Programs;
use crate::{
    client::{Connection, Request},
    demo::PATIENCE,
    process::Process,
    wait,
};

/// How long one call may take: a script sends thousands of requests.
const CALL: Duration = Duration::from_secs(100);

/// The switches of Chromium. It is to run without a display and as root, to store what it stores in
/// its own folder, and to connect to this machine only.
const SWITCHES: [&str; 12] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-breakpad",
    // Chromium would try https where a test asks for http.
    "--disable-features=HttpsUpgrades,HttpsFirstBalancedModeAutoEnable",
    "--host-resolver-rules=MAP *.test 127.0.0.1, MAP * ~NOTFOUND",
];

/// A running chromedriver. Dropping it ends it and its browsers.
#[derive(Debug)]
pub struct ChromeDriver {
    process: Process,
    address: SocketAddr,
    chromium: String,
    // After the process, which has ended when the folder is removed.
    folder: TempDir,
}

/// A running Chromium with its own profile and one window. Its driver ends it.
#[derive(Debug)]
pub struct Chromium {
    driver: SocketAddr,
    session: String,
}

/// A cookie as the browser keeps it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// The host it belongs to, with a dot in front if subdomains get it too.
    pub domain: String,
    /// Its path.
    pub path: String,
    /// Whether it goes over TLS only.
    pub secure: bool,
    /// Whether scripts cannot read it.
    pub http_only: bool,
    /// `Lax` for example.
    pub same_site: String,
    /// When it expires, in seconds since 1970. `None`: when the browser ends.
    pub expiry: Option<u64>,
}

impl ChromeDriver {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// If it does not listen.
    pub async fn start(programs: &Programs) -> Self {
        let folder =
            tempfile::Builder::new().prefix("chromium-").tempdir().expect("a temporary folder");
        let path = folder.path().to_str().expect("temporary folders have plain names");
        // Both store files in these folders beside the profile.
        let environment =
            [("HOME", path), ("TMPDIR", path), ("XDG_CONFIG_HOME", path), ("XDG_CACHE_HOME", path)];
        let mut process = Process::start(&programs.driver, &["--port=0"], &environment);
        let port = wait::until("chromedriver to listen", PATIENCE, async || {
            if let Some(status) = process.ended() {
                panic!("chromedriver ended with {status}: {}", process.stderr.text());
            }
            process.stdout.after("ChromeDriver was started successfully on port ")
        })
        .await;
        let port: u16 = port.trim_end_matches('.').parse().expect("a port");
        let chromium = programs.chromium.to_str().expect("programs have plain paths").to_owned();
        Self { process, address: ([127, 0, 0, 1], port).into(), chromium, folder }
    }

    /// Starts a Chromium with a new profile. It accepts certificates that no authority has signed.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn open(&self) -> Chromium {
        let profile = tempfile::Builder::new()
            .prefix("profile-")
            .tempdir_in(self.folder.path())
            .expect("a temporary folder");
        // It is removed with the folder of the driver, which ends the browser first.
        let profile = profile.keep();
        let mut switches: Vec<_> = SWITCHES.iter().map(|&switch| switch.to_owned()).collect();
        switches.push(format!("--user-data-dir={}", profile.display()));
        let limit = u64::try_from(CALL.as_millis()).expect("a short time") - 10_000;
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "acceptInsecureCerts": true,
            "timeouts": { "script": limit, "pageLoad": limit },
            "goog:chromeOptions": { "binary": self.chromium, "args": switches },
        }}});
        let made =
            call(self.address, Request::post("/session").json(wanted.to_string()), "POST").await;
        let session = made["sessionId"].as_str().expect("WebDriver names its session").to_owned();
        Chromium { driver: self.address, session }
    }
}

impl Drop for ChromeDriver {
    /// Also ends the processes of a browser that a failed test has not closed: they write to the
    /// folder that is removed next. A failed test shows the log of the driver.
    fn drop(&mut self) {
        let browsers = self.process.hold_descendants();
        self.process.signal(Signal::KILL);
        drop(browsers);
        if std::thread::panicking() {
            eprintln!("chromedriver: {}", self.process.stderr.text());
        }
    }
}

impl Chromium {
    /// Opens a page and waits until it has loaded.
    ///
    /// # Panics
    /// If it does not load.
    pub async fn open(&self, url: &str) {
        let _ = self.post("/url", &json!({ "url": url })).await;
    }

    /// Runs the body of an async function in the page, with `input` as its one argument. What it
    /// returns.
    ///
    /// # Panics
    /// If the function throws, or returns something else.
    pub async fn run<T: serde::de::DeserializeOwned>(
        &self,
        body: &str,
        input: impl serde::Serialize,
    ) -> T {
        let script = format!(
            "const [input, done] = arguments; (async () => {{ {body} }})().then(value => done([value ?? null, null]), error => done([null, String(error)]))"
        );
        let answer =
            self.post("/execute/async", &json!({ "script": script, "args": [input] })).await;
        assert!(answer[1].is_null(), "the script failed: {}", answer[1]);
        serde_json::from_value(answer[0].clone())
            .unwrap_or_else(|error| panic!("{error} in {}", answer[0]))
    }

    /// The cookies that the browser would send to the page it shows.
    ///
    /// # Panics
    /// If the browser does not answer.
    pub async fn cookies(&self) -> Vec<Cookie> {
        let request = Request::get(format!("/session/{}/cookie", self.session));
        serde_json::from_value(call(self.driver, request, "GET").await)
            .expect("cookies in the form of WebDriver")
    }

    /// Ends it in order.
    ///
    /// # Panics
    /// If the driver does not answer.
    pub async fn close(self) {
        let _ = call(self.driver, Request::delete(format!("/session/{}", self.session)), "DELETE")
            .await;
    }

    async fn post(&self, command: &str, body: &Value) -> Value {
        call(
            self.driver,
            Request::post(format!("/session/{}{command}", self.session)).json(body.to_string()),
            "POST",
        )
        .await
    }
}

/// Sends a command and returns its value.
async fn call(driver: SocketAddr, request: Request, method: &str) -> Value {
    let mut connection = Connection::open(driver).await.expect("chromedriver accepts");
    connection.write(&request.to_bytes()).await.expect("chromedriver reads");
    let response = connection.response_within(method, CALL).await.expect("chromedriver answers");
    let mut answer: Value = response.json();
    assert_eq!(response.status, 200, "chromedriver: {}", answer["value"]["message"]);
    answer["value"].take()
}
