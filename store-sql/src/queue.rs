//! The queue of those who write to a file of SQLite.
//!
//! SQLite has one writer at a time, and whoever comes meanwhile asks again and again; one process
//! that writes all the time then keeps the others out for seconds. So the writers of all processes
//! line up for a lock on a file beside the database, and those of one process for that. Who writes
//! without it, as `sqlite3` does, is still only ever in the way for a moment.
//!
//! Nothing but fairness hangs on it: SQLite's own lock keeps writers apart. So nobody waits for a
//! turn for ever. Whoever has it may be a process that was stopped, or a task of a runtime that a
//! handler blocks.

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

/// After such a pause a turn may be taken without lining up: nobody was kept waiting by the one
/// before.
const PAUSE: Duration = Duration::from_millis(2);

pub(crate) struct Queue {
    /// The database's file; `None` if it has none.
    path: Option<PathBuf>,
    /// Whether the file is made if it is not there.
    creates: bool,
    patience: Duration,
    lock: OnceCell<Arc<File>>,
    /// Those of this process; when the last one ended.
    here: Arc<Mutex<Option<Instant>>>,
    /// Whether somebody has waited in vain. Then nobody lines up behind the one who waits now.
    is_stuck: AtomicBool,
}

/// The right to write, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    lock: Arc<File>,
    here: OwnedMutexGuard<Option<Instant>>,
}

impl Queue {
    /// The queue of the database at `path`, which is made if it is not there. Nobody waits for
    /// longer than `patience`.
    pub(crate) fn of(path: &Path, patience: Duration) -> Self {
        Self {
            path: Some(path.to_owned()),
            creates: true,
            patience,
            lock: OnceCell::new(),
            here: Arc::default(),
            is_stuck: AtomicBool::new(false),
        }
    }

    /// The queue of a database that the application opens. One in memory has the name of none, or
    /// of a URI.
    pub(crate) fn of_given(path: &Path, patience: Duration) -> Self {
        let is_file = !path.as_os_str().is_empty()
            && !path.as_os_str().as_encoded_bytes().starts_with(b"file:")
            && path != ":memory:";
        Self {
            path: is_file.then(|| path.to_owned()),
            creates: false,
            patience,
            lock: OnceCell::new(),
            here: Arc::default(),
            is_stuck: AtomicBool::new(false),
        }
    }

    /// Creates the database's file for its owner alone, as sessions are nobody else's. The files
    /// beside it get the same rights.
    pub(crate) async fn open(&self) -> Result<(), ClientError> {
        match &self.path {
            Some(path) => self.lock(path).await.map(drop),
            None => Ok(()),
        }
    }

    async fn lock(&self, path: &Path) -> Result<&Arc<File>, ClientError> {
        self.lock
            .get_or_try_init(|| async {
                if self.creates {
                    // To close a file on which this process has locks of SQLite's would give them
                    // up. So only if it is new, and for good: another store of this process may
                    // have locks on it by now.
                    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
                        Ok(new) => drop(new.into_raw_fd()),
                        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                            return Err(cannot_open(&error));
                        }
                        Err(_) => {}
                    }
                }
                let mut path = path.to_owned().into_os_string();
                path.push(".lock");
                let lock = OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .mode(0o600)
                    .open(path);
                lock.map(Arc::new).map_err(|error| cannot_open(&error))
            })
            .await
    }

    /// Waits for the turn to write. `None` if it has not come in time, or there is nobody to line
    /// up with: then SQLite alone decides.
    pub(crate) async fn turn(&self) -> Result<Option<Turn>, ClientError> {
        let Some(path) = &self.path else { return Ok(None) };
        if self.is_stuck.load(Relaxed) && self.here.try_lock().is_err() {
            return Ok(None);
        }
        let turn = timeout(self.patience, self.line_up(path)).await.ok().transpose();
        self.is_stuck.store(matches!(turn, Ok(None)), Relaxed);
        turn
    }

    async fn line_up(&self, path: &Path) -> Result<Turn, ClientError> {
        let lock = Arc::clone(self.lock(path).await?);
        let here = Arc::clone(&self.here).lock_owned().await;
        if here.is_none_or(|ended| ended.elapsed() > PAUSE)
            && flock(&*lock, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            return Ok(Turn { lock, here });
        }
        // The kernel serves those who wait in their order. A thread of its own, because nothing can
        // be kept from ending by it.
        let (sender, receiver) = oneshot::channel();
        let waits = move || {
            let locked = loop {
                match flock(&*lock, FlockOperation::LockExclusive) {
                    Err(rustix::io::Errno::INTR) => {}
                    done => break done,
                }
            };
            // Who gave up meanwhile drops the turn, and that passes it on.
            let _ = sender.send(locked.map(|()| Turn { lock, here }));
        };
        let spawned = std::thread::Builder::new().name("sqlite-queue".to_owned()).spawn(waits);
        spawned.map_err(|error| ClientError::Busy(error.to_string()))?;
        match receiver.await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(error)) => {
                Err(ClientError::Refused(format!("the file's lock cannot be had: {error}")))
            }
            Err(_) => Err(ClientError::Busy("the thread that waits for the file ended".to_owned())),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // It fails for no file that it was taken on.
        let _ = flock(&*self.lock, FlockOperation::Unlock);
        *self.here = Some(Instant::now());
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
        // Of this moment, as when too many files are open.
        _ => ClientError::Unreachable(format!(
            "the file or its lock beside it cannot be opened: {error}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn two_queues_of_one_file_have_one_turn_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sessions.db");
        let [one, other] = [5, 5].map(|seconds| Queue::of(&path, Duration::from_secs(seconds)));
        let turn = one.turn().await.unwrap().unwrap();
        assert!(timeout(Duration::from_millis(50), other.turn()).await.is_err());
        // Who has it may be stopped.
        let hurried = Queue::of(&path, Duration::from_millis(50));
        assert!(hurried.turn().await.unwrap().is_none());
        drop(turn);
        // Those who gave up pass their turns on.
        for queue in [&other, &one] {
            drop(timeout(Duration::from_secs(5), queue.turn()).await.unwrap().unwrap().unwrap());
        }
        for file in ["sessions.db", "sessions.db.lock"] {
            let mode = std::fs::metadata(folder.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }
}
