//! A backend that can be stopped, frozen and damaged, and the fixture over it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use session_core::{
    BoxError, Grace, Limits, ManualClock, MemoryStore, Principal, SessionStore, StoreError,
    StoreKey,
    conformance::{Fixture, Purge, Supported},
};
use tokio::sync::watch;

use crate::{client::Client, fault::Fault};

pub(crate) const DEADLINE: Duration = Duration::from_millis(300);
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// Whether the backend answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    Frozen,
    Stopped,
}

/// A backend in this process. Its clients await it as they would await a server.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) fault: Fault,
    pub(crate) state: watch::Sender<State>,
    clock: ManualClock,
    spaces: Mutex<HashMap<String, Arc<Space>>>,
    opening: AtomicUsize,
    clients: AtomicUsize,
}

/// The records of one namespace, and what faulty clients remember about them.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) records: MemoryStore,
    /// The same keys, with the deadlines of their creation.
    pub(crate) first_deadlines: MemoryStore,
    pub(crate) spoilt: Mutex<BTreeSet<StoreKey>>,
    pub(crate) creators: Mutex<BTreeMap<StoreKey, (usize, Duration)>>,
    pub(crate) ever_listed: Mutex<BTreeMap<Principal, Vec<StoreKey>>>,
    pub(crate) purging: AtomicUsize,
    /// Former secrets that a rotation should have forgotten.
    pub(crate) formers: Mutex<BTreeMap<StoreKey, Grace>>,
    /// The place of each rotated session in a list that follows rotations.
    pub(crate) places: Mutex<HashMap<StoreKey, usize>>,
    /// The generations of sign-ins, also after the sign-out.
    pub(crate) sign_ins: Mutex<HashMap<StoreKey, u32>>,
    pub(crate) walking: AtomicBool,
}

impl Space {
    pub(crate) fn list_anew(&self, key: &StoreKey) {
        let mut places = self.places.lock();
        let last = places.values().copied().max().unwrap_or(0);
        places.insert(key.clone(), last + 1);
    }
}

impl Remote {
    /// The spaces of all namespaces.
    pub(crate) fn spaces(&self) -> Vec<Arc<Space>> {
        self.spaces.lock().values().cloned().collect()
    }

    fn bounded(&self) -> Arc<Space> {
        let reserved = if self.fault == Fault::ReservesNoRoom { 0 } else { 20 };
        self.open(
            MemoryStore::builder()
                .clock(self.clock.clone())
                .max_sessions(100)
                .reserved_percent(reserved)
                .build(),
        )
    }

    fn open(&self, records: MemoryStore) -> Arc<Space> {
        Arc::new(Space {
            records,
            first_deadlines: MemoryStore::builder().clock(self.clock.clone()).build(),
            spoilt: Mutex::default(),
            creators: Mutex::default(),
            ever_listed: Mutex::default(),
            purging: AtomicUsize::new(0),
            formers: Mutex::default(),
            places: Mutex::default(),
            sign_ins: Mutex::default(),
            walking: AtomicBool::new(false),
        })
    }

    fn space(&self, name: &str) -> Arc<Space> {
        let limits = if self.fault == Fault::NoCap {
            Limits { data_bytes: usize::MAX }
        } else {
            Limits::default()
        };
        let open =
            || self.open(MemoryStore::builder().limits(limits).clock(self.clock.clone()).build());
        let name = match self.fault {
            Fault::OneNamespace => "",
            _ => name,
        };
        match self.fault {
            Fault::NamespacePerClient if !name.is_empty() => open(),
            _ => Arc::clone(self.spaces.lock().entry(name.to_owned()).or_insert_with(open)),
        }
    }
}

/// The fixture over a backend whose clients have one fault.
#[derive(Debug)]
pub(crate) struct RemoteFixture {
    remote: Arc<Remote>,
    store: OnceLock<Arc<Client>>,
}

