//! A whole run, from the start of the store to the verdict.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    FaultKind, Faults, PlantedBug, Summary, TargetStore, WorkerSettings, check_faults,
    error::{BoxError, RunError},
    final_reads::read_final_state,
    nemesis::Nemesis,
    packet_filter::PacketFilter,
    worker::open,
    workers::Workers,
};
use crate::{
    check::{Verdict, check},
    history::{History, now},
};

/// The time in which workers must end after their last calls, which have deadlines.
const END_WITHIN: Duration = Duration::from_mins(1);

/// The options of a run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The executable for the worker processes: this program.
    pub program: PathBuf,
    /// A name from [`STORES`](super::STORES), or a URL.
    pub store: String,
    /// The time during which the workers make calls.
    pub length: Duration,
    /// The number of worker processes.
    pub workers: usize,
    /// The number of clients in each worker.
    pub clients: usize,
    /// The seed for calls and faults.
    pub seed: u64,
    /// The kinds of faults to inject.
    pub faults: Faults,
    /// The bug to plant in the store.
    pub plant: Option<PlantedBug>,
    /// The largest difference between the store's clock and this machine's clock.
    pub tolerance: Duration,
}

/// The result of a run.
#[derive(Debug)]
pub struct Outcome {
    /// All calls and faults.
    pub history: History,
    /// What the history proves.
    pub verdict: Verdict,
    /// The run in numbers.
    pub summary: Summary,
}

/// Runs workers on a store, injects faults, and checks the recorded history. Returns `None` if the
/// server is not available here, and prints the reason.
///
/// # Errors
/// [`RunError`] if a fault is not possible here, if a process does not start or does not end, or if
/// the store does not answer after the last fault.
///
/// # Panics
/// If a server of this run does not start, or is missing although `REQUIRE_SERVICES` asks for it.
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
        restarts: 0,
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
            return Err(format!(
                "the workers did not end within {END_WITHIN:?} after their last calls"
            )
            .into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let tolerance = u64::try_from(options.tolerance.as_millis())?;
    let unsynced = target.unsynced();
    let store = shown(&options.store);
    let (failovers, apart) = (
        Vec::new(),
        matches!(target, TargetStore::Replicated(servers) if servers.has_separate_lists()),
    );
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
        // A worker that was killed before its first call has no log.
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

/// Returns the name of a store, or its URL without credentials and parameters.
fn shown(store: &str) -> String {
    match store.split_once("://") {
        Some((scheme, rest)) => format!(
            "{scheme}://{}",
            rest.rsplit('@').next().unwrap_or_default().split('?').next().unwrap_or_default()
        ),
        None => store.to_owned(),
    }
}
