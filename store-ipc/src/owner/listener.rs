//! Listens at a path: creates the socket, locks the path and accepts clients.

use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::fs::OFlags;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixStream;

use super::{
    connection::ClientOrigin,
    serve::{refuse, serve},
    shared::OwnerShared,
};
use crate::{
    error::OwnerError,
    wire::{frame::HelloStatus, socket::connect},
};

/// How many clients may wait to be accepted.
const BACKLOG: i32 = 1_024;
/// The pause after an accept that failed for lack of descriptors or memory. It keeps the loop from
/// spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket that only this process serves.
pub(crate) struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Device and inode of the socket, so that only this file is removed at the end.
    inode: (u64, u64),
    /// Locked. The kernel releases the lock when the process ends for any reason.
    _lock: File,
}

impl Listener {
    /// Creates the socket. It listens after its mode is 0600, so that no other user can connect
    /// before.
    pub(crate) fn bind(path: &Path) -> Result<Self, OwnerError> {
        let failed = |source| OwnerError::Bind { path: path.to_owned(), source };
        let lock = lock(path)?;
        remove_stale(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
        let address = SockAddr::unix(path).map_err(failed)?;
        socket.bind(&address).map_err(failed)?;
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
        let file = fs::symlink_metadata(path).map_err(failed)?;
        socket.listen(BACKLOG).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let socket = UnixListener::from(std::os::fd::OwnedFd::from(socket));
        Ok(Self { socket, path: path.to_owned(), inode: (file.dev(), file.ino()), _lock: lock })
    }

    /// Accepts clients until the owner is shut down.
    pub(crate) async fn run(self, owner: Arc<OwnerShared>) -> Result<(), OwnerError> {
        let Some(_token) = owner.track_listener() else { return Err(OwnerError::Stopped) };
        let failed = |source| OwnerError::Bind { path: self.path.clone(), source };
        let socket =
            self.socket.try_clone().and_then(tokio::net::UnixListener::from_std).map_err(failed)?;
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                () = owner.stopped() => return Ok(()),
            };
            match accepted {
                Ok((stream, _)) => accept_client(&owner, stream),
                Err(error) => {
                    tracing::warn!(%error, "could not accept a client; trying again after a pause");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Removes the socket at the end.
impl Drop for Listener {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|file| (file.dev(), file.ino()) == self.inode);
        if ours {
            // The lock is still held, so no other owner can have created a new socket in between.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Serves a client that connected, if its user is allowed.
fn accept_client(owner: &Arc<OwnerShared>, stream: UnixStream) {
    let ours = rustix::process::geteuid().as_raw();
    let reason = match stream.peer_cred() {
        Ok(peer) if peer.uid() == ours || owner.settings.allowed_uids.contains(&peer.uid()) => {
            // `serve` logs every failure. Its result only says that the owner was shut down
            // meanwhile.
            tokio::spawn(serve(Arc::clone(owner), stream, ClientOrigin::Accepted));
            return;
        }
        Ok(peer) => format!("uid {} is not allowed", peer.uid()),
        Err(error) => format!("its uid is unknown: {error}"),
    };
    owner.count_refusal();
    refuse(&stream, HelloStatus::UserNotAllowed, owner.settings.frame_bytes);
    tracing::warn!(reason, "refused a client");
}

/// Takes the lock of the owner that serves `path`.
fn lock(path: &Path) -> Result<File, OwnerError> {
    let failed = |source| OwnerError::Bind { path: path.to_owned(), source };
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    // The file is never truncated or removed: another owner may be opening it right now. Two locks
    // on two files would let both owners serve.
    let mut options = OpenOptions::new();
    // A symbolic link of another user must not make this process create or open another file.
    let no_link = OFlags::NOFOLLOW.bits().cast_signed();
    let file = options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(no_link)
        .open(name)
        .map_err(failed)?;
    // The umask may have removed rights that the next owner needs. A file of another user keeps its
    // mode.
    let _ = file.set_permissions(Permissions::from_mode(0o600));
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OwnerError::AddressInUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Removes the socket of an owner that has ended, and no other file.
fn remove_stale(path: &Path) -> Result<(), OwnerError> {
    let failed = |source| OwnerError::Bind { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(OwnerError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    // This process holds the lock, so no other owner serves the path. The socket may belong to
    // another program.
    match connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        // A full backlog means that a program serves the socket.
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(failed(error)),
        _ => Err(OwnerError::AddressInUse { path: path.to_owned() }),
    }
}
