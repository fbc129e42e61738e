use std::future::pending;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, pidfd_send_signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep_until;

use super::core::Core;
use super::life::{End, Life};
use super::reader::Progress;
use super::spawn;
use crate::event::{Event, ExitCause};
use crate::id::{Slot, WorkerId};
use crate::image::Image;
use crate::restart::{Deaths, Verdict};
use crate::status::{Ended, Phase, SlotState};

/// What a slot is told to do.
#[derive(Debug)]
pub(super) enum Order {
    /// To put a worker that runs this program in the place of its own, which leaves once the new
    /// one is ready.
    Replace(Arc<Image>, oneshot::Sender<Replaced>),
    /// To do the same for this worker, if it is its own and serves, with the program that the slot
    /// runs.
    Recycle(WorkerId, oneshot::Sender<Replaced>),
    /// To let its worker leave and to stay empty.
    Close(oneshot::Sender<()>),
}

/// The new worker and the end of the old one, if there was one.
pub(super) type Replaced = Result<Successor, NotReplaced>;

#[derive(Debug)]
pub(super) struct Successor {
    pub(super) id: WorkerId,
    pub(super) old: Option<(WorkerId, watch::Receiver<Option<ExitCause>>)>,
}

/// Why the old worker goes on.
#[derive(Debug)]
pub(super) enum NotReplaced {
    /// The new one could not be started.
    Spawn(io::Error),
    /// It ended before it was ready.
    Ended(Ended),
    /// The cluster or the slot ends.
    Leaving,
    /// It is not the one that serves.
    Another,
}

/// Keeps one slot filled until the cluster stops, or the slot is closed or given up.
pub(super) async fn keep(
    slot: Slot,
    first: First,
    orders: mpsc::UnboundedReceiver<Order>,
    core: Arc<Core>,
) {
    let mut keeper = Keeper {
        slot,
        image: core.image(),
        deaths: Deaths::default(),
        lives: JoinSet::new(),
        current: None,
        due: None,
        coming: None,
        leaving: false,
        closed: None,
        core,
    };
    match first {
        First::Lives(life) => keeper.fill(*life),
        First::Starts => keeper.due = Some(Instant::now()),
        First::Ordered(order) => keeper.obey(order),
    }
    keeper.run(orders).await;
}

/// How a slot begins.
pub(super) enum First {
    /// With this worker.
    Lives(Box<Life>),
    /// With one that it starts.
    Starts,
    /// With one that somebody orders.
    Ordered(Order),
}

