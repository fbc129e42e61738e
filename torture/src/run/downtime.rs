//! Outages of one server, and when they were.

/// A server that is dead, or stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Downtime {
    pub(super) port: u16,
    pub(super) from: u64,
    pub(super) until: u64,
}

/// What happens to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outage {
    /// It is gone, and the kernel says so to whoever asks.
    Killed,
    /// It keeps its connections and answers nothing. Later it goes on where it was.
    Frozen,
}
