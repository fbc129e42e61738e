use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, pidfd_send_signal};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::core::Core;
use super::life::{End, Life};
use super::spawn;
use crate::event::{Event, ExitCause};
use crate::id::Slot;
use crate::restart::{Deaths, Verdict};
use crate::status::{Ended, Phase, SlotState};

/// Keeps one slot filled, starting with `first`, until the cluster stops or the slot is given up.
pub(super) async fn keep(first: Life, core: Arc<Core>) {
    let slot = first.slot;
    let mut keeper = Keeper { slot, core, deaths: Deaths::default() };
    let mut next = Some(first);
    while let Some(life) = next.take() {
        let end = life.live().await;
        next = keeper.replacement(end).await;
    }
}

/// Gives up a slot whose task failed. Its worker, which nobody watches any more, is killed and reported as abandoned.
pub(super) async fn abandon(slot: Slot, core: &Core) {
    let left = core.see(|board| {
        let of_slot = board.live().iter().find(|(_, live)| live.slot == slot);
        of_slot.map(|(&id, live)| (id, live.pid, live.born, Arc::clone(&live.pidfd)))
    });
    if let Some((id, pid, born, pidfd)) = left {
        // The process may have ended already. It is reaped by the runtime, which was left with it.
        let _ = pidfd_send_signal(pidfd.as_fd(), Signal::KILL);
        // Readable when the process has ended. A thread may wait for it: after this signal it is not for long.
        let _ = spawn_blocking(move || poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None)).await;
        let (cause, status) = (ExitCause::Abandoned, ExitStatus::from_raw(Signal::KILL.as_raw()));
        let end = Ended { id, slot, cause, status };
        core.report(end);
        core.note(|board| board.ended(end));
        core.emit(Event::Exited { id, slot, pid, cause, status, uptime: born.elapsed() });
    }
    core.note(|board| board.set(slot, SlotState::GaveUp));
    core.emit(Event::GaveUp { slot, deaths: 0 });
}

struct Keeper {
    slot: Slot,
    core: Arc<Core>,
    deaths: Deaths,
}

impl Keeper {
    /// The next worker of the slot, after the delay that the policy asks for; `None` when there will be none.
    async fn replacement(&mut self, end: End) -> Option<Life> {
        let mut delay = match end {
            // Asked for, so no death; but workers that are asked as soon as they start must not spin.
            End::Asked { uptime } => {
                let after = self.core.config.restart.base.saturating_sub(uptime);
                self.announce(after, 0);
                after
            }
            End::Death { served } => self.death(served)?,
        };
        loop {
            self.pause(delay).await?;
            match spawn::spawn(&self.core, self.slot) {
                Ok(newborn) => return Some(Life::begin(newborn, &self.core)),
                Err(error) => {
                    tracing::error!(slot = %self.slot, %error, "cannot start a worker process");
                    self.core.emit(Event::SpawnFailed { slot: self.slot, error: Arc::new(error) });
                    delay = self.death(Duration::ZERO)?;
                }
            }
        }
    }

    /// Counts a death; the delay before the next start, or `None` when the slot is given up.
    fn death(&mut self, served: Duration) -> Option<Duration> {
        let slot = self.slot;
        if self.stopping() {
            return Some(Duration::ZERO);
        }
        self.core.note(|board| board.died(slot));
        match self.core.config.restart.after_death(&mut self.deaths, Instant::now(), served, fastrand::f64()) {
            Verdict::Respawn { after, attempt } => {
                self.announce(after, attempt);
                Some(after)
            }
            Verdict::GiveUp { deaths } => {
                tracing::error!(%slot, deaths, "slot is given up: its workers die too often");
                self.core.note(|board| board.set(slot, SlotState::GaveUp));
                self.core.emit(Event::GaveUp { slot, deaths });
                None
            }
        }
    }

    fn announce(&self, after: Duration, attempt: u32) {
        if !self.stopping() {
            let slot = self.slot;
            self.core.note(|board| board.set(slot, SlotState::BackingOff(after)));
            self.core.emit(Event::Respawning { slot, after, attempt });
        }
    }

    /// Waits; `None` when the cluster stops before or meanwhile.
    async fn pause(&self, delay: Duration) -> Option<()> {
        let mut phase = self.core.phase.subscribe();
        tokio::select! {
            biased;
            // The sender lives in the core; an error cannot happen and would mean the end as well.
            _ = phase.wait_for(|phase| *phase > Phase::Running) => {
                self.core.note(|board| board.set(self.slot, SlotState::Stopped));
                None
            }
            () = sleep(delay) => Some(()),
        }
    }

    fn stopping(&self) -> bool {
        *self.core.phase.borrow() > Phase::Running
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use tokio::net::UnixStream;
    use tokio::sync::watch;

    use super::super::board::Live;
    use super::*;
    use crate::config::ClusterBuilder;
    use crate::id::WorkerId;
    use crate::image::Image;
    use crate::outbox::Outbox;

    #[tokio::test]
    async fn an_abandoned_worker_is_killed_and_the_report_names_it() {
        let core = Core::open(ClusterBuilder::new(Image::of_this_process().unwrap())).unwrap();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let (id, slot, pid) = (WorkerId::new(1), Slot::new(0), child.id());
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap().into();
        let outbox = Outbox::start(UnixStream::pair().unwrap().0.into_split().1);
        let (retire, end) = (watch::Sender::new(false), watch::Sender::new(None).subscribe());
        let live = Live { slot, pid, born: Instant::now(), ready: true, refused: 0, outbox, pidfd, retire, end };
        core.note(|board| board.born(id, live));
        core.stop(Phase::Stopping);

        abandon(slot, &core).await;
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
        assert!(core.see(|board| board.live().is_empty() && board.slots()[0].state == SlotState::GaveUp));
        core.conclude();
        let outcome = core.outcome.borrow().clone();
        assert_eq!(outcome.unwrap().unwrap().killed().collect::<Vec<_>>(), [id]);
    }
}
