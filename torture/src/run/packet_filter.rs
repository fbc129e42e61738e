//! Drops packets in the network namespace of a run.

use std::{
    env, fmt, fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use super::error::BoxError;

/// The environment variable with the name of the namespace outside of the run.
pub(super) const OUTER_NAMESPACE: &str = "TORTURE_OUTSIDE";

/// The table with the rules that drop packets. It disappears with the namespace.
const TABLE: &str = "table ip torture";

/// Permission to drop packets. The type exists only in a process whose namespace was made for this
/// run, so packets of other programs are safe.
#[derive(Debug)]
pub(super) struct PacketFilter(());

/// The direction in which packets are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// Packets to the servers. The servers see no request.
    Requests,
    /// Packets from the servers. Requests take effect, and the answers are lost.
    Answers,
    /// Packets in both directions.
    Both,
}

/// The connections whose packets are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connections {
    /// All connections.
    All,
    /// The connections with a certain bit in the client's port. Other connections continue.
    Some,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requests => "packets to",
            Self::Answers => "packets from",
            Self::Both => "packets to and from",
        })
    }
}

impl PacketFilter {
    /// Checks that this process is in a namespace that was made for this run.
    ///
    /// # Errors
    /// If the namespace is another one, or has more than loopback.
    pub(super) fn of_own_namespace() -> Result<Self, BoxError> {
        let outside = env::var(OUTER_NAMESPACE).map_err(
            |_| "cut needs a network namespace for the run, which `torture run` creates",
        )?;
        let own = name_of("self")?;
        // A process that may not read the namespace of process 1 is in a user namespace. The kernel
        // then limits its rules to network namespaces of that user namespace.
        if !is_own(&own, &outside, name_of("1").ok().as_deref()) {
            return Err("nothing is cut: this network namespace was not made for the run".into());
        }
        // A new namespace has only loopback and some interfaces that are down, so no packet leaves
        // it.
        let connected = fs::read_to_string("/proc/self/net/route")?.lines().count() > 1;
        let addresses: Vec<_> = fs::read_to_string("/proc/self/net/fib_trie")?
            .lines()
            .filter_map(|line| line.trim().strip_prefix("|-- ").map(str::to_owned))
            .filter(|address| !address.starts_with("127.") && address != "0.0.0.0")
            .collect();
        if connected || !addresses.is_empty() {
            return Err(format!(
                "nothing is cut: this network namespace has more than loopback ({})",
                addresses.join(", ")
            )
            .into());
        }
        Ok(Self(()))
    }

    /// Drops packets of the servers on these ports until [`restore`](Self::restore).
    ///
    /// # Errors
    /// If `nft` fails.
    #[expect(clippy::unused_self, reason = "the value proves that the namespace is the run's")]
    pub(super) fn cut(
        &self,
        ports: &[u16],
        direction: Direction,
        connections: Connections,
    ) -> Result<(), BoxError> {
        nft(&rules(ports, direction, connections))
    }

    /// Lets all packets through again.
    ///
    /// # Errors
    /// If `nft` fails.
    #[expect(clippy::unused_self, reason = "the value proves that the namespace is the run's")]
    pub(super) fn restore(&self) -> Result<(), BoxError> {
        nft(&format!("delete {TABLE}\n"))
    }
}

/// Returns the network namespace of a process, such as `net:[4026531840]`.
pub(super) fn name_of(process: &str) -> Result<String, BoxError> {
    Ok(fs::read_link(Path::new("/proc").join(process).join("ns/net"))?.display().to_string())
}

/// Whether a namespace differs from the one outside, and from the one of process 1 if that is
/// known.
fn is_own(own: &str, outside: &str, first: Option<&str>) -> bool {
    own != outside && first != Some(own)
}

/// Returns the rules. Packets are dropped on arrival, so the sender gets no error.
fn rules(ports: &[u16], direction: Direction, connections: Connections) -> String {
    let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    // Clients get even ports first, so the lowest bit would not divide the connections.
    let some = |side: &str| {
        if connections == Connections::Some {
            format!("tcp {side} & 2 == 2 ")
        } else {
            String::new()
        }
    };
    let requests = format!("tcp dport {{ {ports} }} {}drop\n", some("sport"));
    let answers = format!("tcp sport {{ {ports} }} {}drop\n", some("dport"));
    let rules = match direction {
        Direction::Requests => requests,
        Direction::Answers => answers,
        Direction::Both => requests + &answers,
    };
    format!("{TABLE} {{ chain arriving {{ type filter hook input priority 0;\n{rules}}}\n}}\n")
}

fn nft(script: &str) -> Result<(), BoxError> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(script.as_bytes())?;
    }
    let Output { status, stderr, .. } = child.wait_with_output()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("nft: {status}: {}", String::from_utf8_lossy(&stderr).trim()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::{Connections, Direction, is_own, rules};

    #[test]
    fn rules_drop_packets_by_port_and_direction() {
        assert_eq!(
            rules(&[1, 2], Direction::Requests, Connections::All),
            "table ip torture { chain arriving { type filter hook input priority 0;\n\
             tcp dport { 1, 2 } drop\n}\n}\n"
        );
        assert!(
            rules(&[7], Direction::Answers, Connections::Some)
                .contains("\ntcp sport { 7 } tcp dport & 2 == 2 drop\n")
        );
        assert_eq!(rules(&[7], Direction::Both, Connections::All).matches("drop").count(), 2);
    }

    #[test]
    fn namespace_of_the_machine_is_not_cut() {
        assert!(is_own("net:[3]", "net:[2]", Some("net:[1]")));
        assert!(is_own("net:[3]", "net:[2]", None));
        assert!(!is_own("net:[3]", "net:[3]", None));
        assert!(!is_own("net:[3]", "net:[2]", Some("net:[3]")));
    }
}
