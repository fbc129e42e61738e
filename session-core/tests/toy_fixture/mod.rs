// In tests/toy_fixture/mod.rs; the toy is beside it as `toy_store`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use session_core::{
    BoxError, Limits, SessionStore, StoreKey,
    conformance::{Fixture, Purge, Supported},
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

    async fn open(&self) -> Result<Arc<dyn SessionStore>, BoxError> {
        Ok(self.namespace(""))
    }

    async fn open_namespace(&self, name: &str) -> Result<Arc<dyn SessionStore>, BoxError> {
        Ok(self.namespace(name))
    }

    async fn bounded(&self) -> Supported<Arc<dyn SessionStore>> {
        Supported::NotApplicable("it has no cap on its memory")
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

    fn secret(&self) -> Supported<String> {
        Supported::NotApplicable("no password opens it")
    }

    fn settings_text(&self) -> Supported<String> {
        Supported::NotApplicable("it has no settings")
    }

    async fn corrupt(&self, _: &StoreKey) -> Supported {
        Supported::NotApplicable(NO_BYTES)
    }

    async fn future_format(&self, _: &StoreKey) -> Supported {
        Supported::NotApplicable(NO_BYTES)
    }

    async fn stop(&self) -> Supported {
        Supported::NotApplicable(NO_PROCESS)
    }

    async fn start(&self) -> Supported {
        Supported::NotApplicable(NO_PROCESS)
    }

    async fn freeze(&self) -> Supported {
        Supported::NotApplicable(NO_PROCESS)
    }

    async fn thaw(&self) -> Supported {
        Supported::NotApplicable(NO_PROCESS)
    }

    async fn dump(&self) -> Supported<Vec<u8>> {
        Supported::NotApplicable(NO_BYTES)
    }

    async fn physical_count(&self) -> Supported<u64> {
        Supported::NotApplicable("the toy does not tell")
    }
}
