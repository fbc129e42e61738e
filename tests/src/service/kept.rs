//! What outlives a server.

/// What a server holds after it was stopped and started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Whatever it had acknowledged.
    Everything,
    /// Nothing.
    Nothing,
}
