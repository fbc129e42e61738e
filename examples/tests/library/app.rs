//! A running application.

use std::{net::SocketAddr, path::Path};

use rustix::process::Signal;
use tests::{Browser, KEY, PATIENCE, process::Process, wait};

/// A running application. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct App {
    process: Process,
    /// Where it serves.
    pub(crate) address: SocketAddr,
}

impl App {
    /// Starts an example on a free port, with the key of all tests.
    pub(crate) async fn start(program: &str, arguments: &[&str]) -> Self {
        Self::start_with(program, arguments, KEY).await
    }

    /// The same with another key.
    pub(crate) async fn start_with(program: &str, arguments: &[&str], key: &str) -> Self {
        let mut process = Process::start(
            Path::new(program),
            arguments,
            &[("COOKIE_KEY", key), ("LISTEN", "127.0.0.1:0")],
        );
        let address = word(&mut process, "listening on http://").await;
        Self { address: address.parse().expect("an address with a port"), process }
    }

    /// Ends it as an operator does.
    pub(crate) async fn stop(mut self) {
        self.process.signal(Signal::TERM);
        let status = self.process.end(PATIENCE).await;
        assert!(status.success(), "{status}: {}", self.process.stderr.text());
    }
}

/// What the process says after `prefix`.
pub(crate) async fn word(process: &mut Process, prefix: &str) -> String {
    wait::until(prefix, PATIENCE, async || {
        if let Some(status) = process.ended() {
            panic!("it ended with {status}: {}", process.stderr.text());
        }
        process.stdout.after(prefix)
    })
    .await
}

/// What the front page says to this visitor.
pub(crate) async fn front(browser: &mut Browser) -> String {
    browser.get("/").await.expect(200).text().trim_end().to_owned()
}
