//! The conformance fixture of the toy store, in `tests/toy_fixture/mod.rs`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use session_core::{
    BoxError, Limits, SessionStore, StoreKey,
    conformance::{Fixture, Purge, Supported},
};

use super::toy_store::ToyStore;

const NO_BYTES: &str = "the store keeps typed values, not bytes";
const NO_SERVER: &str = "the store has no server";

#[derive(Default)]
pub(crate) struct ToyFixture {
    namespaces: Mutex<HashMap<String, Arc<ToyStore>>>,
}

impl ToyFixture {
    fn namespace(&self, name: &str) -> Arc<ToyStore> {
        Arc::clone(self.namespaces.lock().entry(name.to_owned()).or_default())
    }
}

#[async_trait]
impl Fixture for ToyFixture {
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
        Supported::NotApplicable("the store has no capacity limit")
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

    /// A purge of the toy reads every record. With 1,000 records that takes no measurable time.
    fn bulk(&self) -> usize {
        1_000
    }

    fn secret(&self) -> Supported<String> {
        Supported::NotApplicable("the store has no password")
    }

    fn settings_text(&self) -> Supported<String> {
        Supported::NotApplicable("the store has no settings")
    }

    async fn corrupt(&self, _: &StoreKey) -> Supported {
        Supported::NotApplicable(NO_BYTES)
    }

    async fn future_format(&self, _: &StoreKey) -> Supported {
        Supported::NotApplicable(NO_BYTES)
    }

    async fn stop(&self) -> Supported {
        Supported::NotApplicable(NO_SERVER)
    }

    async fn start(&self) -> Supported {
        Supported::NotApplicable(NO_SERVER)
    }

    async fn freeze(&self) -> Supported {
        Supported::NotApplicable(NO_SERVER)
    }

    async fn thaw(&self) -> Supported {
        Supported::NotApplicable(NO_SERVER)
    }

    async fn dump(&self) -> Supported<Vec<u8>> {
        Supported::NotApplicable(NO_BYTES)
    }

    async fn physical_count(&self) -> Supported<u64> {
        Supported::NotApplicable("the store does not count its records")
    }
}
