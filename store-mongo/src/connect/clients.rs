//! The driver's clients: one for each runtime that uses the store, or one that the application
//! provides.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use mongodb::{
    Client,
    event::EventHandler,
    options::{
        ClientOptions, CollectionOptions, ReadConcern, ReadPreference, SelectionCriteria,
        WriteConcern,
    },
};
use parking_lot::RwLock;
use store_support::runtime_entries::remove_entry;
use tokio::{
    runtime::{Handle, Id},
    sync::{Semaphore, oneshot},
};

use crate::{
    config::Config,
    connect::{driver_options::DriverOptions, elections::Elections, faults::Faults, probe},
    error::ClientError,
    index::SessionCollection,
};

/// The driver's clients of a store.
pub(crate) enum Clients {
    /// One client for each runtime. The runtime that creates a client drives its connections, so a
    /// web server's worker with its own runtime receives responses without waking another thread,
    /// and no client depends on a runtime that has ended.
    PerRuntime { options: DriverOptions, clients: Arc<RwLock<Vec<RuntimeClient>>> },
    /// The application's client.
    Provided(Connection),
}

/// Access to the collection through one client.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) sessions: SessionCollection,
    /// One permit for each connection that the client may open. Calls wait for a permit and not in
    /// the driver's pool: the pool serves cancelled waiters first and one waiter per event. After
    /// the server was unresponsive, that queue can be minutes behind.
    pub(crate) permits: Arc<Semaphore>,
    /// The elections that reads have to confirm. `None` if the settings name a read concern, or if
    /// the application provides the client, which does not report elections to the store.
    pub(crate) elections: Option<Arc<Elections>>,
    /// The last faults of the servers. Empty if the application provides the client.
    pub(crate) faults: Arc<Faults>,
    /// The generation of the options that the client uses.
    generation: u64,
}

/// A client and the runtime that drives it.
pub(crate) struct RuntimeClient {
    runtime: Id,
    connection: Connection,
    /// Dropping the sender ends the task that removes this entry at the end of the runtime.
    _store_ended: oneshot::Sender<()>,
}

impl Clients {
    pub(crate) fn per_runtime(config: &Config) -> Self {
        Self::PerRuntime { options: DriverOptions::new(config), clients: Arc::default() }
    }

    pub(crate) fn provided(client: &Client, config: &Config) -> Self {
        Self::Provided(connection(client, config, None, Arc::default(), 0))
    }

    /// The connection of the current runtime. Creates a client if the runtime has none with the
    /// current options.
    pub(crate) async fn connection(&self) -> Result<Connection, ClientError> {
        match self {
            Self::Provided(connection) => Ok(connection.clone()),
            Self::PerRuntime { options, clients } => {
                let runtime = Handle::current().id();
                if let Some(connection) = find(clients, runtime, options.generation()) {
                    return Ok(connection);
                }
                let (driver, generation) = Box::pin(options.current()).await?;
                create(driver, generation, &options.config, clients, runtime)
            }
        }
    }

    /// Reads the password file again after a server refused the login of this connection. Whether
    /// the next connection has another password.
    pub(crate) fn renew_password(&self, connection: &Connection) -> Result<bool, ClientError> {
        match self {
            Self::Provided(_) => Ok(false),
            Self::PerRuntime { options, .. } => options.renew_password(connection.generation),
        }
    }

    /// Measures the DNS lookups in a task, after the driver found no server.
    pub(crate) fn measure_lookups(&self) {
        if let Self::PerRuntime { options, .. } = self {
            options.measure_lookups();
        }
    }

    /// The error for a server that closes all connections because of TLS. Takes at most `limit` for
    /// each server.
    pub(crate) async fn tls_mismatch(&self, limit: Duration) -> Option<ClientError> {
        let Self::PerRuntime { options, clients } = self else { return None };
        let connection = find(clients, Handle::current().id(), options.generation())?;
        probe::tls_mismatch(options.resolved()?, &connection.faults, limit).await
    }
}

