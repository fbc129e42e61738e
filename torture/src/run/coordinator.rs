//! A whole run.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    FaultKind, Faults, PlantedBug, Summary, TargetStore, WorkerSettings, check_faults,
    error::BoxError, final_reads::read_final_state, nemesis::Nemesis, packet_filter::PacketFilter,
    worker::open, workers::Workers,
};
use crate::{
    check::{Verdict, check},
    history::{History, now},
};

/// How long workers may take to end: their last calls have deadlines.
const END_WITHIN: Duration = Duration::from_mins(1);

/// How a run is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program that workers run: this one.
    pub program: PathBuf,
    /// A name of [`STORES`](super::STORES), or a URL.
    pub store: String,
    /// How long calls are made.
    pub length: Duration,
    /// How many worker processes there are.
    pub workers: usize,
    /// How many clients each of them has.
    pub clients: usize,
    /// What chooses calls and faults.
    pub seed: u64,
    /// What is done to the processes.
    pub faults: Faults,
    /// A mistake to plant.
    pub plant: Option<PlantedBug>,
    /// By how much the store's clock may differ from ours.
    pub tolerance: Duration,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// All that happened.
    pub history: History,
    /// What it proves.
    pub verdict: Verdict,
    /// In numbers.
    pub summary: Summary,
}

/// Runs workers on a store, disturbs them, and checks what they have written down. `None` if there
/// is no such store here: the output says why.
///
/// # Errors
/// [`RunError`] if the faults cannot be had here, if a process does not start or does not end, or
/// if the store does not answer when all is over.
///
/// # Panics
/// If a server of our own does not start, or there is none and `REQUIRE_SERVICES` asks for it.
pub async fn run(options: &Options) -> Result<Option<Outcome>, RunError> {
    check_faults(&options.store, &options.faults)?;
    let filter = options
        .faults
        .0
        .contains(&FaultKind::Cut)
        .then(PacketFilter::of_own_namespace)
        .transpose()?;
    let folder = tempfile::Builder::new().prefix("torture-").tempdir()?;
    let Some(mut target) =
        TargetStore::open(&options.store, &options.program, folder.path(), options.plant).await?
    else {
        return Ok(None);
    };
    let history = record(options, &mut target, filter, folder.path()).await?;
    drop(target);
    let verdict = check(&history);
    let summary = Summary::of(&history, &verdict);
    Ok(Some(Outcome { history, verdict, summary }))
}

async fn record(
    options: &Options,
    target: &mut TargetStore,
    filter: Option<PacketFilter>,
    folder: &Path,
) -> Result<History, BoxError> {
    let start = now();
    let until = start + u64::try_from(options.length.as_nanos())?;
    let run = format!("{:08x}", fastrand::u32(..));
    let plant = target.bug_of_workers(options.plant);
    let settings = WorkerSettings {
        url: target.url(),
        plant,
        log: PathBuf::new(),
        shared_keys: folder.join("shared_keys"),
        run: run.clone(),
        seed: options.seed,
        number: 0,
        life: 0,
        clients: options.clients,
        until,
    };
    let mut workers = Workers::start_all(&options.program, folder, settings, options.workers)?;
    let faults = Nemesis::new(options.seed, &options.faults, filter)
        .run(&mut workers, target, until)
        .await?;
    let begun = std::time::Instant::now();
    while !workers.has_ended()? {
        if begun.elapsed() > END_WITHIN {
            return Err(format!("workers did not end within {END_WITHIN:?} after the last call that they were to make").into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let tolerance = u64::try_from(options.tolerance.as_millis())?;
    let unsynced = target.unsynced();
    let store = shown(&options.store);
    let (failovers, apart) =
        (Vec::new(), matches!(target, TargetStore::Replicated(servers) if servers.is_apart()));
    let mut history = History {
        store,
        seed: options.seed,
        start,
        tolerance,
        unsynced,
        faults,
        failovers,
        apart,
        calls: Vec::new(),
    };
    for log in workers.logs() {
        // A worker that was killed before its first call has none.
        if log.exists() {
            history.add_log(log)?;
        }
    }
    history.arrange();
    let last = folder.join("calls-end");
    read_final_state(open(&target.url(), plant, now()).await?, &history.calls, &run, &last).await?;
    history.add_log(&last)?;
    history.arrange();
    if let TargetStore::Replicated(servers) = target {
        history.failovers = servers.failovers().await?;
    }
    Ok(history)
}

/// A store's name, or its URL without what may be a password.
fn shown(store: &str) -> String {
    match store.split_once("://") {
        Some((scheme, rest)) => format!(
            "{scheme}://{}",
            rest.rsplit('@').next().unwrap_or_default().split('?').next().unwrap_or_default()
        ),
        None => store.to_owned(),
    }
}
