//! A store that counts its calls and fails on request.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use session_core::{
    Claim, Commit, Created, Cursor, Deleted, DeletedPage, MemoryStore, NewRecord, Outcome, Page,
    Principal, SessionStore, StoreError, StoreKey, Stored, SummaryPage,
};
use store_ipc::{Owner, OwnerHandle};
use tempfile::TempDir;

/// What a [`Watched`] store refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Outage {
    /// Nothing.
    None = 0,
    /// All writes.
    Writes = 1,
    /// All calls.
    All = 2,
    /// All calls, after a deadline of 200 ms, as if the store hung.
    Hung = 3,
}

/// A store that counts the calls of the one inside, and fails on request.
#[derive(Debug)]
pub struct Watched {
    /// The store inside.
    pub inside: Arc<dyn SessionStore>,
    loads: AtomicUsize,
    creates: AtomicUsize,
    commits: AtomicUsize,
    deletes: AtomicUsize,
    others: AtomicUsize,
    outage: AtomicU8,
    /// Milliseconds that a write takes.
    pub slow_writes: AtomicUsize,
}

/// How many calls of each kind there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// `load`.
    pub loads: usize,
    /// `create`.
    pub creates: usize,
    /// `commit`.
    pub commits: usize,
    /// `delete`.
    pub deletes: usize,
    /// All others except `ping` and `delete_expired`, which requests do not make.
    pub others: usize,
}

impl Calls {
    /// Those that came after `before`.
    ///
    /// # Panics
    /// If there are fewer.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let more =
            |now: usize, then: usize| now.checked_sub(then).expect("calls are only ever more");
        Self {
            loads: more(self.loads, before.loads),
            creates: more(self.creates, before.creates),
            commits: more(self.commits, before.commits),
            deletes: more(self.deletes, before.deletes),
            others: more(self.others, before.others),
        }
    }
}

impl Default for Watched {
    /// Over a store in memory.
    fn default() -> Self {
        Self::over(Arc::new(MemoryStore::new()))
    }
}

impl Watched {
    /// Over this store.
    #[must_use]
    pub fn over(inside: Arc<dyn SessionStore>) -> Self {
        Self {
            inside,
            loads: AtomicUsize::default(),
            creates: AtomicUsize::default(),
            commits: AtomicUsize::default(),
            deletes: AtomicUsize::default(),
            others: AtomicUsize::default(),
            outage: AtomicU8::default(),
            slow_writes: AtomicUsize::default(),
        }
    }

    /// The calls since the last call of this.
    pub fn calls(&self) -> Calls {
        Calls {
            loads: self.loads.swap(0, SeqCst),
            creates: self.creates.swap(0, SeqCst),
            commits: self.commits.swap(0, SeqCst),
            deletes: self.deletes.swap(0, SeqCst),
            others: self.others.swap(0, SeqCst),
        }
    }

    /// Makes the store refuse these calls from now on.
    pub fn fail(&self, outage: Outage) {
        self.outage.store(outage as u8, SeqCst);
    }

    /// The number of live sessions.
    ///
    /// # Panics
    /// If the store inside does not answer.
    pub async fn sessions(&self) -> usize {
        let (mut count, mut after) = (0, None);
        loop {
            let page = self.inside.scan(after, 1_000).await.expect("the store inside answers");
            count += page.records.len();
            after = page.next;
            if after.is_none() {
                return count;
            }
        }
    }

    async fn read(&self) -> Result<(), StoreError> {
        match self.outage.load(SeqCst) {
            2 => Err(StoreError::Unavailable {
                store: "watched",
                source: "it is down for the test".into(),
            }),
            3 => {
                let after = Duration::from_millis(200);
                tokio::time::sleep(after).await;
                Err(StoreError::Timeout { store: "watched", after })
            }
            _ => Ok(()),
        }
    }

    async fn write(&self) -> Result<(), StoreError> {
        let slow = self.slow_writes.load(SeqCst);
        if slow > 0 {
            tokio::time::sleep(Duration::from_millis(u64::try_from(slow).unwrap_or(0))).await;
        }
        if self.outage.load(SeqCst) == Outage::Writes as u8 {
            return Err(StoreError::Unavailable {
                store: "watched",
                source: "it is read-only for the test".into(),
            });
        }
        self.read().await
    }
}

/// An owner in the process of the test that serves a [`Watched`] store to applications and demos.
#[derive(Debug)]
pub struct WatchedOwner {
    directory: TempDir,
    _owner: OwnerHandle,
}

impl WatchedOwner {
    /// Starts one in a new folder.
    ///
    /// # Panics
    /// If it cannot listen.
    #[must_use]
    pub fn start(store: &Arc<Watched>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let owner = Owner::builder(Arc::clone(store) as _)
            .build()
            .expect("default settings")
            .spawn_thread()
            .expect("an owner's thread");
        owner.listen(directory.path().join("sessions.sock")).expect("the owner listens");
        Self { directory, _owner: owner }
    }

    /// Its socket.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("sessions.sock")
    }

    /// Its URL, for `--store-url`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ipc:{}", self.path().display())
    }
}

#[async_trait]
impl SessionStore for Watched {
    async fn create(&self, key: &StoreKey, new: NewRecord) -> Result<Created, StoreError> {
        self.creates.fetch_add(1, SeqCst);
        self.write().await?;
        self.inside.create(key, new).await
    }

    async fn load(&self, key: &StoreKey) -> Result<Option<Stored>, StoreError> {
        self.loads.fetch_add(1, SeqCst);
        self.read().await?;
        self.inside.load(key).await
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
        self.commits.fetch_add(1, SeqCst);
        self.write().await?;
        self.inside.commit(key, commit).await
    }

    async fn delete(&self, key: &StoreKey, claim: Claim) -> Result<Deleted, StoreError> {
        self.deletes.fetch_add(1, SeqCst);
        self.write().await?;
        self.inside.delete(key, claim).await
    }

    async fn list(
        &self,
        principal: &Principal,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<SummaryPage, StoreError> {
        self.others.fetch_add(1, SeqCst);
        self.read().await?;
        self.inside.list(principal, after, limit).await
    }

    async fn delete_everyone(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<DeletedPage, StoreError> {
        self.others.fetch_add(1, SeqCst);
        self.write().await?;
        self.inside.delete_everyone(after, limit).await
    }

    async fn delete_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, StoreError> {
        self.others.fetch_add(1, SeqCst);
        self.write().await?;
        self.inside.delete_all(principal, except).await
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.others.fetch_add(1, SeqCst);
        self.read().await?;
        self.inside.scan(after, limit).await
    }

    async fn delete_expired(&self, limit: usize) -> Result<u64, StoreError> {
        self.inside.delete_expired(limit).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.read().await?;
        self.inside.ping().await
    }
}
