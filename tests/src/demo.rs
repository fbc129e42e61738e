//! A running demo server.

use std::{net::SocketAddr, path::Path, process::ExitStatus, time::Duration};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::{
    binary::demo_server,
    browser::Browser,
    client::{Connection, Request},
    process::Process,
    wait,
};

/// How long a start, an orderly end or a recovery may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The key that signs cookies unless a test has another. Attacks know it and can sign cookies.
pub const KEY: &str = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJAAESIzRFVmd4iZqrvM3e7_";

/// Another key.
pub const OTHER_KEY: &str = "ABEiM0RVZneImaq7zN3u_xAgMEBQYHCAkKCwwNDg8AECAwQFBgcICQoLDA0ODw8e";

/// How many lines of the output of the demo a failed test shows.
const MOST_LAST_LINES: usize = 30;

/// A running demo server. Dropping it kills the primary and its workers.
#[derive(Debug)]
pub struct Demo {
    /// The primary.
    pub process: Process,
    /// Its address.
    pub address: SocketAddr,
}

impl Demo {
    /// Starts one on a free port, signing with [`KEY`] unless `flags` say otherwise, and waits
    /// until all its workers serve.
    ///
    /// # Panics
    /// If it ends instead.
    pub async fn start(flags: &[&str]) -> Self {
        let mut arguments = vec!["--listen", "127.0.0.1:0"];
        if !flags.contains(&"--cookie-key") {
            arguments.extend(["--cookie-key", KEY]);
        }
        arguments.extend(flags);
        Self::start_with(&arguments, &[]).await
    }

    /// Starts one with metrics, and returns their address.
    ///
    /// # Panics
    /// If it ends instead.
    pub async fn counting(flags: &[&str]) -> (Self, SocketAddr) {
        let demo = Self::start(&[&["--metrics", "127.0.0.1:0"], flags].concat()).await;
        let address = demo
            .process
            .stdout
            .after("  metrics  http://")
            .expect("the demo prints the address of its metrics");
        let address = address
            .trim_end()
            .trim_end_matches("/metrics")
            .parse()
            .expect("an address with a port");
        (demo, address)
    }

