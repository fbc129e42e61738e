use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf, absolute};

use rustix::fs::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::pid_file::{NotHeld, PidFile};

/// How many clients may wait to be accepted.
const BACKLOG: i32 = 64;

/// A listening socket at a path that no other process serves as long as the lock beside it is held.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Which file the socket is, so that only this one is removed at the end.
    inode: (u64, u64),
    // Let go after the socket was removed. If it stays, the socket does as well.
    lock: PidFile,
}

impl ControlSocket {
    /// Makes the socket, in the place of one that a crash left behind. At no moment may another
    /// user connect.
    pub(crate) fn bind(path: &Path) -> Result<Self, NotHeld> {
        let path = absolute(path)?;
        let address = SockAddr::unix(&path)?;
        let lock = lock_path(&path);
        let lock = PidFile::open(&lock, 0o600).map_err(|why| match why {
            // The caller names the socket, and the error is about the file beside it.
            NotHeld::Failed(error) => {
                io::Error::new(error.kind(), format!("its lock {}: {error}", lock.display())).into()
            }
            taken @ NotHeld::Taken(_) => taken,
        })?;
        lock.write_own_pid()?;
        remove_stale(&path, &address)?;
        let bound = Self::of_predecessor(bind(&address)?, lock, path);
        // The umask may have taken the owner's own rights away.
        fs::set_permissions(&bound.path, Permissions::from_mode(0o600))?;
        let socket = socket2::SockRef::from(&bound.listener);
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(bound)
    }

    /// A socket that is bound to `path`. Whose it is, the lock says.
    pub(crate) fn of_predecessor(listener: UnixListener, lock: PidFile, path: PathBuf) -> Self {
        // Nobody's, if somebody has removed it: then it will not be removed again.
        let inode = fs::symlink_metadata(&path).map_or((0, 0), |file| (file.dev(), file.ino()));
        Self { listener, path, inode, lock }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn lock(&self) -> &PidFile {
        &self.lock
    }

    /// From now on it is this process's, once that is written into the file that is returned.
    pub(crate) fn take_charge(&mut self) -> &mut PidFile {
        &mut self.lock
    }

    /// A copy to accept from.
    pub(crate) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }

    /// Leaves socket and lock there, for the process that has copies of the descriptors.
    pub(crate) fn stay(&mut self) {
        self.lock.stay();
    }
}

/// A path that nobody serves any more is not left behind.
impl Drop for ControlSocket {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|file| (file.dev(), file.ino()) == self.inode);
        if ours && !self.lock.stays() {
            // The lock is still held, so nobody can have made a new socket in between.
            if let Err(error) = fs::remove_file(&self.path) {
                tracing::warn!(path = %self.path.display(), %error, "the control socket stays behind");
            }
        }
    }
}

/// Where the lock of the control socket at `path` is: beside it.
#[must_use]
pub fn lock_path(path: impl AsRef<Path>) -> PathBuf {
    let mut name = path.as_ref().to_owned().into_os_string();
    name.push(".lock");
    name.into()
}

/// A socket that does not listen yet, whose file nobody else may open from its first moment.
fn bind(address: &SockAddr) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Linux gives the file the mode of the socket, less the umask.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(address)?;
    Ok(UnixListener::from(OwnedFd::from(socket)))
}

/// Removes the socket of a primary that is gone, and nothing else.
fn remove_stale(path: &Path, address: &SockAddr) -> Result<(), NotHeld> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "something that is no socket is there; choose another path",
            )
            .into());
        }
        Ok(_) => {}
    }
    // We hold the lock, so no primary of this kind is there; yet the socket may be another
    // program's.
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A backlog that is full would hold this thread.
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Ok(fs::remove_file(path)?)
        }
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error.into()),
        _ => Err(NotHeld::Taken(None)),
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

    fn left(folder: &tempfile::TempDir) -> usize {
        fs::read_dir(folder.path()).unwrap().count()
    }

    #[test]
    fn at_no_moment_may_others_connect() {
        let (_folder, path) = folder();
        let _socket = bind(&SockAddr::unix(&path).unwrap()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_living_socket_is_never_replaced_and_nothing_is_left_at_the_end() {
        let (folder, path) = folder();
        let bound = ControlSocket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(
            matches!(ControlSocket::bind(&path), Err(NotHeld::Taken(Some(pid))) if pid == process::id())
        );
        UnixStream::connect(&path).unwrap();
        drop(bound);
        assert_eq!(left(&folder), 0);
    }

    #[test]
    fn another_programs_living_socket_is_not_replaced_but_a_dead_one_is() {
        let (folder, path) = folder();
        let other = UnixListener::bind(&path).unwrap();
        assert!(matches!(ControlSocket::bind(&path), Err(NotHeld::Taken(None))));
        assert_eq!(left(&folder), 1);
        UnixStream::connect(&path).unwrap();
        drop(other);
        ControlSocket::bind(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let (_folder, path) = folder();
        fs::write(&path, "a letter").unwrap();
        let Err(NotHeld::Failed(error)) = ControlSocket::bind(&path) else { panic!("bound") };
        assert!(error.to_string().contains("no socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "a letter");
    }

    #[test]
    fn a_successor_with_the_descriptors_keeps_socket_and_lock() {
        let (folder, path) = folder();
        let mut bound = ControlSocket::bind(&path).unwrap();
        let heir = || {
            let lock =
                PidFile::of_predecessor(bound.lock.copy().unwrap(), bound.lock.path().to_owned());
            ControlSocket::of_predecessor(bound.listener().unwrap(), lock, path.clone())
        };
        // One that does not take charge leaves everything as it was.
        drop(heir());
        UnixStream::connect(&path).unwrap();
        let mut heir = heir();
        bound.stay();
        drop(bound);
        assert!(matches!(ControlSocket::bind(&path), Err(NotHeld::Taken(Some(_)))));
        UnixStream::connect(&path).unwrap();
        heir.take_charge().take_charge().unwrap();
        drop(heir);
        assert_eq!(left(&folder), 0);
    }
}
