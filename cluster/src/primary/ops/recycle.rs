//! Recycling: replaces workers that have reached a limit, one at a time.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::oneshot, task::spawn_blocking, time::sleep};

use crate::{
    event::Event,
    model::{RecycleReason, SlotState, WorkerId, WorkerInfo},
    primary::{
        cluster::Cluster,
        commands::{ReplaceError, SlotCommand},
    },
};

/// Memory samples in a row that must be above the limit.
const SAMPLES: usize = 3;

/// Checks between two samples. Taking a sample briefly stops the worker's own work on its memory.
const CHECKS_PER_SAMPLE: u32 = 10;

/// Starts the task that recycles workers, if a limit is set.
pub(in crate::primary) fn start(cluster: &Arc<Cluster>) {
    if !cluster.shared.config.recycle.is_off() {
        let recycler = Recycler {
            cluster: Arc::clone(cluster),
            workers: BTreeMap::new(),
            checks: 0,
            last: None,
        };
        tokio::spawn(recycler.run());
    }
}

struct Recycler {
    cluster: Arc<Cluster>,
    /// The workers that served at the last check.
    workers: BTreeMap<WorkerId, WatchedWorker>,
    checks: u32,
    /// The worker that was recycled last. Others that have reached a limit come first.
    last: Option<WorkerId>,
}

struct WatchedWorker {
    /// From 0 to 1, for the jitter of its limits.
    roll: f64,
    /// The last samples of its memory, in bytes.
    memory: VecDeque<u64>,
}

impl Recycler {
    async fn run(mut self) {
        let config = &self.cluster.shared.config;
        let every = config.heartbeat.map_or(Duration::from_secs(1), |policy| policy.every);
        let after_failure = config.restart.cap;
        let cluster = Arc::clone(&self.cluster);
        let mut outcome = cluster.shared.lifecycle.watch_outcome();
        let mut pause = every;
        loop {
            tokio::select! {
                biased;
                _ = outcome.wait_for(Option::is_some) => return,
                () = sleep(pause) => {}
            }
            pause = every;
            let Some((worker, why)) = self.check().await else { continue };
            self.last = Some(worker.id);
            if let Err(error) = cluster.recycle(&worker, why).await {
                tracing::error!(
                    worker = %worker.id, slot = %worker.slot, error,
                    "worker not recycled; it continues to serve"
                );
                pause = every.max(after_failure);
                cluster.shared.emit(Event::NotRecycled { id: worker.id, pause });
            }
        }
    }

    /// The next worker to recycle, if one has reached a limit.
    async fn check(&mut self) -> Option<(WorkerInfo, RecycleReason)> {
        let serving = self.cluster.serving();
        self.workers.retain(|id, _| serving.iter().any(|worker| worker.id == *id));
        for worker in &serving {
            self.workers.entry(worker.id).or_insert_with(WatchedWorker::new);
        }
        self.checks = (self.checks + 1) % CHECKS_PER_SAMPLE;
        if self.cluster.shared.config.recycle.max_memory.is_some() && self.checks == 0 {
            self.sample(&serving).await;
        }
        let mut reached: VecDeque<_> = serving
            .into_iter()
            .filter_map(|worker| self.reached(&worker).map(|why| (worker, why)))
            .collect();
        let later = reached.iter().position(|(worker, _)| Some(worker.id) > self.last).unwrap_or(0);
        reached.rotate_left(later);
        reached.pop_front()
    }

    fn reached(&self, worker: &WorkerInfo) -> Option<RecycleReason> {
        let watched = self.workers.get(&worker.id)?;
        let policy = &self.cluster.shared.config.recycle;
        policy.reached(worker, watched.roll, watched.least_memory())
    }

    /// Takes one memory sample of each worker, on a blocking thread because reading `/proc` can
    /// take long.
    async fn sample(&mut self, serving: &[WorkerInfo]) {
        let pids: Vec<_> = serving.iter().map(|worker| (worker.id, worker.pid)).collect();
        let sampled = spawn_blocking(move || {
            pids.into_iter().map(|(id, pid)| (id, memory(pid))).collect::<Vec<_>>()
        })
        .await;
        for (id, bytes) in sampled.into_iter().flatten() {
            if let Some(watched) = self.workers.get_mut(&id) {
                watched.add_sample(bytes);
            }
        }
    }
}

impl WatchedWorker {
    fn new() -> Self {
        Self { roll: fastrand::f64(), memory: VecDeque::new() }
    }