fn find(clients: &RwLock<Vec<RuntimeClient>>, runtime: Id, generation: u64) -> Option<Connection> {
    let clients = clients.read();
    let client = clients.iter().find(|client| client.runtime == runtime)?;
    (client.connection.generation == generation).then(|| client.connection.clone())
}

/// Creates the client of this runtime, unless another task has created it meanwhile. Replaces a
/// client with earlier options.
fn create(
    mut options: ClientOptions,
    generation: u64,
    config: &Config,
    clients: &Arc<RwLock<Vec<RuntimeClient>>>,
    runtime: Id,
) -> Result<Connection, ClientError> {
    let elections = reads_majority(config).then(Arc::<Elections>::default);
    let faults = Arc::<Faults>::default();
    options.sdam_event_handler = Some({
        let (elections, faults) = (elections.clone(), Arc::clone(&faults));
        EventHandler::callback(move |event| {
            faults.record(&event);
            if let Some(elections) = &elections {
                elections.record(&event);
            }
        })
    });
    let client = Client::with_options(options).map_err(ClientError::of_settings)?;
    let connection = connection(&client, config, elections, faults, generation);
    let (sender, store_ended) = oneshot::channel();
    {
        let mut clients = clients.write();
        if let Some(existing) = clients.iter_mut().find(|client| client.runtime == runtime) {
            if existing.connection.generation < generation {
                existing.connection = connection;
            }
            return Ok(existing.connection.clone());
        }
        clients.push(RuntimeClient {
            runtime,
            connection: connection.clone(),
            _store_ended: sender,
        });
    }
    // Spawned after the lock is released: a runtime that is shutting down drops the task at once,
    // and the drop locks the list to remove the client.
    let guard = RemoveOnRuntimeEnd { runtime, clients: Arc::downgrade(clients) };
    tokio::spawn(async move {
        let _guard = guard;
        // Nothing is ever sent. The error means that the store was dropped.
        let _ = store_ended.await;
    });
    Ok(connection)
}

/// Whether the store itself makes reads return only what a majority has. That is the case unless
/// the settings name a read concern or a write concern other than `majority`.
fn reads_majority(config: &Config) -> bool {
    config.read_concern.is_none()
        && config
            .write_concern
            .w
            .as_ref()
            .is_none_or(|w| Some(w) == WriteConcern::majority().w.as_ref())
}

fn connection(
    client: &Client,
    config: &Config,
    elections: Option<Arc<Elections>>,
    faults: Arc<Faults>,
    generation: u64,
) -> Connection {
    let concern = WriteConcern::builder()
        .w(config.write_concern.w.clone().or(WriteConcern::majority().w))
        .journal(config.write_concern.journal)
        .w_timeout(config.write_concern.w_timeout.or(Some(config.deadline)))
        .build();
    // A secondary may lack acknowledged writes, so the client's own read preference is ignored.
    let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
    // A majority read does not return a write that fewer members acknowledged. So a weaker write
    // concern also needs a weaker read concern.
    let reads = match &config.read_concern {
        Some(configured) => configured.clone(),
        None if reads_majority(config) => ReadConcern::majority(),
        None => ReadConcern::local(),
    };
    let options = CollectionOptions::builder()
        .write_concern(concern)
        .read_concern(reads)
        .selection_criteria(primary)
        .build();
    Connection {
        sessions: client
            .database(&config.database)
            .collection_with_options(&config.collection, options),
        permits: Arc::new(Semaphore::new(config.connections())),
        elections,
        faults,
        generation,
    }
}

/// Removes the client of a runtime when the runtime ends. The end of the runtime drops all its
/// tasks, and one of them owns this guard.
struct RemoveOnRuntimeEnd {
    runtime: Id,
    clients: Weak<RwLock<Vec<RuntimeClient>>>,
}

impl Drop for RemoveOnRuntimeEnd {
    fn drop(&mut self) {
        remove_entry(&self.clients, |client| client.runtime == self.runtime);
    }
}
