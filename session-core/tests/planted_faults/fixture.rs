//! The fixture over a backend whose clients have one fault.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use session_core::{
    BoxError, SessionStore, StoreError, StoreKey,
    conformance::{Fixture, Supported},
};

use crate::{
    backend::{Backend, DEADLINE, PASSWORD, State},
    client::Client,
    fault::Fault,
};

/// The fixture over a backend whose clients have one fault.
#[derive(Debug)]
pub(crate) struct BackendFixture {
    backend: Arc<Backend>,
    store: OnceLock<Arc<Client>>,
}

impl BackendFixture {
    pub(crate) fn new(fault: Fault) -> Self {
        Self { backend: Arc::new(Backend::new(fault)), store: OnceLock::new() }
    }

    fn client(&self, name: &str) -> Arc<Client> {
        let number = self.backend.clients.fetch_add(1, Ordering::Relaxed);
        Arc::new(Client::new(Arc::clone(&self.backend), self.backend.namespace(name), number))
    }

    fn switch(&self, state: State) -> Supported {
        self.backend.state.send_replace(state);
        Supported::Done(())
    }

    fn mark_corrupt(&self, key: &StoreKey) -> Supported {
        self.backend.namespace("").corrupt_keys.lock().insert(key.clone());
        Supported::Done(())
    }
}

#[async_trait]
impl Fixture for BackendFixture {
    fn store(&self) -> Arc<dyn SessionStore> {
        Arc::clone(self.store.get_or_init(|| self.client(""))) as Arc<dyn SessionStore>
    }

    async fn open(&self) -> Result<Arc<dyn SessionStore>, BoxError> {
        Ok(self.client(""))
    }

    async fn open_namespace(&self, name: &str) -> Result<Arc<dyn SessionStore>, BoxError> {
        let others = self.backend.opening.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.backend.opening.fetch_sub(1, Ordering::SeqCst);
        if others > 0 && self.backend.fault == Fault::ConcurrentSetupFails {
            return Err("the table exists already".into());
        }
        Ok(self.client(name))
    }

    async fn bounded(&self) -> Supported<Arc<dyn SessionStore>> {
        let number = self.backend.clients.fetch_add(1, Ordering::Relaxed);
        Supported::Done(Arc::new(Client::new(
            Arc::clone(&self.backend),
            self.backend.bounded(),
            number,
        )))
    }

    async fn advance(&self, by: Duration) {
        self.backend.clock.advance(by);
    }

    fn deadline(&self) -> Duration {
        DEADLINE
    }

    fn secret(&self) -> Supported<String> {
        Supported::Done(PASSWORD.to_owned())
    }

    async fn corrupt(&self, key: &StoreKey) -> Supported {
        self.mark_corrupt(key)
    }

    async fn future_format(&self, key: &StoreKey) -> Supported {
        self.mark_corrupt(key)
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
        let namespace = self.backend.namespace("");
        let page = namespace
            .records
            .scan(None, usize::MAX)
            .await
            .unwrap_or_else(|error: StoreError| panic!("{error}"));
        let line = |(key, record): (StoreKey, session_core::Record)| {
            let values: Vec<&str> = record.data.iter().map(|(_, value)| value.as_str()).collect();
            let corrupt_keys = namespace.corrupt_keys.lock().contains(&key);
            format!(
                "{} {} {} {values:?} {corrupt_keys}\n",
                key.as_str(),
                record.version,
                record.generation
            )
        };
        let lines: BTreeSet<String> = page.records.into_iter().map(line).collect();
        let hidden = self.backend.fault == Fault::DumpIsEmpty;
        Supported::Done(if hidden {
            Vec::new()
        } else {
            lines.into_iter().collect::<String>().into_bytes()
        })
    }

    async fn physical_count(&self) -> Supported<u64> {
        Supported::Done(self.backend.namespace("").records.held_sessions() as u64)
    }
}