    /// Adds a memory sample. A missing sample discards the earlier ones.
    fn add_sample(&mut self, bytes: Option<u64>) {
        let Some(bytes) = bytes else { return self.memory.clear() };
        self.memory.push_back(bytes);
        if self.memory.len() > SAMPLES {
            self.memory.pop_front();
        }
    }

    /// The smallest of the last samples, if there are enough.
    fn least_memory(&self) -> Option<u64> {
        self.memory.iter().min().filter(|_| self.memory.len() == SAMPLES).copied()
    }
}

impl Cluster {
    /// The current workers of all slots that are ready and do not drain; oldest first.
    fn serving(&self) -> Vec<WorkerInfo> {
        self.shared.read(|table| {
            let serves = |worker: &WorkerInfo| {
                table.slots()[worker.slot.index()].state == SlotState::Serving(worker.id)
            };
            table.workers().into_iter().filter(serves).collect()
        })
    }

    /// Replaces a worker by one with the same program, and waits until the old one has exited. The
    /// error says why the old one continues to serve.
    async fn recycle(&self, worker: &WorkerInfo, why: RecycleReason) -> Result<(), String> {
        let _changing = self.changing.lock().await;
        let id = worker.id;
        // A reload may have replaced it while this waited for the lock.
        if self.shared.lifecycle.is_stopping()
            || !self.serving().iter().any(|serving| serving.id == id)
        {
            return Ok(());
        }
        tracing::info!(worker = %id, slot = %worker.slot, ?why, "recycling worker");
        self.shared.emit(Event::Recycling { id, why });
        let (reply, result) = oneshot::channel();
        // Without a task the slot has ended, and its worker too.
        if self.slots.send(worker.slot, SlotCommand::Recycle(id, reply)).is_err() {
            return Ok(());
        }
        match result.await {
            Ok(Ok(replaced)) => {
                if let Some((_, mut end)) = replaced.old {
                    // An error means its end too. This wait limits the extra workers to one.
                    let _ = end.wait_for(Option::is_some).await;
                }
                Ok(())
            }
            Ok(Err(ReplaceError::Spawn(error))) => {
                Err(format!("cannot start a worker process: {error}"))
            }
            Ok(Err(ReplaceError::Ended(ended))) => {
                Err(format!("worker {} ended before it was ready: {}", ended.id, ended.status))
            }
            Ok(Err(ReplaceError::Leaving | ReplaceError::NotCurrent)) | Err(_) => Ok(()),
        }
    }
}

/// Bytes of memory that a process uses. `None` if it has ended.
///
/// If the process has just ended and its id was reused, this returns one sample of another process
/// for a worker that is gone. That is harmless.
fn memory(pid: u32) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    read("smaps_rollup")
        .and_then(|text| pss(&text))
        .or_else(|| own_pages(&read("statm")?)?.checked_mul(page_size()))
}

fn pss(rollup: &str) -> Option<u64> {
    let kilobytes =
        rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?.trim().strip_suffix(" kB")?;
    kilobytes.parse::<u64>().ok()?.checked_mul(1024)
}

/// Resident pages without those of files and shared memory.
fn own_pages(statm: &str) -> Option<u64> {
    let mut fields = statm.split_ascii_whitespace().skip(1).map(str::parse::<u64>);
    let (resident, shared) = (fields.next()?.ok()?, fields.next()?.ok()?);
    Some(resident.saturating_sub(shared))
}

fn page_size() -> u64 {
    rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_limit_needs_three_samples_in_a_row() {
        let mut watched = WatchedWorker::new();
        let mut seen = Vec::new();
        for bytes in [Some(9), Some(9), Some(9), Some(1), Some(9), Some(9), Some(8), None, Some(9)]
        {
            watched.add_sample(bytes);
            seen.push(watched.least_memory());
        }
        assert_eq!(seen, [None, None, Some(9), Some(1), Some(1), Some(1), Some(8), None, None]);
    }

    #[test]
    fn memory_is_read_in_bytes_from_both_files() {
        assert_eq!(
            pss(
                "5581ad-7ffe [rollup]\nRss:   4000 kB\nPss:                 1234 kB\nPss_Anon: 99 kB\n"
            ),
            Some(1234 * 1024)
        );
        assert_eq!(pss(""), None);
        assert_eq!(own_pages("9000 500 200 10 0 300 0\n"), Some(300));
        assert_eq!(own_pages("9000"), None);
        let held = memory(std::process::id()).unwrap();
        assert!((100 << 10..16 << 30).contains(&held), "{held}");
        assert_eq!(memory(u32::MAX), None);
    }
}
