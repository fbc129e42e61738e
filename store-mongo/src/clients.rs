//! The driver's clients of a store: one for each runtime that uses it.

use std::sync::{Arc, Weak};

use mongodb::{
    Client, Collection,
    bson::RawDocumentBuf,
    options::{
        ClientOptions, CollectionOptions, ReadConcern, ReadPreference, SelectionCriteria,
        WriteConcern,
    },
};
use parking_lot::RwLock;
use tokio::{
    runtime::{Handle, Id},
    sync::{OnceCell, Semaphore, oneshot},
};

use crate::{config::Config, elections::Elections, error::ClientError};

/// The sessions' collection, as one client sees it. Documents are read where they lie in an answer,
/// so they stay raw.
pub(crate) type Sessions = Collection<RawDocumentBuf>;

/// The driver's clients of a store.
pub(crate) enum Clients {
    /// One for each runtime. A client's connections are driven by the runtime that made it; a
    /// server's worker with a runtime of its own gets its answers without waking another thread,
    /// and no client depends on a runtime that has ended.
    Own { config: Box<Config>, options: Box<OnceCell<ClientOptions>>, made: Arc<RwLock<Vec<Made>>> },
    /// One that the application made.
    Given(Link),
}

/// A way to the collection.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) sessions: Sessions,
    /// One permit for each connection that the client may have. Calls wait here and not for the
    /// driver's pool: that serves those who have given up before those who still wait, one with
    /// each thing that happens to it, and is minutes behind after a silence.
    pub(crate) turns: Arc<Semaphore>,
    /// The elections that its reads have to make sure of. `None` where the settings say what reads
    /// ask for, or of a client that the application made, which tells of none.
    pub(crate) elections: Option<Arc<Elections>>,
}

/// A client, and the runtime that drives it.
pub(crate) struct Made {
    runtime: Id,
    link: Link,
    /// Ends the task that waits for the end of the runtime and takes the client out of the list
    /// then.
    _watched: oneshot::Sender<()>,
}

impl Clients {
    pub(crate) fn own(config: &Config) -> Self {
        Self::Own {
            config: Box::new(config.clone()),
            options: Box::default(),
            made: Arc::default(),
        }
    }

    pub(crate) fn given(client: &Client, config: &Config) -> Self {
        Self::Given(link(client, config, None))
    }

    /// The way through the client of this runtime.
    pub(crate) async fn link(&self) -> Result<Link, ClientError> {
        match self {
            Self::Given(link) => Ok(link.clone()),
            Self::Own { config, options, made } => {
                let runtime = Handle::current().id();
                if let Some(link) = find(made, runtime) {
                    return Ok(link);
                }
                let options = options.get_or_try_init(|| Box::pin(config.client_options())).await?;
                make(options, config, made, runtime)
            }
        }
    }
}

fn find(made: &RwLock<Vec<Made>>, runtime: Id) -> Option<Link> {
    made.read().iter().find(|made| made.runtime == runtime).map(|made| made.link.clone())
}

/// Makes the client of this runtime, unless another task of it was faster.
fn make(
    options: &ClientOptions,
    config: &Config,
    made: &Arc<RwLock<Vec<Made>>>,
    runtime: Id,
) -> Result<Link, ClientError> {
    let mut options = options.clone();
    let elections = asks_for_majorities(config).then(Arc::<Elections>::default);
    options.sdam_event_handler = elections.as_ref().map(Elections::listener);
    let link = link(&Client::with_options(options)?, config, elections);
    let (watched, store_ends) = oneshot::channel();
    {
        let mut list = made.write();
        if let Some(there) = list.iter().find(|made| made.runtime == runtime) {
            return Ok(there.link.clone());
        }
        list.push(Made { runtime, link: link.clone(), _watched: watched });
    }
    // Without the lock: a runtime that is ending drops the task at once, which takes the client out
    // again.
    let end = RuntimeEnd { runtime, made: Arc::downgrade(made) };
    tokio::spawn(async move {
        let _end = end;
        // An error, as nothing is ever sent: the store has ended.
        let _ = store_ends.await;
    });
    Ok(link)
}

/// Whether reads are to see what a majority has and nothing older, by no word of the settings.
fn asks_for_majorities(config: &Config) -> bool {
    config.read_concern.is_none()
        && config
            .write_concern
            .w
            .as_ref()
            .is_none_or(|w| Some(w) == WriteConcern::majority().w.as_ref())
}

fn link(client: &Client, config: &Config, elections: Option<Arc<Elections>>) -> Link {
    let concern = WriteConcern::builder()
        .w(config.write_concern.w.clone().or(WriteConcern::majority().w))
        .journal(config.write_concern.journal)
        .w_timeout(config.write_concern.w_timeout.or(Some(config.deadline)))
        .build();
    // What is read from a secondary may be older than what was acknowledged, whatever the client
    // prefers elsewhere.
    let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
    // What fewer than a majority acknowledged is not seen by reads that ask for one.
    let reads = match &config.read_concern {
        Some(given) => given.clone(),
        None if asks_for_majorities(config) => ReadConcern::majority(),
        None => ReadConcern::local(),
    };
    let options = CollectionOptions::builder()
        .write_concern(concern)
        .read_concern(reads)
        .selection_criteria(primary)
        .build();
    Link {
        sessions: client
            .database(&config.database)
            .collection_with_options(&config.collection, options),
        turns: Arc::new(Semaphore::new(config.connections())),
        elections,
    }
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
        let gone = list
            .iter()
            .position(|made| made.runtime == self.runtime)
            .map(|at| list.swap_remove(at));
        // The client is dropped without the lock.
        drop(list);
        drop(gone);
    }
}
