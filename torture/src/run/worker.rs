//! A worker process.

use std::{path::PathBuf, sync::Arc, time::Duration};

use fastrand::Rng;
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use session_core::{SessionStore, spawn_sweeper};

use super::{
    BuggyStore, PlantedBug, client::Client, error::BoxError, recorder::Recorder,
    shared_keys::SharedKeys,
};
use crate::history::now;

/// How long a client waits after a call that was not answered, in milliseconds at most: a store
/// that is down answers fast.
const PAUSE_AFTER_FAILURE: u64 = 60;
/// How long it waits between calls, in microseconds at most.
const PAUSE_AFTER_ANSWER: u64 = 3_000;

/// How often expired sessions are purged, and how many at once.
const SWEEP: Duration = Duration::from_millis(400);
const SWEEP_BATCH: usize = 50;

/// What a worker has to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkerSettings {
    /// The store's URL.
    pub url: String,
    /// The mistake to plant.
    pub plant: Option<PlantedBug>,
    /// Where it writes down its calls.
    pub log: PathBuf,
    /// Where the shared sessions are found.
    pub shared_keys: PathBuf,
    /// What its keys have in them.
    pub run: String,
    /// What chooses its calls, with its number and its life.
    pub seed: u64,
    /// Which worker it is.
    pub number: usize,
    /// How often it was started before.
    pub life: usize,
    /// How many clients it has.
    pub clients: usize,
    /// When it ends, in nanoseconds of [`now`].
    pub until: u64,
}

/// Makes calls until the time is over.
///
/// # Errors
/// If the store cannot be opened, or the calls cannot be written down. What the store answers is
/// none.
pub async fn run_worker(settings: WorkerSettings) -> Result<(), BoxError> {
    let store = open(&settings.url, settings.plant, settings.until).await?;
    // Purging beside the calls must be seen by none of them.
    let _sweeper = spawn_sweeper(Arc::clone(&store), SWEEP, SWEEP_BATCH);
    let recorder = Arc::new(Recorder::new(store, &settings.log)?);
    let shared_keys = Arc::new(SharedKeys::open(&settings.shared_keys)?);
    let clients = (0..settings.clients).map(|number| {
        let by = format!("w{}.{}/c{number}", settings.number, settings.life);
        let place =
            ((settings.number as u64) << 40) | ((settings.life as u64) << 20) | number as u64;
        // Neighbouring seeds begin alike; a first draw parts them.
        let rng =
            Rng::with_seed(Rng::with_seed(settings.seed).u64(..) ^ Rng::with_seed(place).u64(..));
        Client::new(Arc::clone(&recorder), Arc::clone(&shared_keys), rng, by, settings.run.clone())
    });
    try_join_all(clients.map(|client| tokio::spawn(run_client(client, settings.until))))
        .await?
        .into_iter()
        .collect()
}

async fn run_client(mut client: Client, until: u64) -> Result<(), BoxError> {
    while now() < until {
        let pause = if client.step().await? {
            Duration::from_micros(client.rng.u64(..PAUSE_AFTER_ANSWER))
        } else {
            Duration::from_millis(client.rng.u64(..PAUSE_AFTER_FAILURE))
        };
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

/// Opens a store. One that is being started may refuse for a while.
pub(super) async fn open(
    url: &str,
    plant: Option<PlantedBug>,
    until: u64,
) -> Result<Arc<dyn SessionStore>, BoxError> {
    loop {
        match store_any::connect(url).await {
            Ok(store) => {
                return Ok(
                    plant.map_or(store.clone(), |plant| Arc::new(BuggyStore::new(store, plant)))
                );
            }
            Err(error) if now() >= until => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
