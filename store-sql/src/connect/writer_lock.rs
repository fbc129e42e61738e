//! The lock that orders the writers to an SQLite file.
//!
//! SQLite allows one writer at a time, and its other writers retry until they succeed. One process
//! that writes all the time can then block the others for seconds. So the writers of one process
//! wait for a mutex, and the processes wait for a lock on a file beside the database. A program
//! that writes without this lock, such as `sqlite3`, delays the others only for a moment.
//!
//! The lock only provides fairness. SQLite's own lock keeps writers apart. So a writer waits for a
//! limited time and then writes without the lock: the process that holds it may be stopped, or a
//! handler may block the runtime of the task that holds it.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::IntoRawFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};
use tokio::{
    sync::{Mutex, OnceCell, OwnedMutexGuard, oneshot},
    time::timeout,
};

use crate::error::ClientError;

/// After this pause since the last release, a writer may try the file lock without a waiting
/// thread: no other writer was waiting.
const PAUSE: Duration = Duration::from_millis(2);

pub(crate) struct WriterLock {
    /// The database's file. `None` if the database is in memory.
    path: Option<PathBuf>,
    /// Whether this store creates the file if it is missing.
    creates: bool,
    /// How long a writer waits.
    wait: Duration,
    file: OnceCell<Arc<File>>,
    /// Orders the writers of this process. Holds the time of the last release.
    process: Arc<Mutex<Option<Instant>>>,
    /// Whether the last wait timed out. Then only one writer at a time waits.
    timed_out: AtomicBool,
}

/// The right to write, until it is dropped.
#[derive(Debug)]
pub(crate) struct WriterGuard {
    file: Arc<File>,
    process: OwnedMutexGuard<Option<Instant>>,
}

impl WriterLock {
    /// The lock of the database at `path`, which the store creates if it is missing. A writer waits
    /// at most `wait`.
    pub(crate) fn new(path: &Path, wait: Duration) -> Self {
        Self {
            path: Some(path.to_owned()),
            creates: true,
            wait,
            file: OnceCell::new(),
            process: Arc::default(),
            timed_out: AtomicBool::new(false),
        }
    }

    /// The lock of a database that the application opens. A database in memory has no file name, or
    /// a URI as its name.
    pub(crate) fn of_application(path: &Path, wait: Duration) -> Self {
        let is_file = !path.as_os_str().is_empty()
            && !path.as_os_str().as_encoded_bytes().starts_with(b"file:")
            && path != ":memory:";
        Self {
            path: is_file.then(|| path.to_owned()),
            creates: false,
            wait,
            file: OnceCell::new(),
            process: Arc::default(),
            timed_out: AtomicBool::new(false),
        }
    }

    /// The database's file. `None` if the database is in memory.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Creates the database's file with access for its owner only, because it contains sessions.
    /// SQLite gives the files beside it the same permissions.
    pub(crate) async fn open(&self) -> Result<(), ClientError> {
        match &self.path {
            Some(path) => self.file(path).await.map(drop),
            None => Ok(()),
        }
    }

    async fn file(&self, path: &Path) -> Result<&Arc<File>, ClientError> {
        self.file
            .get_or_try_init(|| async {
                if self.creates {
                    // Closing a file releases all locks that SQLite holds on it in this process.
                    // So this opens the file only if it is new, and never closes it: another store
                    // of this process may already hold locks on it.
                    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
                        Ok(file) => drop(file.into_raw_fd()),
                        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                            return Err(cannot_open(&error));
                        }
                        Err(_) => {}
                    }
                }
                let mut path = path.to_owned().into_os_string();
                path.push(".lock");
                let file = OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .mode(0o600)
                    .open(path);
                file.map(Arc::new).map_err(|error| cannot_open(&error))
            })
            .await
    }

    /// Waits for the lock. `None` if the wait timed out, or if the database is in memory: then only
    /// SQLite's own lock applies.
    pub(crate) async fn acquire(&self) -> Result<Option<WriterGuard>, ClientError> {
        let Some(path) = &self.path else { return Ok(None) };
        if self.timed_out.load(Relaxed) && self.process.try_lock().is_err() {
            return Ok(None);
        }
        let guard = timeout(self.wait, self.acquire_file(path)).await.ok().transpose();
        self.timed_out.store(matches!(guard, Ok(None)), Relaxed);
        guard
    }

    async fn acquire_file(&self, path: &Path) -> Result<WriterGuard, ClientError> {
        let file = Arc::clone(self.file(path).await?);
        let process = Arc::clone(&self.process).lock_owned().await;
        if process.is_none_or(|released| released.elapsed() > PAUSE)
            && flock(&*file, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            return Ok(WriterGuard { file, process });
        }
        // The kernel serves waiting processes in order. The wait uses a thread outside the runtime,
        // so that it does not delay the end of the runtime.
        let (sender, receiver) = oneshot::channel();
        let wait_for_lock = move || {
            let locked = loop {
                match flock(&*file, FlockOperation::LockExclusive) {
                    Err(rustix::io::Errno::INTR) => {}
                    done => break done,
                }
            };
            // If the call was cancelled meanwhile, this drops the guard, which releases the lock.
            let _ = sender.send(locked.map(|()| WriterGuard { file, process }));
        };
        let spawned =
            std::thread::Builder::new().name("sqlite-lock".to_owned()).spawn(wait_for_lock);
        spawned.map_err(|error| {
            ClientError::Busy(format!(
                "the thread that waits for the file lock cannot start: {error}"
            ))
        })?;
        match receiver.await {
            Ok(Ok(guard)) => Ok(guard),
            Ok(Err(error)) => {
                Err(ClientError::Refused(format!("the lock file cannot be locked: {error}")))
            }
            Err(_) => {
                Err(ClientError::Busy("the thread that waits for the file lock ended".to_owned()))
            }
        }
    }
}

impl Drop for WriterGuard {
    fn drop(&mut self) {
        // This cannot fail for a file that is locked.
        let _ = flock(&*self.file, FlockOperation::Unlock);
        *self.process = Some(Instant::now());
    }
}

fn cannot_open(error: &io::Error) -> ClientError {
    use io::ErrorKind::{
        IsADirectory, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem,
    };
    match error.kind() {
        IsADirectory | NotADirectory | NotFound | PermissionDenied | ReadOnlyFilesystem => {
            ClientError::File(error.to_string())
        }
        // A temporary cause, for example too many open files.
        _ => ClientError::Unreachable(format!(
            "the database file or its lock file cannot be opened: {error}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn only_one_writer_holds_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sessions.db");
        let [one, other] =
            [5, 5].map(|seconds| WriterLock::new(&path, Duration::from_secs(seconds)));
        let guard = one.acquire().await.unwrap().unwrap();
        assert!(timeout(Duration::from_millis(50), other.acquire()).await.is_err());
        // The wait ends even if the holder never releases the lock.
        let impatient = WriterLock::new(&path, Duration::from_millis(50));
        assert!(impatient.acquire().await.unwrap().is_none());
        drop(guard);
        // A wait that was cancelled or timed out does not keep the lock.
        for lock in [&other, &one] {
            drop(timeout(Duration::from_secs(5), lock.acquire()).await.unwrap().unwrap().unwrap());
        }
        for file in ["sessions.db", "sessions.db.lock"] {
            let mode = std::fs::metadata(folder.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }
}
