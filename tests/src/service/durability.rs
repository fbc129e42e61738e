//! What a server still holds after it was killed and started again.

/// What a server still holds after it was killed and started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Every write that it has acknowledged.
    Full,
    /// Nothing.
    None,
}
