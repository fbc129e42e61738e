//! A backend in this process that can be stopped, frozen and corrupted.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::Duration,
};

use parking_lot::Mutex;
use session_core::{Grace, Limits, ManualClock, MemoryStore, Principal, StoreKey};
use tokio::sync::watch;

use crate::fault::Fault;

/// The deadline of each call of a client.
pub(crate) const DEADLINE: Duration = Duration::from_millis(300);
/// The password in the settings of a client.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// Whether the backend answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    Frozen,
    Stopped,
}

/// A backend in this process. Its clients await it as they await a server.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) fault: Fault,
    pub(crate) state: watch::Sender<State>,
    pub(crate) clock: ManualClock,
    namespaces: Mutex<HashMap<String, Arc<Namespace>>>,
    /// The number of clients that are being opened.
    pub(crate) opening: AtomicUsize,
    /// The number of clients opened so far.
    pub(crate) clients: AtomicUsize,
}

/// The records of one namespace, and the state that the faults need.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) records: MemoryStore,
    /// Records with the same keys and the deadlines of their creation.
    pub(crate) first_deadlines: MemoryStore,
    pub(crate) corrupt_keys: Mutex<BTreeSet<StoreKey>>,
    /// The client that created each record, and the first ttl.
    pub(crate) created_by: Mutex<BTreeMap<StoreKey, (usize, Duration)>>,
    pub(crate) listed_before: Mutex<BTreeMap<Principal, Vec<StoreKey>>>,
    pub(crate) purging: AtomicUsize,
    /// Former secrets that a rotation without a grace has to drop.
    pub(crate) former_secrets: Mutex<BTreeMap<StoreKey, Grace>>,
    /// The position of each rotated session in a list that rotations reorder.
    pub(crate) list_positions: Mutex<HashMap<StoreKey, usize>>,
    /// The generation of the last sign-in of each session. A sign-out does not remove it.
    pub(crate) sign_ins: Mutex<HashMap<StoreKey, u32>>,
    pub(crate) delete_everyone_lock: AtomicBool,
}

impl Namespace {
    pub(crate) fn move_to_end_of_list(&self, key: &StoreKey) {
        let mut list_positions = self.list_positions.lock();
        let last = list_positions.values().copied().max().unwrap_or(0);
        list_positions.insert(key.clone(), last + 1);
    }
}

impl Backend {
    pub(crate) fn new(fault: Fault) -> Self {
        Self {
            fault,
            state: watch::Sender::new(State::Running),
            clock: ManualClock::new(),
            namespaces: Mutex::default(),
            opening: AtomicUsize::new(0),
            clients: AtomicUsize::new(0),
        }
    }

    /// All namespaces.
    pub(crate) fn namespaces(&self) -> Vec<Arc<Namespace>> {
        self.namespaces.lock().values().cloned().collect()
    }

    /// A namespace with a small capacity.
    pub(crate) fn bounded(&self) -> Arc<Namespace> {
        let reserved = if self.fault == Fault::NoSpaceReservedForUsers { 0 } else { 20 };
        self.open(
            MemoryStore::builder()
                .clock(self.clock.clone())
                .max_sessions(100)
                .reserved_percent(reserved)
                .build(),
        )
    }

    fn open(&self, records: MemoryStore) -> Arc<Namespace> {
        Arc::new(Namespace {
            records,
            first_deadlines: MemoryStore::builder().clock(self.clock.clone()).build(),
            corrupt_keys: Mutex::default(),
            created_by: Mutex::default(),
            listed_before: Mutex::default(),
            purging: AtomicUsize::new(0),
            former_secrets: Mutex::default(),
            list_positions: Mutex::default(),
            sign_ins: Mutex::default(),
            delete_everyone_lock: AtomicBool::new(false),
        })
    }

    /// The namespace with this name. The first call with a name creates it.
    pub(crate) fn namespace(&self, name: &str) -> Arc<Namespace> {
        let limits = if self.fault == Fault::NoDataLimit {
            Limits { data_bytes: usize::MAX }
        } else {
            Limits::default()
        };
        let open =
            || self.open(MemoryStore::builder().limits(limits).clock(self.clock.clone()).build());
        let name = match self.fault {
            Fault::NamespacesAreShared => "",
            _ => name,
        };
        match self.fault {
            Fault::NamespacesArePerClient if !name.is_empty() => open(),
            _ => Arc::clone(self.namespaces.lock().entry(name.to_owned()).or_insert_with(open)),
        }
    }
}
