//! One process of a service, and the trait of the programs that it can run.

use std::{
    fmt, fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
};

use super::host::{Host, Running};
use crate::{PATIENCE, wait};

/// Another process was faster in taking one of the ports.
#[derive(Debug)]
pub(super) struct PortTaken;

/// How a server's program is started, and how it is known that it runs.
#[expect(
    async_fn_in_trait,
    reason = "the futures are awaited in the tests of this workspace, on the thread that makes them"
)]
pub trait Server: fmt::Debug + Sized {
    /// What it says if another process has its port.
    const PORT_TAKEN: &'static str;

    /// What it says if it cannot run as it was told to.
    const REFUSALS: &'static [&'static str];

    /// Puts what it needs into its folder, and returns the shell's line that starts this program.
    /// At its end the shell has become the server, by `exec`.
    fn set_up(node: &Node<Self>, program: &str) -> String;

    /// Whether it answers. Another server at its address does not count.
    async fn answers(node: &Node<Self>) -> bool;
}

/// One process of a service.
#[derive(Debug)]
pub struct Node<S> {
    pub(super) port: u16,
    pub(super) server: S,
    /// Its program, as people call it.
    pub(super) program: &'static str,
    pub(super) running: Option<Running>,
    /// Whether it was made to hang.
    pub(super) is_frozen: AtomicBool,
    /// Where its files are, beside those of the service's other nodes.
    pub(super) folder: PathBuf,
    /// How much of its output is of earlier runs.
    earlier: usize,
    /// The shell's line that starts it.
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

    /// What starts it, and where its output goes.
    pub(super) fn launch(&self) -> (String, PathBuf) {
        (self.line.clone(), self.file("out"))
    }

    /// Its file or folder of this kind.
    pub(super) fn file(&self, kind: &str) -> PathBuf {
        self.folder.join(format!("{}.{kind}", self.port))
    }

    /// The folder of what it holds, if it makes one.
    pub(super) fn data(&self) -> PathBuf {
        self.file("data")
    }

    /// Removes all that it holds. It must not run.
    ///
    /// # Panics
    /// If its folder cannot be removed.
    pub(super) fn empty(&self) {
        fs::remove_dir_all(self.data()).expect("a temporary folder can be written to");
    }

    /// Takes all that it has written for words of earlier runs.
    pub(super) fn forget(&mut self) {
        self.earlier = self.output().len();
    }

    /// Whether it was started and not killed.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether it can answer: it was neither stopped nor made to hang.
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

    /// All it has written since it was started last.
    pub(super) fn said(&self) -> String {
        self.output().split_off(self.earlier)
    }
}

/// The shell's line that runs a program with these words.
pub(super) fn line(program: &str, words: impl IntoIterator<Item = String>) -> String {
    let words = words.into_iter().map(|word| quoted(&word));
    [quoted(program)].into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

/// A word as a shell takes it literally.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
