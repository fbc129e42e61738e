//! Free ports.

use std::net::{Ipv4Addr, TcpListener};

/// Where ports are looked for: below those that a system gives to outgoing connections, one of which could otherwise take the port of a
/// server that is stopped for a while; and so low that the bus of a cluster, [`BUS`] above, is below them too.
const RANGE: std::ops::Range<u16> = 10_240..20_000;

/// How far above its port a cluster node listens for other nodes.
const BUS: u16 = 10_000;

/// Ports of 127.0.0.1 that are free at this moment, as are those of the cluster buses that belong to them. Another process may be faster,
/// so who uses one must be ready to ask again.
pub(super) fn free(count: usize) -> Vec<u16> {
    let mut found = Vec::new();
    while found.len() < count {
        let port = fastrand::u16(RANGE);
        if !found.contains(&port) && [port, port + BUS].into_iter().all(is_free) {
            found.push(port);
        }
    }
    found
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
