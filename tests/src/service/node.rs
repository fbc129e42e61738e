//! One process of a service, and the trait of the programs that it can run.

use std::{
    fmt, fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
};

use super::host::{Host, Running};
use crate::{PATIENCE, wait};

/// Another process has taken one of the ports.
#[derive(Debug)]
pub(super) struct PortTaken;

/// How the program of a server is started, and how the tests know that it runs.
#[expect(
    async_fn_in_trait,
    reason = "the futures are awaited in the tests of this workspace, on the thread that makes them"
)]
pub trait Server: fmt::Debug + Sized {
    /// Its output if another process has its port.
    const PORT_TAKEN: &'static str;

    /// Its output if it refuses its settings.
    const REFUSALS: &'static [&'static str];

    /// Puts its files into its folder, and returns the shell line that starts the program. The line
    /// ends with `exec`, so that the shell becomes the server.
    fn set_up(node: &Node<Self>, program: &str) -> String;

    /// Whether it answers. Another server at its address does not count.
    async fn answers(node: &Node<Self>) -> bool;
}

/// One process of a service.
#[derive(Debug)]
pub struct Node<S> {
    pub(super) port: u16,
    pub(super) server: S,
    /// The name of its program.
    pub(super) program: &'static str,
    pub(super) running: Option<Running>,
    /// Whether it is frozen.
    pub(super) is_frozen: AtomicBool,
    /// The folder of its files and of those of the other nodes of the service.
    pub(super) folder: PathBuf,
    /// The length of the output of its earlier runs.
    earlier: usize,
    /// The shell line that starts it.
    line: String,
}

impl<S: Server> Node<S> {
    /// Sets it up; it does not run yet.
    ///
    /// # Panics
    /// If its folder cannot be written to.
    pub(super) fn prepare(host: &Host, program: &'static str, port: u16, server: S) -> Self {
        let folder = host.folder().to_owned();
        let mut node = Self {
            port,
            server,
            program,
            running: None,
            is_frozen: AtomicBool::new(false),
            folder,
            earlier: 0,
            line: String::new(),
        };
        node.line = S::set_up(&node, &host.program);
        node
    }

    /// The shell line that starts it, and the file of its output.
    pub(super) fn launch(&self) -> (String, PathBuf) {
        (self.line.clone(), self.file("out"))
    }

    /// Its file or folder of this kind.
    pub(super) fn file(&self, kind: &str) -> PathBuf {
        self.folder.join(format!("{}.{kind}", self.port))
    }

    /// The folder of its data, if it has one.
    pub(super) fn data(&self) -> PathBuf {
        self.file("data")
    }

    /// Removes its data. It must not run.
    ///
    /// # Panics
    /// If its folder cannot be removed.
    pub(super) fn empty(&self) {
        fs::remove_dir_all(self.data()).expect("a temporary folder can be written to");
    }

    /// Counts all its output as that of earlier runs.
    pub(super) fn forget(&mut self) {
        self.earlier = self.output().len();
    }

    /// Whether it was started and not killed.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether it can answer: it runs and is not frozen.
    pub(super) fn is_awake(&self) -> bool {
        self.is_running() && !self.is_frozen.load(SeqCst)
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// If its port was not free.
    ///
    /// # Panics
    /// If it does not answer.
    pub(super) async fn answer(&self) -> Result<(), PortTaken> {
        let what = format!("{} on port {} to answer", self.program, self.port);
        wait::until(&what, PATIENCE, async || {
            let said = self.said();
            if said.contains(S::PORT_TAKEN) {
                return Some(Err(PortTaken));
            }
            let has_refused = S::REFUSALS.iter().any(|refusal| said.contains(refusal));
            assert!(!has_refused, "{} refuses its settings: {said}", self.program);
            S::answers(self).await.then_some(Ok(()))
        })
        .await
    }

    /// All it has written.
    pub(super) fn output(&self) -> String {
        fs::read_to_string(self.file("out")).unwrap_or_default()
    }

    /// All it has written since its last start.
    pub(super) fn said(&self) -> String {
        self.output().split_off(self.earlier)
    }
}

/// The shell line that runs a program with these words.
pub(super) fn line(program: &str, words: impl IntoIterator<Item = String>) -> String {
    let words = words.into_iter().map(|word| quoted(&word));
    [quoted(program)].into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

/// A word in quotes, which a shell does not interpret.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
