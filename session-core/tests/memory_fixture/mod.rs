//! The conformance fixture of `MemoryStore`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use session_core::{
    BoxError, Limits, ManualClock, MemoryStore, SessionStore, StoreKey,
    conformance::{Fixture, Purge, Supported},
};

const IN_PROCESS: &str = "the store is part of this process and cannot fail alone";

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

    fn tolerance(&self) -> Duration {
        Duration::from_millis(50)
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn limits(&self) -> Limits {
        Limits::default()
    }

    fn purge(&self) -> Purge {
        Purge::ByCall
    }

    fn secret(&self) -> Supported<String> {
        Supported::NotApplicable("the store has no password")
    }

    fn settings_text(&self) -> Supported<String> {
        Supported::Done(format!("{:?}", MemoryStore::builder()))
    }

    async fn corrupt(&self, _: &StoreKey) -> Supported {
        Supported::NotApplicable("the store keeps typed values, not bytes")
    }

    async fn future_format(&self, _: &StoreKey) -> Supported {
        Supported::NotApplicable("no other version of the program reads its records")
    }

    async fn stop(&self) -> Supported {
        Supported::NotApplicable(IN_PROCESS)
    }

    async fn start(&self) -> Supported {
        Supported::NotApplicable(IN_PROCESS)
    }

    async fn freeze(&self) -> Supported {
        Supported::NotApplicable(IN_PROCESS)
    }

    async fn thaw(&self) -> Supported {
        Supported::NotApplicable(IN_PROCESS)
    }

    async fn dump(&self) -> Supported<Vec<u8>> {
        Supported::NotApplicable("the store keeps no bytes")
    }

    async fn physical_count(&self) -> Supported<u64> {
        Supported::Done(self.namespace("").held_sessions() as u64)
    }
}
