//! Reaps orphaned processes when the primary is process 1 of a container.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::{Pid, WaitOptions, getpid, waitpid};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

/// How long a dead child that is not a worker is left to other code of this process, which may have
/// started it. A worker is registered in less time than this.
const GRACE: Duration = Duration::from_secs(5);

/// Time between two scans while dead children are left.
const PAUSE: Duration = Duration::from_secs(1);

/// Reaps the orphans that the system gives to process 1.
pub(crate) struct OrphanReaper {
    child_signal: Signal,
    seen: SeenDead,
}

/// A child that has ended and is not reaped. Its start time distinguishes it from another child
/// with a reused id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct DeadChild {
    pid: i32,
    started: u64,
}

impl OrphanReaper {
    /// `None` unless this is process 1.
    pub(crate) fn for_process_one() -> io::Result<Option<Self>> {
        if getpid() != Pid::INIT {
            return Ok(None);
        }
        // With the /proc of another namespace the numbers mean other processes.
        if !fs::read_link("/proc/self").is_ok_and(|number| number == Path::new("1")) {
            tracing::warn!(
                "/proc is not that of this container, so orphans of other processes cannot be \
                 reaped"
            );
            return Ok(None);
        }
        let child_signal = signal(SignalKind::child())?;
        Ok(Some(Self { child_signal, seen: SeenDead::default() }))
    }

    /// Reaps orphans until the signal stream ends. `worker_pids` returns the ids of the live
    /// workers, which are left to their supervisors.
    ///
    /// It waits only for single processes, so it never takes the exit status of a worker.
    pub(crate) async fn run(mut self, worker_pids: impl Fn() -> HashSet<i32>) {
        // The first scan finds children that ended before this program started.
        loop {
            while self.scan(&worker_pids()) {
                sleep(PAUSE).await;
            }
            if self.child_signal.recv().await.is_none() {
                return;
            }
        }
    }

    /// Reaps the children that have been dead for long enough. Returns whether others are left.
    fn scan(&mut self, workers: &HashSet<i32>) -> bool {
        for dead in self.seen.overdue(dead_children(), workers, Instant::now()) {
            if reap(dead.pid) {
                self.seen.0.remove(&dead);
            }
        }
        !self.seen.0.is_empty()
    }
}

/// The dead children, and when each was first seen.
#[derive(Default)]
struct SeenDead(HashMap<DeadChild, Instant>);

impl SeenDead {
    /// The dead children that were first seen long enough ago. A worker is always left to its
    /// supervisor.
    fn overdue(
        &mut self,
        dead: Vec<DeadChild>,
        workers: &HashSet<i32>,
        now: Instant,
    ) -> Vec<DeadChild> {
        let orphans = dead.into_iter().filter(|dead| !workers.contains(&dead.pid));
        self.0 = orphans.map(|dead| (dead, self.0.get(&dead).copied().unwrap_or(now))).collect();
        self.0
            .iter()
            .filter(|(_, since)| now.duration_since(**since) >= GRACE)
            .map(|(dead, _)| *dead)
            .collect()
    }
}

/// Reaps one child. Returns whether the child is gone.
fn reap(pid: i32) -> bool {
    match Pid::from_raw(pid).map(|pid| waitpid(Some(pid), WaitOptions::NOHANG)) {
        // Some of its threads still run.
        Some(Ok(None)) => false,
        Some(Ok(Some(_))) => {
            tracing::debug!(pid, "orphan reaped");
            true
        }
        // Other code has reaped it.
        Some(Err(_)) | None => true,
    }
}

fn dead_children() -> Vec<DeadChild> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter_map(|pid| dead_child(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .collect()
}

/// Parses `/proc/<pid>/stat`: `pid (name) state parent …`, with the start time as the 22nd field.
fn dead_child(pid: i32, stat: &str) -> Option<DeadChild> {
    // The name may contain any character, also brackets.
    let mut rest = stat.rsplit_once(')')?.1.split_whitespace();
    let (state, parent) = (rest.next()?, rest.next()?);
    let started = rest.nth(17)?.parse().ok()?;
    (state == "Z" && parent == "1").then_some(DeadChild { pid, started })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k16_only_dead_children_of_process_one_are_orphans() {
        let stat = |name: &str, state: &str, parent: u32| {
            format!(
                "42 ({name}) {state} {parent} 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 2200 23 24"
            )
        };
        assert_eq!(
            dead_child(42, &stat("a) Z 1 (b", "Z", 1)),
            Some(DeadChild { pid: 42, started: 2200 })
        );
        assert_eq!(dead_child(42, &stat("sleep", "S", 1)), None);
        assert_eq!(dead_child(42, &stat("sleep", "Z", 7)), None);
        assert_eq!(dead_child(42, "nonsense"), None);
    }

    #[test]
    fn k16_orphans_are_reaped_after_the_grace_and_workers_never() {
        let (mut seen, now) = (SeenDead::default(), Instant::now());
        let dead = |pid, started| DeadChild { pid, started };
        let workers = HashSet::from([7]);
        let mut look =
            |dead: &[DeadChild], after| seen.overdue(dead.to_vec(), &workers, now + after);
        assert_eq!(look(&[dead(7, 1), dead(8, 1), dead(9, 1)], Duration::ZERO), []);
        assert_eq!(
            look(&[dead(7, 1), dead(8, 2), dead(9, 1)], GRACE),
            [dead(9, 1)],
            "8 is another process now"
        );
        assert_eq!(look(&[dead(7, 1), dead(8, 2)], 2 * GRACE), [dead(8, 2)]);
    }
}
