//! What the nodes of a service run.

use std::fmt;

use super::node::Node;

/// How a server's program is started, and how it is known that it runs.
pub(super) trait Server: fmt::Debug + Sized {
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