    /// Starts one with exactly these arguments and this environment.
    ///
    /// # Panics
    /// If it ends instead.
    pub async fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_as(demo_server(), arguments, environment).await
    }

    /// Starts the program of this path, with exactly these arguments and this environment.
    ///
    /// # Panics
    /// If it ends instead.
    pub async fn start_as(
        program: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let mut process = Process::start(program, arguments, environment);
        let address = wait::until("the demo to listen", PATIENCE, async || {
            if let Some(status) = process.ended() {
                panic!("the demo ended with {status}: {}", process.stderr.text());
            }
            process.stdout.after("listening on http://")
        })
        .await;
        Self {
            address: address.trim_end_matches('/').parse().expect("an address with a port"),
            process,
        }
    }

    /// Runs one that is expected to end by itself.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
        let mut process = Process::start(demo_server(), arguments, environment);
        let status = process.end(PATIENCE).await;
        // The readers see the end of the pipes at about the same time as the process ends.
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ended { status, stdout: process.stdout.text(), stderr: process.stderr.text() }
    }

    /// A visitor without a cookie.
    #[must_use]
    pub fn browser(&self) -> Browser {
        Browser::new(self.address)
    }

    /// A visitor who has just signed in.
    pub async fn signed_in(&self, user: &str) -> Browser {
        Browser::signed_in(self.address, user).await
    }

    /// The worker processes.
    #[must_use]
    pub fn workers(&self) -> Vec<Pid> {
        self.process.children()
    }

    /// One kept-alive connection to each of `count` workers.
    ///
    /// # Panics
    /// If not all of them answer.
    pub async fn connections(&self, count: usize) -> Vec<Connection> {
        let mut held: Vec<(String, Connection)> = Vec::new();
        wait::until("an answer from every worker", PATIENCE, async || {
            // Several at once, because a single connection always reaches the worker that wakes
            // first.
            let mut fresh = Vec::new();
            for _ in 0..4 * count {
                fresh.push(Connection::open(self.address).await.expect("the demo accepts"));
            }
            let answers = fresh.into_iter().map(|mut connection| async move {
                let response =
                    connection.send(&Request::get("/healthz")).await.expect("the demo answers");
                (response.worker().to_owned(), connection)
            });
            for (worker, connection) in futures_util::future::join_all(answers).await {
                if !held.iter().any(|(known, _)| *known == worker) {
                    held.push((worker, connection));
                }
            }
            (held.len() >= count).then_some(())
        })
        .await;
        assert_eq!(held.len(), count, "more workers answer than there should be");
        held.into_iter().map(|(_, connection)| connection).collect()
    }

    /// Waits until `/readyz` answers 200.
    ///
    /// # Panics
    /// If it does not.
    pub async fn ready(&self) {
        let mut browser = self.browser();
        wait::until("the demo to be ready", PATIENCE, async || {
            browser
                .try_send(Request::get("/readyz"))
                .await
                .is_ok_and(|response| response.status == 200)
                .then_some(())
        })
        .await;
    }

    /// Waits until every worker has reached its store. The first calls make connections and tables,
    /// for which a busy machine can need longer than a deadline.
    ///
    /// # Panics
    /// If one does not reach it.
    pub async fn settle(&self) {
        let mut visitor = wait::until("a visitor to sign in", PATIENCE, async || {
            let mut visitor = self.browser();
            (visitor.login("visitor").await.status == 200).then_some(visitor)
        })
        .await;
        let read = visitor.dress(Request::get("/session"));
        for worker in &mut self.connections(self.workers().len()).await {
            wait::until("a worker to reach its store", PATIENCE, async || {
                (worker.send(&read).await.expect("an answer").status == 200).then_some(())
            })
            .await;
        }
        wait::until("the visitor to sign out", PATIENCE, async || {
            (visitor.post("/logout").await.status == 204).then_some(())
        })
        .await;
    }

    /// Stops it with TERM and waits for its end.
    ///
    /// # Panics
    /// If it does not end with 0.
    pub async fn stop(&mut self) {
        self.process.signal(Signal::TERM);
        let status = self.process.end(PATIENCE).await;
        assert!(status.success(), "{status}: {}", self.process.stderr.text());
    }

    /// Sends USR2 to the primary, and waits until another one has taken its place and it has ended.
    ///
    /// # Panics
    /// If that does not happen.
    pub async fn upgrade(&mut self) {
        const SAYS: &str = "another primary has taken over, the workers of this one drain pid=";
        let count = |demo: &Self| demo.process.stderr.text().matches(SAYS).count();
        let before = count(self);
        self.process.signal(Signal::USR2);
        wait::until("another primary to take over", PATIENCE, async || {
            (count(self) > before).then_some(())
        })
        .await;
        let text = self.process.stderr.text();
        let pid = text
            .rsplit(SAYS)
            .next()
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|pid| Pid::from_raw(pid.parse().ok()?));
        self.process.succeeded_by(pid.expect("the process id of the new primary"), PATIENCE).await;
    }

    /// Kills it and its workers at once.
    ///
    /// # Panics
    /// If the system does not end it.
    pub async fn kill(&mut self) {
        let workers = self.process.hold_children();
        self.process.signal(Signal::KILL);
        drop(workers);
        let _ = self.process.end(PATIENCE).await;
    }

    /// All it has written.
    #[must_use]
    pub fn output(&self) -> String {
        format!("{}\n{}", self.process.stdout.text(), self.process.stderr.text())
    }
}

impl Drop for Demo {
    /// A failed test shows the last output of the demo.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = self.process.stderr.text();
            let last: Vec<_> = text.lines().rev().take(MOST_LAST_LINES).collect();
            eprintln!(
                "the last output of the demo:\n{}",
                last.into_iter().rev().collect::<Vec<_>>().join("\n")
            );
        }
    }
}

/// The result of a demo that ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// A process that owns sessions: the server of the ipc store.
#[derive(Debug)]
pub struct Owner {
    process: Option<Process>,
    directory: TempDir,
}

impl Owner {
    /// Starts one in a new folder.
    ///
    /// # Panics
    /// If it does not listen.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let mut owner = Self { process: None, directory };
        owner.restart().await;
        owner
    }

    /// Its URL, for `--store-url`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ipc:{}", self.path().display())
    }

    /// Its socket.
    #[must_use]
    pub fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("sessions.sock")
    }

    /// Its folder.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Kills it. What it held is lost.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same path, empty.
    ///
    /// # Panics
    /// If it does not listen.
    pub async fn restart(&mut self) {
        self.stop();
        let url = self.url();
        let mut process =
            Process::start(demo_server(), &["owner", "--store-url", &url, "--log", "trace"], &[]);
        wait::until("the owner to listen", PATIENCE, async || {
            if let Some(status) = process.ended() {
                panic!("the owner ended with {status}: {}", process.stderr.text());
            }
            process.stdout.after("owner listening on ")
        })
        .await;
        self.process = Some(process);
    }

    /// Freezes it: it keeps its connections and answers nothing.
    pub fn freeze(&self) {
        self.process().freeze();
    }

    /// Lets it continue.
    pub fn thaw(&self) {
        self.process().thaw();
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    /// All it has written.
    #[must_use]
    pub fn output(&self) -> String {
        self.process
            .as_ref()
            .map(|process| format!("{}\n{}", process.stdout.text(), process.stderr.text()))
            .unwrap_or_default()
    }

    /// Its process.
    ///
    /// # Panics
    /// If it is stopped.
    #[must_use]
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("the owner runs")
    }
}
