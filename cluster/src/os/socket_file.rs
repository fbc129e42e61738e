//! A listening Unix-domain socket, with a lock file beside it.

use std::{
    fs::{self, Permissions},
    io,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf, absolute},
};

use rustix::fs::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};

use super::pid_file::{LockError, PidFile};

/// A listening Unix socket. While this process holds the lock file, no other process serves its
/// path.
#[derive(Debug)]
pub(crate) struct SocketFile {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the socket file, so that only this file is removed at the end.
    inode: (u64, u64),
    // Dropped after the socket was removed. If the lock file is kept, so is the socket.
    lock: PidFile,
}

impl SocketFile {
    /// Creates the socket with these permissions, and replaces one that a crash left behind. At no
    /// moment can more users connect. The kernel queues at most `backlog` clients.
    pub(crate) fn bind(path: &Path, mode: u32, backlog: i32) -> Result<Self, LockError> {
        let path = absolute(path)?;
        let address = SockAddr::unix(&path)?;
        let lock = lock_path(&path);
        let lock = PidFile::open(&lock, 0o600).map_err(|why| match why {
            // The caller adds the path of the socket. This error concerns the lock file.
            LockError::Failed(error) => {
                io::Error::new(error.kind(), format!("its lock {}: {error}", lock.display())).into()
            }
            taken @ LockError::Taken(_) => taken,
        })?;
        lock.write_own_pid()?;
        remove_stale(&path, &address)?;
        let bound = Self::of_predecessor(bind(&address)?, lock, path);
        let socket = socket2::SockRef::from(&bound.listener);
        socket.listen(backlog)?;
        socket.set_nonblocking(true)?;
        // Last, because it lets others connect. The umask may have removed permissions.
        bound.set_mode(mode)?;
        Ok(bound)
    }

    /// A socket that is bound to `path`. The lock decides which process owns it.
    pub(crate) fn of_predecessor(listener: UnixListener, lock: PidFile, path: PathBuf) -> Self {
        // If the file was removed, (0, 0) matches no file, so the drop removes nothing.
        let inode = fs::symlink_metadata(&path).map_or((0, 0), |file| (file.dev(), file.ino()));
        Self { listener, path, inode, lock }
    }

    /// Sets the permissions of the file. Fails if another file is at the path.
    pub(crate) fn set_mode(&self, mode: u32) -> io::Result<()> {
        if !self.is_at_its_path() {
            let text = "its file was removed or replaced; stop the server and start it again";
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        fs::set_permissions(&self.path, Permissions::from_mode(mode))
    }

    fn is_at_its_path(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|file| {
            (file.dev(), file.ino()) == self.inode && file.file_type().is_socket()
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn lock(&self) -> &PidFile {
        &self.lock
    }

    /// The lock file, to make this process the owner of the socket.
    pub(crate) fn lock_mut(&mut self) -> &mut PidFile {
        &mut self.lock
    }

    /// A copy to accept from.
    pub(crate) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }

    /// Removes the file, so that no new client can connect. Clients in the queue stay.
    pub(crate) fn remove_file(&self) -> io::Result<()> {
        // The lock is held, so no other primary has created a new socket here.
        if self.is_at_its_path() { fs::remove_file(&self.path) } else { Ok(()) }
    }

    /// Leaves socket and lock file to the process that has copies of the descriptors.
    pub(crate) fn leave_to_successor(&mut self) {
        self.lock.leave_to_successor();
    }
}

/// Removes the socket file, unless it is left to another process.
impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.lock.is_kept()
            && let Err(error) = self.remove_file()
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a socket");
        }
    }
}

/// The path of the lock file of the socket at `path`: the same name with `.lock` appended.
#[must_use]
pub fn lock_path(path: impl AsRef<Path>) -> PathBuf {
    let mut name = path.as_ref().to_owned().into_os_string();
    name.push(".lock");
    name.into()
}

/// A bound socket that does not listen yet. Its file has mode 0600 from its first moment.
fn bind(address: &SockAddr) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Linux gives the file the mode of the socket, less the umask.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(address)?;
    Ok(UnixListener::from(OwnedFd::from(socket)))
}

/// Removes the socket of a primary that has ended. Refuses all other files.
fn remove_stale(path: &Path, address: &SockAddr) -> Result<(), LockError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is not a socket is there; choose another path",
            )
            .into());
        }
        Ok(_) => {}
    }
    // This process holds the lock, so no other primary serves the socket. Another program may.
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Without it, a full backlog would block this thread.
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Ok(fs::remove_file(path)?)
        }
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error.into()),
        _ => Err(LockError::Taken(None)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::process;

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        (folder, path)
    }

    fn control(path: &Path) -> Result<SocketFile, LockError> {
        SocketFile::bind(path, 0o600, 64)
    }

    fn left(folder: &tempfile::TempDir) -> usize {
        fs::read_dir(folder.path()).unwrap().count()
    }

    #[test]
    fn socket_has_mode_0600_from_its_first_moment() {
        let (_folder, path) = folder();
        let _socket = bind(&SockAddr::unix(&path).unwrap()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn live_socket_is_not_replaced_and_drop_removes_all_files() {
        let (folder, path) = folder();
        let bound = control(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(control(&path), Err(LockError::Taken(Some(p))) if p == process::id()));
        UnixStream::connect(&path).unwrap();
        drop(bound);
        assert_eq!(left(&folder), 0);
    }

    #[test]
    fn dead_socket_of_another_program_is_replaced_a_live_one_not() {
        let (folder, path) = folder();
        let other = UnixListener::bind(&path).unwrap();
        assert!(matches!(control(&path), Err(LockError::Taken(None))));
        assert_eq!(left(&folder), 1);
        UnixStream::connect(&path).unwrap();
        drop(other);
        control(&path).unwrap();
    }

    #[test]
    fn file_that_is_not_a_socket_is_unchanged() {
        let (_folder, path) = folder();
        fs::write(&path, "some text").unwrap();
        let Err(LockError::Failed(error)) = control(&path) else { panic!("bound") };
        assert!(error.to_string().contains("not a socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "some text");
    }

    #[test]
    fn successor_keeps_socket_and_lock() {
        let (folder, path) = folder();
        let mut bound = control(&path).unwrap();
        let successor = || {
            let lock =
                PidFile::of_predecessor(bound.lock.copy().unwrap(), bound.lock.path().to_owned());
            SocketFile::of_predecessor(bound.listener().unwrap(), lock, path.clone())
        };
        // A successor that does not take charge changes nothing.
        drop(successor());
        UnixStream::connect(&path).unwrap();
        let mut successor = successor();
        bound.leave_to_successor();
        drop(bound);
        assert!(matches!(control(&path), Err(LockError::Taken(Some(_)))));
        UnixStream::connect(&path).unwrap();
        successor.lock_mut().take_charge().unwrap();
        drop(successor);
        assert_eq!(left(&folder), 0);
    }
}
