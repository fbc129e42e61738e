//! The ways to run the demo that every HTTP check goes through.

use crate::demo::{Demo, Owner};

/// A store, and how many processes and threads serve with it.
///
/// A further backend is one more constant here, one more arm in `Service::start` if it needs a server of its own, and one more line in
/// the macro that turns checks into tests.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// What chooses it on the command line.
    flags: &'static [&'static str],
    /// How many worker processes serve.
    pub workers: usize,
    /// Which server keeps the sessions outside the demo, if any can.
    service: Option<ServiceKind>,
}

#[derive(Debug, Clone, Copy)]
enum ServiceKind {
    IpcOwner,
}

impl Setup {
    /// Sessions owned by one process, four workers that ask it.
    pub const IPC: Self = Self { flags: &["--store", "ipc", "--workers", "4"], workers: 4, service: Some(ServiceKind::IpcOwner) };

    /// Sessions in the one worker's own memory, four threads. Memory is not shared between processes, so a second worker would not see
    /// what the first one wrote, and the demo refuses to start one.
    pub const MEMORY: Self = Self { flags: &["--store", "memory", "--workers", "1", "--threads", "4"], workers: 1, service: None };

    /// Starts the demo this way.
    pub async fn start(&self) -> Demo {
        self.start_with(&[]).await
    }

    /// The same with further flags.
    pub async fn start_with(&self, flags: &[&str]) -> Demo {
        Demo::start(&[self.flags, flags].concat()).await
    }

    /// Starts the demo this way with its sessions in a server of their own, which the test can stop and freeze.
    ///
    /// # Panics
    /// If this store has no such server.
    pub async fn start_with_service(&self, flags: &[&str]) -> (Service, Demo) {
        let service = Service::start(self.service.expect("a store outside the demo")).await;
        let url = service.url();
        let demo = self.start_with(&[&["--store-url", &url], flags].concat()).await;
        (service, demo)
    }
}

/// The server process that keeps the sessions, with hands on it.
#[derive(Debug)]
pub enum Service {
    /// The owner behind the ipc store. Stopping it loses the sessions.
    IpcOwner(Owner),
}

impl Service {
    async fn start(kind: ServiceKind) -> Self {
        match kind {
            ServiceKind::IpcOwner => Self::IpcOwner(Owner::start().await),
        }
    }

    /// Its URL, for `--store-url`.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Self::IpcOwner(owner) => owner.url(),
        }
    }

    /// Whether sessions are still there after [`Self::stop`] and [`Self::restart`].
    #[must_use]
    pub fn keeps_sessions(&self) -> bool {
        match self {
            Self::IpcOwner(_) => false,
        }
    }

    /// Kills it.
    pub fn stop(&mut self) {
        match self {
            Self::IpcOwner(owner) => owner.stop(),
        }
    }

    /// Starts it again at the same address.
    pub async fn restart(&mut self) {
        match self {
            Self::IpcOwner(owner) => owner.restart().await,
        }
    }

    /// Makes it hang: it holds its connections and answers nothing.
    pub fn freeze(&self) {
        match self {
            Self::IpcOwner(owner) => owner.freeze(),
        }
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        match self {
            Self::IpcOwner(owner) => owner.thaw(),
        }
    }

    /// All it has written.
    #[must_use]
    pub fn output(&self) -> String {
        match self {
            Self::IpcOwner(owner) => owner.output(),
        }
    }
}
