//! [`IpcStore`] passes the conformance suite: with an owner in another process, which the suite
//! kills and freezes, with an owner on a thread through a shared trait object, and over inherited
//! streams.
#![expect(clippy::unwrap_used, reason = "a missing precondition fails the test")]

mod process;

use std::{
    collections::HashMap,
    os::unix::net::UnixStream,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use session_core::{
    BoxError, ManualClock, MemoryStore, MemoryStoreBuilder, SessionStore,
    conformance::{Fixture, Supported},
};
use store_ipc::{Config, IpcStore, Owner, OwnerHandle};

use self::process::{FIXTURE, Process};

const DEADLINE: Duration = Duration::from_secs(2);
/// How many sessions a bounded owner holds.
const BOUND: usize = 1_000;

/// An owner in another process, with the machine's clock.
struct OwnerProcess {
    folder: tempfile::TempDir,
    store: Arc<dyn SessionStore>,
    /// One process for each namespace.
    processes: Mutex<HashMap<String, Process>>,
}

impl OwnerProcess {
    fn fresh() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(IpcStore::connect(folder.path().join("main")));
        let fixture = Self { folder, store, processes: Mutex::default() };
        fixture.start_process("main");
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start_process(&self, name: &str) {
        let mut processes = self.processes.lock().unwrap();
        processes
            .entry(name.to_owned())
            .or_insert_with(|| Process::start("owner", &self.path(name)));
    }

    fn start_bounded_process(&self) {
        let mut command = Command::new(FIXTURE);
        command.arg("owner").arg(self.path("bounded")).arg(BOUND.to_string());
        self.processes.lock().unwrap().insert("bounded".to_owned(), Process::ready(command));
    }

    fn with_main(&self, act: impl FnOnce(&mut Process)) -> Supported {
        act(self.processes.lock().unwrap().get_mut("main").unwrap());
        Supported::Done(())
    }
}

#[async_trait]
impl Fixture for OwnerProcess {
    fn store(&self) -> Arc<dyn SessionStore> {
        Arc::clone(&self.store)
    }

    async fn open(&self) -> Result<Arc<dyn SessionStore>, BoxError> {
        Ok(Arc::new(IpcStore::connect(self.path("main"))))
    }

    async fn open_namespace(&self, name: &str) -> Result<Arc<dyn SessionStore>, BoxError> {
        self.start_process(name);
        Ok(Arc::new(IpcStore::connect(self.path(name))))
    }

    async fn bounded(&self) -> Supported<Arc<dyn SessionStore>> {
        self.start_bounded_process();
        Supported::Done(Arc::new(IpcStore::connect(self.path("bounded"))))
    }

    fn tolerance(&self) -> Duration {
        // Two processes and their tests share two cores.
        Duration::from_millis(250)
    }

    fn deadline(&self) -> Duration {
        DEADLINE
    }

    fn settings_text(&self) -> Supported<String> {
        Supported::Done(format!("{:?}", Config::new(self.path("main"))))
    }

    async fn stop(&self) -> Supported {
        self.with_main(Process::kill)
    }

    async fn start(&self) -> Supported {
        self.processes.lock().unwrap().remove("main");
        self.start_process("main");
        Supported::Done(())
    }

    async fn freeze(&self) -> Supported {
        self.with_main(|process| process.freeze())
    }

    async fn thaw(&self) -> Supported {
        self.with_main(|process| process.thaw())
    }
}

/// An owner on a thread of this process, with a manual clock.
struct OwnerThread {
    folder: tempfile::TempDir,
    clock: ManualClock,
    inherited: bool,
    store: Arc<dyn SessionStore>,
    namespaces: Mutex<HashMap<String, Namespace>>,
}

struct Namespace {
    memory: Arc<MemoryStore>,
    owner: OwnerHandle,
}

impl OwnerThread {
    /// Clients connect to the owner's path.
    fn listening() -> Self {
        Self::spawned(false)
    }

    /// Clients hold the other end of a stream.
    fn inherited() -> Self {
        Self::spawned(true)
    }

    fn spawned(inherited: bool) -> Self {
        let store: Arc<dyn SessionStore> = Arc::new(MemoryStore::new());
        let namespaces = Mutex::default();
        let mut fixture = Self {
            folder: tempfile::tempdir().unwrap(),
            clock: ManualClock::new(),
            inherited,
            store,
            namespaces,
        };
        fixture.store = fixture.client("main");
        fixture
    }

    fn client(&self, name: &str) -> Arc<dyn SessionStore> {
        self.client_of(name, MemoryStore::builder())
    }

    fn client_of(&self, name: &str, builder: MemoryStoreBuilder) -> Arc<dyn SessionStore> {
        let mut namespaces = self.namespaces.lock().unwrap();
        let path = self.folder.path().join(name);
        let namespace = namespaces.entry(name.to_owned()).or_insert_with(|| {
            let memory = Arc::new(builder.clock(self.clock.clone()).build());
            Namespace { owner: spawn(&memory, &path), memory }
        });
        if !self.inherited {
            // One more layer: the implementation for a shared trait object must forward every call.
            let erased: Arc<dyn SessionStore> = Arc::new(IpcStore::connect(path));
            return Arc::new(erased);
        }
        let (ours, theirs) = UnixStream::pair().unwrap();
        namespace.owner.serve(theirs).unwrap();
        Arc::new(IpcStore::from_stream(ours).unwrap())
    }
}

fn spawn(memory: &Arc<MemoryStore>, path: &std::path::Path) -> OwnerHandle {
    let owner = Owner::builder(Arc::clone(memory) as Arc<dyn SessionStore>)
        .build()
        .unwrap()
        .spawn_thread()
        .unwrap();
    owner.listen(path).unwrap();
    owner
}

#[async_trait]
impl Fixture for OwnerThread {
    fn store(&self) -> Arc<dyn SessionStore> {
        Arc::clone(&self.store)
    }

    async fn open(&self) -> Result<Arc<dyn SessionStore>, BoxError> {
        Ok(self.client("main"))
    }

    async fn open_namespace(&self, name: &str) -> Result<Arc<dyn SessionStore>, BoxError> {
        Ok(self.client(name))
    }

    async fn bounded(&self) -> Supported<Arc<dyn SessionStore>> {
        Supported::Done(self.client_of("bounded", MemoryStore::builder().max_sessions(BOUND)))
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    fn deadline(&self) -> Duration {
        DEADLINE
    }

    fn settings_text(&self) -> Supported<String> {
        Supported::Done(format!("{:?}", self.namespaces.lock().unwrap()["main"].owner))
    }

    async fn stop(&self) -> Supported {
        if self.inherited {
            return Supported::NotApplicable("an inherited stream ends with its owner");
        }
        self.namespaces.lock().unwrap()["main"].owner.shutdown();
        Supported::Done(())
    }

    async fn start(&self) -> Supported {
        let mut namespaces = self.namespaces.lock().unwrap();
        let main = namespaces.get_mut("main").unwrap();
        main.owner = spawn(&main.memory, &self.folder.path().join("main"));
        Supported::Done(())
    }

    async fn freeze(&self) -> Supported {
        Supported::NotApplicable(
            "freezing this process would freeze the test; OwnerProcess covers it",
        )
    }

    async fn physical_count(&self) -> Supported<u64> {
        Supported::Done(self.namespaces.lock().unwrap()["main"].memory.held_sessions() as u64)
    }
}

mod owner_process {
    session_core::conformance_tests!(async { super::OwnerProcess::fresh() });
}

mod through_arc_dyn {
    session_core::conformance_tests!(async { super::OwnerThread::listening() });
}

mod inherited_stream {
    session_core::conformance_tests!(async { super::OwnerThread::inherited() });
}
