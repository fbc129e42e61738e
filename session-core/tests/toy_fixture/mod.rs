// In tests/toy_fixture/mod.rs; the toy is beside it as `toy_store`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use session_core::{
    Limits, SessionStore, Source, StoreKey,
    conformance::{Fixture, Hand, Purge},
};

use super::toy_store::ToyStore;

const NO_BYTES: &str = "values are kept as checked types, not as bytes";
const NO_PROCESS: &str = "it lives in this process";

#[derive(Default)]
pub(crate) struct Toys(Mutex<HashMap<String, Arc<ToyStore>>>);

impl Toys {
    fn namespace(&self, name: &str) -> Arc<ToyStore> {
        Arc::clone(self.0.lock().entry(name.to_owned()).or_default())
    }
}

#[async_trait]
impl Fixture for Toys {
    fn store(&self) -> Arc<dyn SessionStore> {
        self.namespace("")
    }

    async fn open(&self) -> Result<Arc<dyn SessionStore>, Source> {
        Ok(self.namespace(""))
    }

    async fn open_namespace(&self, name: &str) -> Result<Arc<dyn SessionStore>, Source> {
        Ok(self.namespace(name))
    }

    async fn bounded(&self) -> Hand<Arc<dyn SessionStore>> {
        Hand::NotApplicable("it has no cap on its memory")
    }

    async fn advance(&self, by: Duration) {
        tokio::time::sleep(by).await;
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

    /// The purge of the toy reads every record. With so few records that takes no measurable time.
    fn bulk(&self) -> usize {
        1_000
    }

    fn secret(&self) -> Hand<String> {
        Hand::NotApplicable("no password opens it")
    }

    fn settings_text(&self) -> Hand<String> {
        Hand::NotApplicable("it has no settings")
    }

    async fn corrupt(&self, _: &StoreKey) -> Hand {
        Hand::NotApplicable(NO_BYTES)
    }

    async fn future_format(&self, _: &StoreKey) -> Hand {
        Hand::NotApplicable(NO_BYTES)
    }

    async fn stop(&self) -> Hand {
        Hand::NotApplicable(NO_PROCESS)
    }

    async fn start(&self) -> Hand {
        Hand::NotApplicable(NO_PROCESS)
    }

    async fn freeze(&self) -> Hand {
        Hand::NotApplicable(NO_PROCESS)
    }

    async fn thaw(&self) -> Hand {
        Hand::NotApplicable(NO_PROCESS)
    }

    async fn dump(&self) -> Hand<Vec<u8>> {
        Hand::NotApplicable(NO_BYTES)
    }

    async fn physical_count(&self) -> Hand<u64> {
        Hand::NotApplicable("the toy does not tell")
    }
}
