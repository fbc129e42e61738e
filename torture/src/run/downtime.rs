//! Outages of single servers, and their times.

/// A span in which a server was dead or frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Downtime {
    pub(super) port: u16,
    pub(super) from: u64,
    pub(super) until: u64,
}

/// The kind of an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outage {
    /// The process is killed. The kernel refuses new connections.
    Killed,
    /// The process keeps its connections and does not answer. Later it continues where it stopped.
    Frozen,
}
