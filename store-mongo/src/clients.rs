//! The driver's clients of a store: one for each runtime that uses it.

use std::{
    future::pending,
    sync::{Arc, Weak},
};

use mongodb::{
    Client, Collection,
    bson::RawDocumentBuf,
    options::{ClientOptions, CollectionOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern},
};
use parking_lot::RwLock;
use tokio::{
    runtime::{Handle, Id},
    sync::OnceCell,
    task::AbortHandle,
};

use crate::{config::Config, error::ClientError};

/// The sessions' collection, as one client sees it. Documents are read where they lie in an answer, so they stay raw.
pub(crate) type Sessions = Collection<RawDocumentBuf>;

/// The driver's clients of a store.
pub(crate) enum Clients {
    /// One for each runtime. A client's connections are driven by the runtime that made it; a server's worker with a runtime of its own
    /// gets its answers without waking another thread, and no client depends on a runtime that has ended.
    Own { config: Box<Config>, options: Box<OnceCell<ClientOptions>>, made: Arc<RwLock<Vec<Made>>> },
    /// One that the application made.
    Given(Sessions),
}

/// A client, and the runtime that drives it.
pub(crate) struct Made {
    runtime: Id,
    sessions: Sessions,
    /// A task that ends with the runtime and takes the client out of the list then.
    watch: AbortHandle,
}

impl Clients {
    pub(crate) fn own(config: &Config) -> Self {
        Self::Own { config: Box::new(config.clone()), options: Box::default(), made: Arc::default() }
    }

    pub(crate) fn given(client: &Client, config: &Config) -> Self {
        Self::Given(sessions(client, config))
    }

    /// The collection through the client of this runtime.
    pub(crate) async fn sessions(&self) -> Result<Sessions, ClientError> {
        match self {
            Self::Given(sessions) => Ok(sessions.clone()),
            Self::Own { config, options, made } => {
                let runtime = Handle::current().id();
                if let Some(sessions) = find(made, runtime) {
                    return Ok(sessions);
                }
                let options = options.get_or_try_init(|| Box::pin(config.client_options())).await?;
                make(options, config, made, runtime)
            }
        }
    }
}

fn find(made: &RwLock<Vec<Made>>, runtime: Id) -> Option<Sessions> {
    made.read().iter().find(|made| made.runtime == runtime).map(|made| made.sessions.clone())
}

/// Makes the client of this runtime, unless another task of it was faster.
fn make(options: &ClientOptions, config: &Config, made: &Arc<RwLock<Vec<Made>>>, runtime: Id) -> Result<Sessions, ClientError> {
    let mut list = made.write();
    if let Some(there) = list.iter().find(|made| made.runtime == runtime) {
        return Ok(there.sessions.clone());
    }
    let sessions = sessions(&Client::with_options(options.clone())?, config);
    let end = RuntimeEnd { runtime, made: Arc::downgrade(made) };
    let watch = tokio::spawn(async move {
        let _end = end;
        pending::<()>().await;
    });
    list.push(Made { runtime, sessions: sessions.clone(), watch: watch.abort_handle() });
    Ok(sessions)
}

fn sessions(client: &Client, config: &Config) -> Sessions {
    let concern = WriteConcern::builder()
        .w(config.write_concern.w.clone())
        .journal(config.write_concern.journal)
        .w_timeout(config.write_concern.w_timeout.or(Some(config.deadline)))
        .build();
    // What is read from a secondary may be older than what was acknowledged, whatever the client prefers elsewhere.
    let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
    let reads = config.read_concern.clone().unwrap_or_else(ReadConcern::majority);
    let options = CollectionOptions::builder().write_concern(concern).read_concern(reads).selection_criteria(primary).build();
    client.database(&config.database).collection_with_options(&config.collection, options)
}

/// Takes the client of a runtime out of the list when the runtime ends, which drops all its tasks.
struct RuntimeEnd {
    runtime: Id,
    made: Weak<RwLock<Vec<Made>>>,
}

impl Drop for RuntimeEnd {
    fn drop(&mut self) {
        let Some(made) = self.made.upgrade() else { return };
        let mut list = made.write();
        let gone = list.iter().position(|made| made.runtime == self.runtime).map(|at| list.swap_remove(at));
        // The client is dropped without the lock.
        drop(list);
        drop(gone);
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        self.watch.abort();
    }
}
