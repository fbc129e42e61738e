//! The conformance fixture of `MemoryStore`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use session_core::{
    BoxError, ManualClock, MemoryStore, SessionStore,
    conformance::{Fixture, Supported},
};

/// Stores in memory with a manual clock. `wrap` makes a client of a store.
pub(crate) struct MemoryFixture {
    clock: ManualClock,
    namespaces: Mutex<HashMap<String, Arc<MemoryStore>>>,
    wrap: fn(Arc<MemoryStore>) -> Arc<dyn SessionStore>,
}

impl MemoryFixture {
    pub(crate) fn new(wrap: fn(Arc<MemoryStore>) -> Arc<dyn SessionStore>) -> Self {
        Self { clock: ManualClock::new(), namespaces: Mutex::default(), wrap }
    }

    fn namespace(&self, name: &str) -> Arc<MemoryStore> {
        let mut namespaces = self.namespaces.lock();
        let open = || Arc::new(MemoryStore::builder().clock(self.clock.clone()).build());
        Arc::clone(namespaces.entry(name.to_owned()).or_insert_with(open))
    }
}

/// The store is part of this process and keeps typed values. The methods that stop a server or
/// access stored bytes keep their defaults.
#[async_trait]
impl Fixture for MemoryFixture {
    fn store(&self) -> Arc<dyn SessionStore> {
        (self.wrap)(self.namespace(""))
    }

    async fn open(&self) -> Result<Arc<dyn SessionStore>, BoxError> {
        Ok(self.store())
    }

    async fn open_namespace(&self, name: &str) -> Result<Arc<dyn SessionStore>, BoxError> {
        Ok((self.wrap)(self.namespace(name)))
    }

    async fn bounded(&self) -> Supported<Arc<dyn SessionStore>> {
        let store = MemoryStore::builder().clock(self.clock.clone()).max_sessions(100);
        Supported::Done((self.wrap)(Arc::new(store.build())))
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn settings_text(&self) -> Supported<String> {
        Supported::Done(format!("{:?}", MemoryStore::builder()))
    }

    async fn physical_count(&self) -> Supported<u64> {
        Supported::Done(self.namespace("").held_sessions() as u64)
    }
}
