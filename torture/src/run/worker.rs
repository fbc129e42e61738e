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

/// The longest pause after a call without an answer, in milliseconds. A store that is down refuses
/// calls fast.
const PAUSE_AFTER_FAILURE: u64 = 60;
/// The longest pause after an answer, in microseconds.
const PAUSE_AFTER_ANSWER: u64 = 3_000;

/// The interval at which expired sessions are purged, and the largest number in one purge.
const SWEEP: Duration = Duration::from_millis(400);
const SWEEP_BATCH: usize = 50;

/// The settings of a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkerSettings {
    /// The URL of the store.
    pub url: String,
    /// The bug to plant.
    pub plant: Option<PlantedBug>,
    /// The file for the log of the calls.
    pub log: PathBuf,
    /// The file with the shared sessions.
    pub shared_keys: PathBuf,
    /// The prefix of keys and principals.
    pub run: String,
    /// The seed of the run. With the numbers of worker and start it gives the seed of the worker.
    pub seed: u64,
    /// The number of the worker.
    pub number: usize,
    /// The number of earlier starts of this worker.
    pub restarts: usize,
    /// The number of clients.
    pub clients: usize,
    /// The end of the calls, in nanoseconds of [`now`].
    pub until: u64,
}

/// Makes calls until the end of the run.
///
/// # Errors
/// If the store cannot be opened, or the log cannot be written. Answers of the store are not
/// errors.
pub async fn run_worker(settings: WorkerSettings) -> Result<(), BoxError> {
    let store = open(&settings.url, settings.plant, settings.until).await?;
    // The purge runs beside the calls and must not change any answer.
    let _sweeper = spawn_sweeper(Arc::clone(&store), SWEEP, SWEEP_BATCH);
    let recorder = Arc::new(Recorder::new(store, &settings.log)?);
    let shared_keys = Arc::new(SharedKeys::open(&settings.shared_keys)?);
    let clients = (0..settings.clients).map(|number| {
        let by = format!("w{}.{}/c{number}", settings.number, settings.restarts);
        let client_number =
            ((settings.number as u64) << 40) | ((settings.restarts as u64) << 20) | number as u64;
        // Neighbouring seeds give similar first numbers, so each seed is mixed with a first draw.
        let rng = Rng::with_seed(
            Rng::with_seed(settings.seed).u64(..) ^ Rng::with_seed(client_number).u64(..),
        );
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

/// Opens a store. Retries until the given time, because a store may still be starting.
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
