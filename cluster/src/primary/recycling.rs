use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::core::Core;
use super::slot::{NotReplaced, Order};
use crate::event::Event;
use crate::id::WorkerId;
use crate::recycle::RecycleWhy;
use crate::status::{SlotState, WorkerInfo};

/// Samples of memory in a row that must be above the limit.
const SAMPLES: usize = 3;

/// Looks between two samples: to take one stops the worker's own work on its memory for a moment.
const LOOKS_PER_SAMPLE: u32 = 10;

/// Starts the task that recycles workers, if there is a limit to reach.
pub(super) fn start(core: &Arc<Core>) {
    if !core.config.recycle.is_off() {
        tokio::spawn(
            Recycler { core: Arc::clone(core), workers: BTreeMap::new(), looks: 0, last: None }
                .run(),
        );
    }
}

struct Recycler {
    core: Arc<Core>,
    /// Those that served at the last look.
    workers: BTreeMap<WorkerId, Watched>,
    looks: u32,
    /// The one that was tried last. Others that have reached a limit come first.
    last: Option<WorkerId>,
}

struct Watched {
    /// From 0 to 1, for the jitter of its limits.
    roll: f64,
    /// The last samples of its memory.
    held: VecDeque<u64>,
}

impl Recycler {
    async fn run(mut self) {
        let (every, after_failure) = (
            self.core.config.heartbeat.map_or(Duration::from_secs(1), |policy| policy.every),
            self.core.config.restart.cap,
        );
        let core = Arc::clone(&self.core);
        let mut outcome = core.outcome.subscribe();
        let mut pause = every;
        loop {
            tokio::select! {
                biased;
                _ = outcome.wait_for(Option::is_some) => return,
                () = sleep(pause) => {}
            }
            pause = every;
            let Some((worker, why)) = self.look().await else { continue };
            self.last = Some(worker.id);
            if let Err(error) = core.recycle(&worker, why).await {
                tracing::error!(worker = %worker.id, slot = %worker.slot, error, "worker is not recycled and serves on");
                pause = every.max(after_failure);
                core.emit(Event::NotRecycled { id: worker.id, pause });
            }
        }
    }

    /// The worker that shall be recycled next, if one has reached a limit.
    async fn look(&mut self) -> Option<(WorkerInfo, RecycleWhy)> {
        let serving = self.core.serving();
        self.workers.retain(|id, _| serving.iter().any(|worker| worker.id == *id));
        for worker in &serving {
            self.workers.entry(worker.id).or_insert_with(Watched::new);
        }
        self.looks = (self.looks + 1) % LOOKS_PER_SAMPLE;
        if self.core.config.recycle.max_memory.is_some() && self.looks == 0 {
            self.sample(&serving).await;
        }
        let mut reached: VecDeque<_> = serving
            .into_iter()
            .filter_map(|worker| self.why(&worker).map(|why| (worker, why)))
            .collect();
        let later = reached.iter().position(|(worker, _)| Some(worker.id) > self.last).unwrap_or(0);
        reached.rotate_left(later);
        reached.pop_front()
    }

    fn why(&self, worker: &WorkerInfo) -> Option<RecycleWhy> {
        let watched = self.workers.get(&worker.id)?;
        self.core.config.recycle.why(worker, watched.roll, watched.least_held())
    }

    /// Takes a sample of each worker. On a thread of its own, because the system may take its time.
    async fn sample(&mut self, serving: &[WorkerInfo]) {
        let pids: Vec<_> = serving.iter().map(|worker| (worker.id, worker.pid)).collect();
        let sampled = spawn_blocking(move || {
            pids.into_iter().map(|(id, pid)| (id, memory(pid))).collect::<Vec<_>>()
        })
        .await;
        for (id, held) in sampled.into_iter().flatten() {
            if let Some(watched) = self.workers.get_mut(&id) {
                watched.holds(held);
            }
        }
    }
}

impl Watched {
    fn new() -> Self {
        Self { roll: fastrand::f64(), held: VecDeque::new() }
    }

    /// Adds a sample of its memory. Without one it begins anew.
    fn holds(&mut self, bytes: Option<u64>) {
        let Some(bytes) = bytes else { return self.held.clear() };
        self.held.push_back(bytes);
        if self.held.len() > SAMPLES {
            self.held.pop_front();
        }
    }

    /// The least of the samples that count, if there are enough.
    fn least_held(&self) -> Option<u64> {
        self.held.iter().min().filter(|_| self.held.len() == SAMPLES).copied()
    }
}

impl Core {
    /// The workers that are the ones of their slots, ready and not told to leave; oldest first.
    fn serving(&self) -> Vec<WorkerInfo> {
        self.see(|board| {
            let serves = |worker: &WorkerInfo| {
                board.slots()[worker.slot.index()].state == SlotState::Serving(worker.id)
            };
            board.workers().into_iter().filter(serves).collect()
        })
    }

    /// Replaces a worker by one of the same program, and waits until it has left. An error says why
    /// it serves on.
    async fn recycle(&self, worker: &WorkerInfo, why: RecycleWhy) -> Result<(), String> {
        let _alone = self.changing.lock().await;
        let id = worker.id;
        // While this waited for its turn, a reload may have done it.
        if self.ends() || !self.serving().iter().any(|serving| serving.id == id) {
            return Ok(());
        }
        tracing::info!(worker = %id, slot = %worker.slot, ?why, "worker is recycled");
        self.emit(Event::Recycling { id, why });
        let (tell, told) = oneshot::channel();
        // Without a task the slot has ended, and the worker with it.
        if self.order(worker.slot, Order::Recycle(id, tell)).is_err() {
            return Ok(());
        }
        match told.await {
            Ok(Ok(successor)) => {
                if let Some((_, mut end)) = successor.old {
                    // An error would be its end as well. Not before: there is never more than one
                    // beside those that should be.
                    let _ = end.wait_for(Option::is_some).await;
                }
                Ok(())
            }
            Ok(Err(NotReplaced::Spawn(error))) => {
                Err(format!("cannot start a worker process: {error}"))
            }
            Ok(Err(NotReplaced::Ended(ended))) => {
                Err(format!("worker {} ended before it was ready: {}", ended.id, ended.status))
            }
            Ok(Err(NotReplaced::Leaving | NotReplaced::Another)) | Err(_) => Ok(()),
        }
    }
}

/// Bytes of memory that a process holds. `None` if it has ended.
///
/// Should the number have been given to another process just now, that is one sample of a worker
/// which is gone.
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

/// Resident pages that are not those of files or of shared memory.
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
    fn one_peak_of_memory_is_no_reason() {
        let mut watched = Watched::new();
        let mut seen = Vec::new();
        for held in [Some(9), Some(9), Some(9), Some(1), Some(9), Some(9), Some(8), None, Some(9)] {
            watched.holds(held);
            seen.push(watched.least_held());
        }
        assert_eq!(seen, [None, None, Some(9), Some(1), Some(1), Some(1), Some(8), None, None]);
    }

    #[test]
    fn memory_is_read_in_bytes_from_either_place() {
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