impl RemoteFixture {
    pub(crate) fn new(fault: Fault) -> Self {
        let remote = Remote {
            fault,
            state: watch::Sender::new(State::Running),
            clock: ManualClock::new(),
            spaces: Mutex::default(),
            opening: AtomicUsize::new(0),
            clients: AtomicUsize::new(0),
        };
        Self { remote: Arc::new(remote), store: OnceLock::new() }
    }

    fn client(&self, name: &str) -> Arc<Client> {
        let number = self.remote.clients.fetch_add(1, Ordering::Relaxed);
        Arc::new(Client::new(Arc::clone(&self.remote), self.remote.space(name), number))
    }

    fn switch(&self, state: State) -> Supported {
        self.remote.state.send_replace(state);
        Supported::Done(())
    }

    fn spoil(&self, key: &StoreKey) -> Supported {
        self.remote.space("").spoilt.lock().insert(key.clone());
        Supported::Done(())
    }
}

#[async_trait]
impl Fixture for RemoteFixture {
    fn store(&self) -> Arc<dyn SessionStore> {
        Arc::clone(self.store.get_or_init(|| self.client(""))) as Arc<dyn SessionStore>
    }

    async fn open(&self) -> Result<Arc<dyn SessionStore>, BoxError> {
        Ok(self.client(""))
    }

    async fn open_namespace(&self, name: &str) -> Result<Arc<dyn SessionStore>, BoxError> {
        let others = self.remote.opening.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.remote.opening.fetch_sub(1, Ordering::SeqCst);
        if others > 0 && self.remote.fault == Fault::OpensOneAtATime {
            return Err("the table exists already".into());
        }
        Ok(self.client(name))
    }

    async fn bounded(&self) -> Supported<Arc<dyn SessionStore>> {
        let number = self.remote.clients.fetch_add(1, Ordering::Relaxed);
        Supported::Done(Arc::new(Client::new(
            Arc::clone(&self.remote),
            self.remote.bounded(),
            number,
        )))
    }

    async fn advance(&self, by: Duration) {
        self.remote.clock.advance(by);
    }

    fn tolerance(&self) -> Duration {
        Duration::from_millis(50)
    }

    fn deadline(&self) -> Duration {
        DEADLINE
    }

    fn limits(&self) -> Limits {
        Limits::default()
    }

    fn purge(&self) -> Purge {
        Purge::ByCall
    }

    fn secret(&self) -> Supported<String> {
        Supported::Done(PASSWORD.to_owned())
    }

    fn settings_text(&self) -> Supported<String> {
        Supported::NotApplicable("it has no settings")
    }

    async fn corrupt(&self, key: &StoreKey) -> Supported {
        self.spoil(key)
    }

    async fn future_format(&self, key: &StoreKey) -> Supported {
        self.spoil(key)
    }

    async fn stop(&self) -> Supported {
        self.switch(State::Stopped)
    }

    async fn start(&self) -> Supported {
        self.switch(State::Running)
    }

    async fn freeze(&self) -> Supported {
        self.switch(State::Frozen)
    }

    async fn thaw(&self) -> Supported {
        self.switch(State::Running)
    }

    async fn dump(&self) -> Supported<Vec<u8>> {
        let space = self.remote.space("");
        let page = space
            .records
            .scan(None, usize::MAX)
            .await
            .unwrap_or_else(|error: StoreError| panic!("{error}"));
        let line = |(key, record): (StoreKey, session_core::Record)| {
            let values: Vec<&str> = record.data.iter().map(|(_, value)| value.as_str()).collect();
            let spoilt = space.spoilt.lock().contains(&key);
            format!(
                "{} {} {} {values:?} {spoilt}\n",
                key.as_str(),
                record.version,
                record.generation
            )
        };
        let lines: BTreeSet<String> = page.records.into_iter().map(line).collect();
        let hidden = self.remote.fault == Fault::DumpsNothing;
        Supported::Done(if hidden {
            Vec::new()
        } else {
            lines.into_iter().collect::<String>().into_bytes()
        })
    }

    async fn physical_count(&self) -> Supported<u64> {
        Supported::Done(self.remote.space("").records.held_sessions() as u64)
    }
}
