//! The conformance fixture of the toy store, in `tests/toy_fixture/mod.rs`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use session_core::{BoxError, SessionStore, conformance::Fixture};

use super::toy_store::ToyStore;

#[derive(Default)]
pub(crate) struct ToyFixture {
    namespaces: Mutex<HashMap<String, Arc<ToyStore>>>,
}

impl ToyFixture {
    fn namespace(&self, name: &str) -> Arc<ToyStore> {
        Arc::clone(self.namespaces.lock().entry(name.to_owned()).or_default())
    }
}

/// The methods that access the backend keep their defaults: the toy store has no server, no stored
/// bytes, no settings and no capacity limit.
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

    fn deadline(&self) -> Duration {
        Duration::from_secs(2)
    }

    /// A purge of the toy reads every record. With 1,000 records that takes no measurable time.
    fn bulk(&self) -> usize {
        1_000
    }
}
