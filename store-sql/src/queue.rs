//! The queue of those who write to a file of SQLite.
//!
//! SQLite has one writer at a time, and whoever comes meanwhile asks again and again; one process that writes all the time then keeps the others
//! out for seconds. So the writers of all processes line up for a lock on a file beside the database, and those of one process for that. Who writes
//! without it, as `sqlite3` does, is still only ever in the way for a moment.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};
use tokio::sync::{Mutex, OnceCell, OwnedMutexGuard, oneshot};

use crate::error::ClientError;

/// After such a pause a turn may be taken without lining up: nobody was kept waiting by the one before.
const PAUSE: Duration = Duration::from_millis(2);

pub(crate) struct Queue {
    path: PathBuf,
    lock: OnceCell<Arc<File>>,
    /// Those of this process; when the last one ended.
    here: Arc<Mutex<Option<Instant>>>,
}

/// The right to write, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    lock: Arc<File>,
    here: OwnedMutexGuard<Option<Instant>>,
}

impl Queue {
    /// The queue of the database at `path`.
    pub(crate) fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), lock: OnceCell::new(), here: Arc::default() }
    }

    /// Creates the database's file for its owner alone, as sessions are nobody else's. The files beside it get the same rights.
    pub(crate) async fn open(&self) -> Result<(), ClientError> {
        self.lock().await.map(drop)
    }

    async fn lock(&self) -> Result<&Arc<File>, ClientError> {
        self.lock
            .get_or_try_init(|| async {
                // Only if it is new: to close a file on which this process has locks of SQLite's would give them up.
                match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(cannot_open(&error)),
                    _ => {}
                }
                let mut path = self.path.clone().into_os_string();
                path.push(".lock");
                let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
                lock.map(Arc::new).map_err(|error| cannot_open(&error))
            })
            .await
    }

    /// Waits for the right to write.
    pub(crate) async fn turn(&self) -> Result<Turn, ClientError> {
        let lock = Arc::clone(self.lock().await?);
        let here = Arc::clone(&self.here).lock_owned().await;
        if here.is_none_or(|ended| ended.elapsed() > PAUSE) && flock(&*lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(Turn { lock, here });
        }
        // The kernel serves those who wait in their order. A thread of its own, because nothing can be kept from ending by it.
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
            Ok(Err(error)) => Err(ClientError::Refused(format!("the file's lock cannot be had: {error}"))),
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
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    match error.kind() {
        IsADirectory | NotADirectory | NotFound | PermissionDenied | ReadOnlyFilesystem => ClientError::File(error.to_string()),
        // Of this moment, as when too many files are open.
        _ => ClientError::Unreachable(format!("the file or its lock beside it cannot be opened: {error}")),
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
        let (one, other) = (Queue::of(&path), Queue::of(&path));
        let turn = one.turn().await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(50), other.turn()).await.is_err());
        drop(turn);
        // The one who gave up passes its turn on.
        drop(tokio::time::timeout(Duration::from_secs(5), other.turn()).await.unwrap().unwrap());
        drop(tokio::time::timeout(Duration::from_secs(5), one.turn()).await.unwrap().unwrap());
        for file in ["sessions.db", "sessions.db.lock"] {
            let mode = std::fs::metadata(folder.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }
}
