//! Owners, clients and assertions for the tests of this crate.

use std::{
    error::Error,
    fmt::Debug,
    future::Future,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use session_core::{
    Data, Json, MemoryStore, Name, NewRecord, SecretHash, SessionId, SessionStore, StoreError,
    StoreKey,
};
use store_ipc::{IpcStore, Owner, OwnerBuilder, OwnerHandle};

pub(crate) const LONG: Duration = Duration::from_secs(3_600);
/// The secret hash of every session in this file.
pub(crate) const SECRET: SecretHash = SecretHash::from_bytes([7; SecretHash::BYTES]);

/// An owner on its own thread, which listens in its own folder.
pub(crate) struct Served {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) owner: OwnerHandle,
}

impl Served {
    pub(crate) fn memory() -> Self {
        Self::store(Arc::new(MemoryStore::new()), |builder| builder)
    }

    pub(crate) fn store(
        store: Arc<dyn SessionStore>,
        set: impl FnOnce(OwnerBuilder) -> OwnerBuilder,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let owner = set(Owner::builder(store)).build().unwrap().spawn_thread().unwrap();
        owner.listen(folder.path().join("s.sock")).unwrap();
        Self { folder, owner }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("s.sock")
    }

    pub(crate) fn client(&self) -> IpcStore {
        IpcStore::connect(self.path())
    }
}

/// A client over a stream that it inherits.
pub(crate) fn stream_client(owner: &OwnerHandle) -> IpcStore {
    let (ours, theirs) = UnixStream::pair().unwrap();
    owner.serve(theirs).unwrap();
    IpcStore::from_stream(ours).unwrap()
}

pub(crate) fn key() -> StoreKey {
    SessionId::random().unwrap().key()
}

/// A record with one value of about this many bytes.
pub(crate) fn record(bytes: usize) -> NewRecord {
    let data: Data = [(Name::new("big").unwrap(), Json::encode(&"x".repeat(bytes)).unwrap())]
        .into_iter()
        .collect();
    NewRecord::new(SECRET, LONG).data(data)
}

/// The error and its sources in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {}", chain(source)))
}

#[track_caller]
pub(crate) fn unavailable<T: Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(error @ StoreError::Unavailable { store: "ipc", .. }) => chain(&error),
        other => panic!("{other:?}"),
    }
}

/// Waits for a condition, at most 10 s.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(10), "timed out waiting for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Runs `task` on another thread with its own current-thread runtime, which ends before this
/// returns.
pub(crate) fn on_another_runtime<T: Send>(task: impl Future<Output = T> + Send) -> T {
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

pub(crate) fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Waits until a ping succeeds, at most 5 s.
pub(crate) async fn eventually_ping(client: &IpcStore) {
    let begun = Instant::now();
    while let Err(error) = client.ping().await {
        assert!(begun.elapsed() < Duration::from_secs(5), "{}", chain(&error));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
