use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitOptions, getpid, waitpid};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use super::core::Core;

/// How long a dead child that is no worker is left to whoever in this process may have started it.
/// A child whose start is not on the board yet is younger than that.
const PATIENCE: Duration = Duration::from_secs(5);

/// Time between two looks while there is something to wait for.
const PAUSE: Duration = Duration::from_secs(1);

/// The orphans of other processes, which the system gives to process 1. Nobody else reaps them.
pub(super) struct Strangers {
    ended: Signal,
    seen: Seen,
}

/// A child that has ended and was not reaped. The time of its start tells it from another that was
/// given the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Dead {
    pid: i32,
    started: u64,
}

impl Strangers {
    /// `None` unless this is process 1.
    pub(super) fn expect() -> io::Result<Option<Self>> {
        if getpid() != Pid::INIT {
            return Ok(None);
        }
        // Of another namespace, its numbers are those of other processes.
        if !fs::read_link("/proc/self").is_ok_and(|number| number == Path::new("1")) {
            tracing::warn!(
                "/proc is not that of this container, so orphans of other processes cannot be reaped"
            );
            return Ok(None);
        }
        Ok(Some(Self { ended: signal(SignalKind::child())?, seen: Seen::default() }))
    }

    /// Reaps until the cluster has ended. Waits for single processes only, so that no status is
    /// taken from who waits for a worker.
    pub(super) async fn reap(mut self, core: Arc<Core>) {
        let mut outcome = core.outcome.subscribe();
        let work = async {
            // First those that ended before this program began.
            loop {
                while self.look(&core) {
                    sleep(PAUSE).await;
                }
                if self.ended.recv().await.is_none() {
                    return;
                }
            }
        };
        tokio::select! {
            () = work => {}
            _ = outcome.wait_for(Option::is_some) => {}
        }
    }

    /// Reaps who has been dead for long. Whether there are others.
    fn look(&mut self, core: &Core) -> bool {
        let workers = core.see(|board| {
            board.live().values().filter_map(|live| live.pid.try_into().ok()).collect()
        });
        for dead in self.seen.overdue(dead_children(), &workers, Instant::now()) {
            if wait_for(dead.pid) {
                self.seen.0.remove(&dead);
            }
        }
        !self.seen.0.is_empty()
    }
}

/// Since when each of them was seen dead.
#[derive(Default)]
struct Seen(HashMap<Dead, Instant>);

impl Seen {
    /// Who of the dead has been so for long. A worker is left to its supervision, however long that
    /// takes.
    fn overdue(&mut self, dead: Vec<Dead>, workers: &HashSet<i32>, now: Instant) -> Vec<Dead> {
        let strangers = dead.into_iter().filter(|dead| !workers.contains(&dead.pid));
        self.0 = strangers.map(|dead| (dead, self.0.get(&dead).copied().unwrap_or(now))).collect();
        self.0
            .iter()
            .filter(|(_, since)| now.duration_since(**since) >= PATIENCE)
            .map(|(dead, _)| *dead)
            .collect()
    }
}

/// Whether it is gone.
fn wait_for(pid: i32) -> bool {
    match Pid::from_raw(pid).map(|pid| waitpid(Some(pid), WaitOptions::NOHANG)) {
        // Some of its threads still run.
        Some(Ok(None)) => false,
        Some(Ok(Some(_))) => {
            tracing::debug!(pid, "an orphan was reaped");
            true
        }
        // Somebody else was faster.
        Some(Err(_)) | None => true,
    }
}

fn dead_children() -> Vec<Dead> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // Who has gone meanwhile was not dead.
    numbers
        .filter_map(|pid| dead_child(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .collect()
}

/// Reads what the system says of a process: `pid (name) state parent …`, with the time of its start
/// as the 22nd field.
fn dead_child(pid: i32, stat: &str) -> Option<Dead> {
    // The name may hold anything, brackets too.
    let mut rest = stat.rsplit_once(')')?.1.split_whitespace();
    let (state, parent) = (rest.next()?, rest.next()?);
    let started = rest.nth(17)?.parse().ok()?;
    (state == "Z" && parent == "1").then_some(Dead { pid, started })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k16_only_dead_children_of_process_one_are_strangers() {
        let stat = |name: &str, state: &str, parent: u32| {
            format!(
                "42 ({name}) {state} {parent} 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 2200 23 24"
            )
        };
        assert_eq!(
            dead_child(42, &stat("a) Z 1 (b", "Z", 1)),
            Some(Dead { pid: 42, started: 2200 })
        );
        assert_eq!(dead_child(42, &stat("sleep", "S", 1)), None);
        assert_eq!(dead_child(42, &stat("sleep", "Z", 7)), None);
        assert_eq!(dead_child(42, "nonsense"), None);
    }

    #[test]
    fn k16_a_child_is_left_to_who_may_wait_for_it_and_a_worker_for_good() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        let dead = |pid, started| Dead { pid, started };
        let workers = HashSet::from([7]);
        let mut look = |dead: &[Dead], after| seen.overdue(dead.to_vec(), &workers, now + after);
        assert_eq!(look(&[dead(7, 1), dead(8, 1), dead(9, 1)], Duration::ZERO), []);
        assert_eq!(
            look(&[dead(7, 1), dead(8, 2), dead(9, 1)], PATIENCE),
            [dead(9, 1)],
            "8 is another process now"
        );
        assert_eq!(look(&[dead(7, 1), dead(8, 2)], 2 * PATIENCE), [dead(8, 2)]);
    }
}
