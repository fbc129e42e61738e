//! A fixture for the store in memory.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use session_core::{
    Limits, ManualClock, MemoryStore, SessionStore, Source, StoreKey,
    conformance::{Fixture, Hand, Purge},
};

const IN_PROCESS: &str = "it lives in this process and cannot fail apart from it";

/// Stores in memory on a clock that only the checks move. `wrap` makes a client of a store.
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

    async fn open(&self) -> Result<Arc<dyn SessionStore>, Source> {
        Ok(self.store())
    }

    async fn open_namespace(&self, name: &str) -> Result<Arc<dyn SessionStore>, Source> {
        Ok((self.wrap)(self.namespace(name)))
    }

    async fn bounded(&self) -> Hand<Arc<dyn SessionStore>> {
        let store = MemoryStore::builder().clock(self.clock.clone()).max_sessions(100);
        Hand::Done((self.wrap)(Arc::new(store.build())))
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

    fn secret(&self) -> Hand<String> {
        Hand::NotApplicable("no password opens it")
    }

    fn settings_text(&self) -> Hand<String> {
        Hand::Done(format!("{:?}", MemoryStore::builder()))
    }

    async fn corrupt(&self, _: &StoreKey) -> Hand {
        Hand::NotApplicable("values are kept as checked types, not as bytes")
    }

    async fn future_format(&self, _: &StoreKey) -> Hand {
        Hand::NotApplicable("no other version of the program sees its records")
    }

    async fn stop(&self) -> Hand {
        Hand::NotApplicable(IN_PROCESS)
    }

    async fn start(&self) -> Hand {
        Hand::NotApplicable(IN_PROCESS)
    }

    async fn freeze(&self) -> Hand {
        Hand::NotApplicable(IN_PROCESS)
    }

    async fn thaw(&self) -> Hand {
        Hand::NotApplicable(IN_PROCESS)
    }

    async fn dump(&self) -> Hand<Vec<u8>> {
        Hand::NotApplicable("it keeps no bytes")
    }

    async fn physical_count(&self) -> Hand<u64> {
        Hand::Done(self.namespace("").held_sessions() as u64)
    }
}
