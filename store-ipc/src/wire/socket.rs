//! Connects to a Unix-domain socket without blocking.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
};

use socket2::{Domain, SockAddr, Socket, Type};

/// Connects at once or fails.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Otherwise a full backlog of the owner would block this thread.
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(UnixStream::from(OwnedFd::from(socket)))
}
