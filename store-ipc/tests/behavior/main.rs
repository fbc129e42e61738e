//! What `store-ipc` promises beside the store contract: hostile clients, owners that come and go,
//! bounded calls, pages and lists.
#![expect(clippy::unwrap_used, reason = "what a test needs and does not get fails it")]

#[path = "../process/mod.rs"]
mod process;

mod client;
mod gate;
mod handover;
mod hostile;
mod owner;

use std::{
    error::Error,
    fmt::Debug,
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use session_core::{
    Data, Json, MemoryStore, Name, NewRecord, SecretHash, SessionId, SessionStore, StoreError,
    StoreKey,
};
use store_ipc::{IpcStore, Owner, OwnerBuilder, OwnerHandle};

const LONG: Duration = Duration::from_secs(3_600);
/// The hash of the secret of every session here.
const SECRET: SecretHash = SecretHash::from_bytes([7; SecretHash::BYTES]);

/// An owner on its thread that listens in a folder of its own.
struct Served {
    folder: tempfile::TempDir,
    owner: OwnerHandle,
}

impl Served {
    fn memory() -> Self {
        Self::store(Arc::new(MemoryStore::new()), |builder| builder)
    }

    fn store(store: Arc<dyn SessionStore>, set: impl FnOnce(OwnerBuilder) -> OwnerBuilder) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let owner = set(Owner::builder(store)).build().unwrap().spawn_thread().unwrap();
        owner.listen(folder.path().join("s.sock")).unwrap();
        Self { folder, owner }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("s.sock")
    }

    fn client(&self) -> IpcStore {
        IpcStore::connect(self.path())
    }
}

fn key() -> StoreKey {
    SessionId::random().unwrap().key()
}

/// A record with one value of about that many bytes.
fn record(bytes: usize) -> NewRecord {
    let data: Data = [(Name::new("big").unwrap(), Json::encode(&"x".repeat(bytes)).unwrap())]
        .into_iter()
        .collect();
    NewRecord::new(SECRET, LONG).data(data)
}

/// The error and its sources in one line.
fn chain(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {}", chain(source)))
}

#[track_caller]
fn unavailable<T: Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(error @ StoreError::Unavailable { store: "ipc", .. }) => chain(&error),
        other => panic!("{other:?}"),
    }
}

/// Waits for a condition, at most 10 s.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what} did not come");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Runs `task` on a thread with a current-thread runtime of its own, which is gone when this
/// returns.
fn on_another_runtime<T: Send>(task: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap()
                    .block_on(task)
            })
            .join()
            .unwrap()
    })
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}
