//! The socket at a path.

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
/// The pause after an accept that failed for want of descriptors or memory, so that the loop does
/// not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket that this process alone serves, as long as it lives.
pub(crate) struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Which file the socket is, so that only this one is removed at the end.
    inode: (u64, u64),
    /// Locked; the kernel unlocks it when the process ends, however it ends.
    _lock: File,
}

impl Listener {
    /// Makes the socket. Nobody can connect before its mode is 0600, because it listens only after
    /// that.
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

    /// Accepts until the owner is shut down.
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
                    tracing::warn!(%error, "a client could not be accepted; the next is tried after a pause");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// A path that nobody serves any more is not left behind.
impl Drop for Listener {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|file| (file.dev(), file.ino()) == self.inode);
        if ours {
            // The lock is still held, so no other owner can have made a new socket in between.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Serves a client that connected if its user may.
fn accept_client(owner: &Arc<OwnerShared>, stream: UnixStream) {
    let ours = rustix::process::geteuid().as_raw();
    let reason = match stream.peer_cred() {
        Ok(peer) if peer.uid() == ours || owner.settings.allowed_uids.contains(&peer.uid()) => {
            // `serve` reports whatever happens; that the owner was shut down meanwhile is no news.
            tokio::spawn(serve(Arc::clone(owner), stream, ClientOrigin::Accepted));
            return;
        }
        Ok(peer) => format!("uid {} is not allowed", peer.uid()),
        Err(error) => format!("its uid is unknown: {error}"),
    };
    owner.count_refusal();
    refuse(&stream, HelloStatus::UserNotAllowed, owner.settings.frame_bytes);
    tracing::warn!("a client was refused: {reason}");
}

/// Takes the lock that says who serves `path`.
fn lock(path: &Path) -> Result<File, OwnerError> {
    let failed = |source| OwnerError::Bind { path: path.to_owned(), source };
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    // Never truncated or removed: another owner may be opening it right now, and two locks on two
    // files would let both serve.
    let mut options = OpenOptions::new();
    // A link put there by somebody else must not make us create or open another file.
    let no_link = OFlags::NOFOLLOW.bits().cast_signed();
    let file = options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(no_link)
        .open(name)
        .map_err(failed)?;
    // The umask may have taken rights away that the next owner needs. Another user's file keeps its
    // mode.
    let _ = file.set_permissions(Permissions::from_mode(0o600));
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OwnerError::AddressInUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Removes the socket of an owner that is gone, and nothing else.
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
    // We hold the lock, so no owner of ours is there; yet the socket may be another program's.
    match connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        // A backlog that is full is somebody's as well.
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(failed(error)),
        _ => Err(OwnerError::AddressInUse { path: path.to_owned() }),
    }
}