/// Gives up a slot whose task failed. Its workers, which nobody watches any more, are killed and
/// reported as abandoned.
pub(super) async fn abandon(slot: Slot, core: &Core) {
    let left: Vec<_> = core.see(|board| {
        let of_slot = board.live().iter().filter(|(_, live)| live.slot == slot);
        of_slot.map(|(&id, live)| (id, live.pid, live.born, Arc::clone(&live.pidfd))).collect()
    });
    for (id, pid, born, pidfd) in left {
        // The process may have ended already. It is reaped by the runtime, which was left with it.
        let _ = pidfd_send_signal(pidfd.as_fd(), Signal::KILL);
        // Readable when the process has ended. A thread may wait for it: after this signal it is
        // not for long.
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
    /// What the next worker runs.
    image: Arc<Image>,
    core: Arc<Core>,
    deaths: Deaths,
    /// The workers of the slot that live: the current one, one that is to follow it, and such as
    /// are leaving.
    lives: JoinSet<(Ended, End)>,
    current: Option<WorkerId>,
    /// When an empty slot is filled.
    due: Option<Instant>,
    coming: Option<Coming>,
    /// No worker is started any more.
    leaving: bool,
    closed: Option<oneshot::Sender<()>>,
}

/// A worker that shall take the slot over. It is the current one already if there was none, or if
/// that one has ended.
struct Coming {
    id: WorkerId,
    /// `None` for that of the slot.
    image: Option<Arc<Image>>,
    progress: watch::Receiver<Progress>,
    /// It became ready on its way out, so it is only waited for.
    leaves: bool,
    tell: oneshot::Sender<Replaced>,
}

impl Keeper {
    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut phase = self.core.phase.subscribe();
        // Without a worker and without a time for the next one it has left or was given up.
        while self.due.is_some() || !self.lives.is_empty() {
            tokio::select! {
                biased;
                // The sender lives in the core; an error cannot happen and would mean the end as
                // well.
                _ = phase.wait_for(|phase| *phase > Phase::Running), if !self.leaving => self.leave(),
                Some(ended) = self.lives.join_next() => match ended {
                    Ok((how, end)) => self.ended(how, end),
                    // Else the runtime ends, and this task with it.
                    Err(failed) => if let Ok(panic) = failed.try_into_panic() { resume_unwind(panic) },
                },
                () = readiness(&mut self.coming) => self.take_over(),
                () = sleep_until(self.due.unwrap_or_else(Instant::now).into()), if self.due.is_some() => self.start(),
                Some(order) = orders.recv(), if !self.leaving => self.obey(order),
            }
        }
        if self.leaving {
            self.core.note(|board| board.set(self.slot, SlotState::Stopped));
        }
        if let Some(closed) = self.closed.take() {
            // Who closed it may have gone.
            let _ = closed.send(());
        }
    }

    /// Starts no further worker. Those that live get their orders from elsewhere.
    fn leave(&mut self) {
        self.leaving = true;
        self.due = None;
        if let Some(coming) = self.coming.take() {
            let _ = coming.tell.send(Err(NotReplaced::Leaving));
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Close(closed) => {
                self.leave();
                self.closed = Some(closed);
                self.core.see(|board| board.retire_all(self.slot));
            }
            Order::Replace(image, tell) => self.replace(Some(image), tell),
            Order::Recycle(id, tell) => {
                if self.current == Some(id) && !self.core.see(|board| board.leaves(id)) {
                    self.replace(None, tell);
                } else {
                    let _ = tell.send(Err(NotReplaced::Another));
                }
            }
        }
    }

    /// Starts a worker that shall take the slot over.
    fn replace(&mut self, image: Option<Arc<Image>>, tell: oneshot::Sender<Replaced>) {
        match self.spawn_guarded(image.as_ref().unwrap_or(&self.image)) {
            Ok(life) => {
                let coming =
                    Coming { id: life.id, image, progress: life.progress(), leaves: false, tell };
                if let Some(other) = self.coming.replace(coming) {
                    // Nobody waits for it any more.
                    let _ = other.tell.send(Err(NotReplaced::Leaving));
                    let _ = self.core.see(|board| board.retire(other.id));
                }
                if self.current.is_none() {
                    self.current = Some(life.id);
                    self.due = None;
                }
                self.lives.spawn(life.live());
            }
            Err(error) => drop(tell.send(Err(NotReplaced::Spawn(error)))),
        }
    }

    /// A closure of the configuration that panics must not cost the worker that serves.
    fn spawn_guarded(&self, image: &Image) -> io::Result<Life> {
        let spawned = catch_unwind(AssertUnwindSafe(|| spawn::spawn(&self.core, self.slot, image)));
        let newborn = spawned.unwrap_or_else(|_| {
            Err(io::Error::other("a closure of the cluster's configuration panicked"))
        })?;
        Ok(Life::begin(newborn, self.current.is_none(), &self.core))
    }

    /// Starts a worker in the empty slot.
    fn start(&mut self) {
        self.due = None;
        match spawn::spawn(&self.core, self.slot, &self.image) {
            Ok(newborn) => self.fill(Life::begin(newborn, true, &self.core)),
            Err(error) => {
                tracing::error!(slot = %self.slot, %error, "cannot start a worker process");
                self.core.emit(Event::SpawnFailed { slot: self.slot, error: Arc::new(error) });
                self.after_death(Duration::ZERO);
            }
        }
    }

    fn fill(&mut self, life: Life) {
        self.current = Some(life.id);
        self.lives.spawn(life.live());
    }

    /// The new worker is ready: the old one leaves.
    fn take_over(&mut self) {
        let leaves = |coming: &Coming| self.core.see(|board| board.leaves(coming.id));
        if let Some(coming) = self.coming.as_mut().filter(|coming| leaves(coming)) {
            coming.leaves = true;
            return;
        }
        let Some(Coming { id, image, tell, .. }) = self.coming.take() else { return };
        if let Some(image) = image {
            // Another program is not to blame for the deaths so far.
            self.image = image;
            self.deaths = Deaths::default();
        }
        let old = self.current.replace(id).filter(|old| *old != id);
        self.core.note(|board| board.fill(self.slot, id));
        let old =
            old.and_then(|old| self.core.see(|board| board.retire(old)).map(|end| (old, end)));
        // Who ordered it may have gone; the order stands.
        let _ = tell.send(Ok(Successor { id, old }));
    }

    fn ended(&mut self, how: Ended, end: End) {
        if let Some(failed) = self.coming.take_if(|coming| coming.id == how.id) {
            let _ = failed.tell.send(Err(NotReplaced::Ended(how)));
        }
        // Others were on their way out, or in.
        if self.current != Some(how.id) {
            return;
        }
        self.current = None;
        if let Some(coming) = &self.coming {
            // The next one is on its way already.
            let id = coming.id;
            self.current = Some(id);
            self.core.note(|board| board.fill(self.slot, id));
            if let End::Death { served } = end {
                self.core.note(|board| board.died(self.slot));
                let _ = self.core.config.restart.after_death(
                    &mut self.deaths,
                    Instant::now(),
                    served,
                    0.0,
                );
            }
            return;
        }
        match end {
            _ if self.leaving => {}
            // Asked for, so no death; but workers that are asked as soon as they start must not
            // spin.
            End::Asked { uptime } => {
                self.announce(self.core.config.restart.base.saturating_sub(uptime), 0)
            }
            End::Death { served } => self.after_death(served),
        }
    }

    /// Counts a death, and sets the time of the next start unless the slot is given up.
    fn after_death(&mut self, served: Duration) {
        let slot = self.slot;
        self.core.note(|board| board.died(slot));
        match self.core.config.restart.after_death(
            &mut self.deaths,
            Instant::now(),
            served,
            fastrand::f64(),
        ) {
            Verdict::Respawn { after, attempt } => self.announce(after, attempt),
            Verdict::GiveUp { deaths } => {
                tracing::error!(%slot, deaths, "slot is given up: its workers die too often");
                self.core.note(|board| board.set(slot, SlotState::GaveUp));
                self.core.emit(Event::GaveUp { slot, deaths });
            }
        }
    }

    fn announce(&mut self, after: Duration, attempt: u32) {
        let slot = self.slot;
        self.due = Some(Instant::now() + after);
        self.core.note(|board| board.set(slot, SlotState::BackingOff(after)));
        self.core.emit(Event::Respawning { slot, after, attempt });
    }
}

