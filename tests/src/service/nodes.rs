//! The processes of one service, on one host.

use std::{path::Path, sync::atomic::Ordering::SeqCst};

use futures_util::future::join_all;
use rustix::process::Signal;

use super::{
    host::Host,
    kind::Kind,
    node::{Node, PortTaken, Server},
    origin::Origin,
    ports::{self, Port},
};

/// How often other ports are tried.
const ATTEMPTS: usize = 5;

/// How many lines of the output of each node a failed test shows.
const MOST_LAST_LINES: usize = 8;

/// The processes of one service, which end with it.
#[derive(Debug)]
pub(super) struct Nodes<S: Server> {
    // Before the host, whose folder they use.
    list: Vec<Node<S>>,
    pub(super) host: Host,
    /// Reserved also while the processes are stopped.
    ports: Vec<Port>,
}

impl<S: Server> Nodes<S> {
    /// Starts `count` processes at once, one on each port, and waits until all answer. `describe`
    /// gets the folder and the ports and returns the programs.
    ///
    /// # Panics
    /// If one does not answer, or if other processes take the ports again and again.
    pub(super) async fn start(
        kind: &Kind,
        origin: &Origin,
        count: usize,
        describe: impl Fn(&Path, &[u16]) -> Vec<S>,
    ) -> Self {
        let host = Host::open(origin, kind.program).await;
        let mut nodes = Self { list: Vec::new(), host, ports: Vec::new() };
        for _ in 0..ATTEMPTS {
            nodes.ports = ports::free(count);
            let numbers: Vec<_> = nodes.ports.iter().map(|port| port.number).collect();
            let servers = numbers.iter().zip(describe(nodes.host.folder(), &numbers));
            nodes.list = servers
                .map(|(port, server)| Node::prepare(&nodes.host, kind.program, *port, server))
                .collect();
            if nodes.start_all().await.is_ok() {
                return nodes;
            }
            nodes.stop_all().await;
        }
        panic!(
            "{}: of {count} free ports one was taken before it could be used, {ATTEMPTS} times in a row",
            kind.name
        );
    }

    /// All processes, in the order of `describe`.
    pub(super) fn list(&self) -> &[Node<S>] {
        &self.list
    }

    /// The one on this port.
    ///
    /// # Panics
    /// If there is none.
    pub(super) fn on(&self, port: u16) -> &Node<S> {
        let at = self.position(port);
        &self.list[at]
    }

    /// All that they have written.
    pub(super) fn output(&self) -> String {
        self.list.iter().map(Node::output).collect()
    }

    /// Kills one. A stopped one stays stopped.
    pub(super) async fn stop(&mut self, port: u16) {
        let at = self.position(port);
        self.host.kill(self.list[at].running.take().into_iter().collect()).await;
    }

    /// Starts one again on the same port with the same settings. A running one keeps running.
    ///
    /// # Panics
    /// If another process took the port.
    pub(super) async fn start_again(&mut self, port: u16) {
        let at = self.position(port);
        self.start_these(&[at]).await.unwrap_or_else(|PortTaken| {
            panic!("another process took port {port} while its server was stopped")
        });
    }

    /// Freezes one: it keeps its connections and answers nothing.
    pub(super) async fn freeze(&self, port: u16) {
        self.signal(&[self.on(port)], Signal::STOP).await;
    }

    /// Lets one continue.
    pub(super) async fn thaw(&self, port: u16) {
        self.signal(&[self.on(port)], Signal::CONT).await;
    }

    /// Kills all.
    pub(super) async fn stop_all(&mut self) {
        self.host.kill(self.list.iter_mut().filter_map(|node| node.running.take()).collect()).await;
    }

    /// Starts all that do not run.
    ///
    /// # Errors
    /// If a port was not free.
    pub(super) async fn start_all(&mut self) -> Result<(), PortTaken> {
        self.start_these(&(0..self.list.len()).collect::<Vec<_>>()).await
    }

    /// Freezes all that run.
    pub(super) async fn freeze_all(&self) {
        self.signal(&self.list.iter().collect::<Vec<_>>(), Signal::STOP).await;
    }

    /// Lets all continue that run.
    pub(super) async fn thaw_all(&self) {
        self.signal(&self.list.iter().collect::<Vec<_>>(), Signal::CONT).await;
    }

    async fn signal(&self, nodes: &[&Node<S>], signal: Signal) {
        let running: Vec<_> = nodes.iter().filter_map(|node| node.running.as_ref()).collect();
        self.host.signal(&running, signal).await;
        for node in nodes {
            node.is_frozen.store(signal == Signal::STOP, SeqCst);
        }
    }

    async fn start_these(&mut self, positions: &[usize]) -> Result<(), PortTaken> {
        let stopped: Vec<_> =
            positions.iter().copied().filter(|at| self.list[*at].running.is_none()).collect();
        for at in &stopped {
            self.list[*at].forget();
        }
        let commands: Vec<_> = stopped.iter().map(|at| self.list[*at].launch()).collect();
        let started = self.host.start(&commands).await;
        for (at, running) in stopped.iter().zip(started) {
            self.list[*at].running = Some(running);
            self.list[*at].is_frozen.store(false, SeqCst);
        }
        let answers = join_all(stopped.iter().map(|at| self.list[*at].answer())).await;
        answers.into_iter().collect()
    }

    fn position(&self, port: u16) -> usize {
        let ports: Vec<_> = self.list.iter().map(|node| node.port).collect();
        ports
            .iter()
            .position(|of| *of == port)
            .unwrap_or_else(|| panic!("no node has port {port}; there are {ports:?}"))
    }
}

impl<S: Server> Drop for Nodes<S> {
    /// A failed test shows the last output of its servers.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for node in &self.list {
            let said = node.output();
            let lines: Vec<_> = said.lines().collect();
            let last = &lines[lines.len().saturating_sub(MOST_LAST_LINES)..];
            eprintln!(
                "last output of {} on port {}:\n{}",
                node.program,
                node.port,
                last.join("\n")
            );
        }
    }
}
