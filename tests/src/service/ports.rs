//! Free ports.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// Where ports are looked for: below those that a system gives to outgoing connections, one of
/// which could otherwise take the port of a server that is stopped for a while; and so low that the
/// bus of a cluster, [`BUS`] above, is below them too.
const RANGE: std::ops::Range<u16> = 10_240..20_000;

/// How far above its port a cluster node listens for other nodes.
const BUS: u16 = 10_000;

/// A port of 127.0.0.1 that no other test takes while this value lives, also while its server is
/// stopped.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
    /// The UDP port of the same number says to other tests that this one is taken: servers use TCP
    /// alone. The system frees it when the process ends, however it ends.
    _claim: UdpSocket,
}

/// Ports that are free at this moment, as are those of the cluster buses that belong to them.
/// Another kind of process can take one first, so the caller must be ready to try again.
pub(crate) fn free(count: usize) -> Vec<Port> {
    let mut found = Vec::new();
    while found.len() < count {
        found.extend(take(fastrand::u16(RANGE)));
    }
    found
}

/// The claim comes first: to look whether a port is free takes it for a moment, from a server that
/// is about to start there.
fn take(number: u16) -> Option<Port> {
    let claim = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
    [number, number + BUS].into_iter().all(is_free).then_some(Port { number, _claim: claim })
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::{RANGE, free, take};

    #[test]
    fn a_port_is_reserved_until_it_is_dropped() {
        let port = free(1).remove(0);
        let number = port.number;
        assert!(RANGE.contains(&number));
        assert!(take(number).is_none());
        drop(port);
        assert!(take(number).is_some());
    }
}