/// Returns when the worker that is coming has said that it is ready. Never, if none is coming or it
/// ends before.
async fn readiness(coming: &mut Option<Coming>) {
    if let Some(coming) = coming
        && !coming.leaves
        && coming.progress.wait_for(|said| said.ready).await.is_ok()
    {
        return;
    }
    pending::<()>().await;
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
    use crate::frame;
    use crate::id::WorkerId;
    use crate::image::Image;
    use crate::line::{Line, Room};
    use crate::outbox::Outbox;
    use std::collections::BTreeMap;

    #[tokio::test]
    async fn an_abandoned_worker_is_killed_and_the_report_names_it() {
        let core = Core::open(
            ClusterBuilder::new(Image::of_this_process().unwrap(), None),
            BTreeMap::new(),
            None,
        )
        .unwrap()
        .0;
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let (id, slot, pid) = (WorkerId::new(1), Slot::new(0), child.id());
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap().into();
        let outbox = Outbox::start(UnixStream::pair().unwrap().0.into_split().1);
        let (retire, end) = (watch::Sender::new(false), watch::Sender::new(None).subscribe());
        let progress = watch::channel(Progress::default()).1;
        let live = Live {
            slot,
            pid,
            born: Instant::now(),
            ready: true,
            draining: false,
            refused: 0,
            line: Line::new(outbox.clone(), |talk| frame::encode(&talk), Room::default()),
            outbox,
            progress,
            pidfd,
            retire,
            end,
        };
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
