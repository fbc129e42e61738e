//! Keeps one slot filled: starts workers, replaces them, and decides what to do when a worker ends.

use std::{
    future::pending,
    io,
    os::{fd::AsFd, unix::process::ExitStatusExt},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    process::ExitStatus,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Signal, pidfd_send_signal},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinSet, spawn_blocking},
    time::sleep_until,
};

use super::{
    commands::{ReplaceError, ReplaceResult, Replaced, SlotCommand},
    shared::Shared,
    spawn::spawn,
    supervisor::{ExitKind, Placement, WorkerSupervisor},
    table::Progress,
};
use crate::{
    error::WithSources,
    event::Event,
    model::{Ended, ExitCause, Phase, RecentDeaths, RestartDecision, Slot, SlotState, WorkerId},
    os::executable::Executable,
};

/// How a slot begins.
pub(super) enum InitialState {
    /// With this worker.
    Running(Box<WorkerSupervisor>),
    /// Empty; it starts a worker at once.
    Empty,
    /// Empty; it carries out this command first.
    Command(SlotCommand),
}

/// Keeps one slot filled until the cluster stops, or the slot is closed or given up.
pub(super) async fn run(
    slot: Slot,
    initial: InitialState,
    commands: mpsc::UnboundedReceiver<SlotCommand>,
    shared: Arc<Shared>,
) {
    let mut supervisor = SlotSupervisor {
        slot,
        executable: shared.executable(),
        deaths: RecentDeaths::default(),
        workers: JoinSet::new(),
        current: None,
        start_at: None,
        replacement: None,
        leaving: false,
        closed: None,
        shared,
    };
    match initial {
        InitialState::Running(worker) => supervisor.supervise(*worker),
        InitialState::Empty => supervisor.start_at = Some(Instant::now()),
        InitialState::Command(command) => supervisor.obey(command),
    }
    supervisor.run(commands).await;
}

/// Gives up a slot whose task failed. Kills its workers, which no task supervises any more, and
/// reports them as abandoned.
pub(super) async fn abandon(slot: Slot, shared: &Shared) {
    let left: Vec<_> = shared.read(|table| {
        let of_slot = table.live().iter().filter(|(_, entry)| entry.slot == slot);
        of_slot
            .map(|(&id, entry)| (id, entry.pid, entry.started, Arc::clone(&entry.pidfd)))
            .collect()
    });
    for (id, pid, started, pidfd) in left {
        // Fails if the process has ended. The runtime reaps it.
        let _ = pidfd_send_signal(pidfd.as_fd(), Signal::KILL);
        // The descriptor is readable when the process has ended. Blocking a thread is fine, because
        // the process ends soon after this signal.
        let _ = spawn_blocking(move || poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None)).await;
        let (cause, status) = (ExitCause::Abandoned, ExitStatus::from_raw(Signal::KILL.as_raw()));
        shared.record_end(Ended { id, slot, cause, status });
        shared.emit(Event::Exited { id, slot, pid, cause, status, uptime: started.elapsed() });
    }
    shared.update(|table| table.set(slot, SlotState::GaveUp));
    shared.emit(Event::GaveUp { slot, deaths: 0 });
}

/// Supervises one slot.
struct SlotSupervisor {
    slot: Slot,
    /// What the next worker runs.
    executable: Arc<Executable>,
    shared: Arc<Shared>,
    deaths: RecentDeaths,
    /// The live workers of the slot: the current one, its pending replacement, and workers that
    /// drain.
    workers: JoinSet<(Ended, ExitKind)>,
    current: Option<WorkerId>,
    /// When the empty slot is filled.
    start_at: Option<Instant>,
    replacement: Option<PendingReplacement>,
    /// No further worker is started.
    leaving: bool,
    closed: Option<oneshot::Sender<()>>,
}

/// A new worker that takes over the slot when it is ready. If the slot has no other worker, it is
/// already the current one.
struct PendingReplacement {
    id: WorkerId,
    /// `None` for the program of the slot.
    executable: Option<Arc<Executable>>,
    progress: watch::Receiver<Progress>,
    /// It became ready while draining, so the slot only waits for its end.
    leaves: bool,
    reply: oneshot::Sender<ReplaceResult>,
}

impl SlotSupervisor {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<SlotCommand>) {
        let mut phase = self.shared.lifecycle.watch_phase();
        // Without a worker and without a time for the next one, the slot has ended or was given up.
        while self.start_at.is_some() || !self.workers.is_empty() {
            tokio::select! {
                biased;
                // Cannot fail: the sender lives in `shared`. A failure would mean the end as well.
                _ = phase.wait_for(|phase| *phase > Phase::Running), if !self.leaving => {
                    self.leave();
                }
                Some(ended) = self.workers.join_next() => match ended {
                    Ok((end, kind)) => self.worker_ended(end, kind),
                    // Otherwise the runtime ends, and this task with it.
                    Err(failed) => {
                        if let Ok(panic) = failed.try_into_panic() {
                            resume_unwind(panic)
                        }
                    }
                },
                () = replacement_ready(&mut self.replacement) => self.complete_replacement(),
                () = sleep_until(self.start_at.unwrap_or_else(Instant::now).into()),
                    if self.start_at.is_some() => self.start(),
                Some(command) = commands.recv(), if !self.leaving => self.obey(command),
            }
        }
        if self.leaving {
            self.shared.update(|table| table.set(self.slot, SlotState::Stopped));
        }
        if let Some(closed) = self.closed.take() {
            // Fails if the caller has stopped waiting.
            let _ = closed.send(());
        }
    }

    /// Starts no further worker. Live workers get their orders from the phase or the table.
    fn leave(&mut self) {
        self.leaving = true;
        self.start_at = None;
        if let Some(replacement) = self.replacement.take() {
            let _ = replacement.reply.send(Err(ReplaceError::Leaving));
        }
    }

    fn obey(&mut self, command: SlotCommand) {
        match command {
            SlotCommand::Close(closed) => {
                self.leave();
                self.closed = Some(closed);
                self.shared.read(|table| table.retire_all(self.slot));
            }
            SlotCommand::Replace(executable, reply) => self.replace(Some(executable), reply),
            SlotCommand::Recycle(id, reply) => {
                if self.current == Some(id) && !self.shared.read(|table| table.is_leaving(id)) {
                    self.replace(None, reply);
                } else {
                    let _ = reply.send(Err(ReplaceError::NotCurrent));
                }
            }
        }
    }

    /// Starts a worker that takes over the slot when it is ready.
    fn replace(
        &mut self,
        executable: Option<Arc<Executable>>,
        reply: oneshot::Sender<ReplaceResult>,
    ) {
        match self.spawn_guarded(executable.as_ref().unwrap_or(&self.executable)) {
            Ok(worker) => {
                let replacement = PendingReplacement {
                    id: worker.id,
                    executable,
                    progress: worker.progress(),
                    leaves: false,
                    reply,
                };
                if let Some(other) = self.replacement.replace(replacement) {
                    // The caller of the earlier command has stopped waiting.
                    let _ = other.reply.send(Err(ReplaceError::Leaving));
                    let _ = self.shared.read(|table| table.retire(other.id));
                }
                if self.current.is_none() {
                    self.current = Some(worker.id);
                    self.start_at = None;
                }
                self.workers.spawn(worker.run());
            }
            Err(error) => drop(reply.send(Err(ReplaceError::Spawn(error)))),
        }
    }

    /// Starts a worker. A panic in a closure of the configuration becomes an error, so that the
    /// current worker continues.
    fn spawn_guarded(&self, executable: &Executable) -> io::Result<WorkerSupervisor> {
        let spawned = catch_unwind(AssertUnwindSafe(|| spawn(&self.shared, self.slot, executable)));
        let spawned = spawned.unwrap_or_else(|_| {
            Err(io::Error::other("a closure of the cluster's configuration panicked"))
        })?;
        let placement = if self.current.is_none() { Placement::Current } else { Placement::Beside };
        Ok(WorkerSupervisor::start(spawned, placement, &self.shared))
    }

    /// Starts a worker in the empty slot.
    fn start(&mut self) {
        self.start_at = None;
        match spawn(&self.shared, self.slot, &self.executable) {
            Ok(spawned) => {
                let worker = WorkerSupervisor::start(spawned, Placement::Current, &self.shared);
                self.supervise(worker);
            }
            Err(error) => {
                tracing::error!(
                    slot = %self.slot, error = %WithSources(&error),
                    "cannot start a worker process"
                );
                self.shared.emit(Event::SpawnFailed { slot: self.slot, error: Arc::new(error) });
                self.after_death(Duration::ZERO);
            }
        }
    }

    fn supervise(&mut self, worker: WorkerSupervisor) {
        self.current = Some(worker.id);
        self.workers.spawn(worker.run());
    }

    /// The new worker is ready: it becomes the current one, and the old one drains.
    fn complete_replacement(&mut self) {
        let leaves =
            |pending: &PendingReplacement| self.shared.read(|table| table.is_leaving(pending.id));
        if let Some(pending) = self.replacement.as_mut().filter(|pending| leaves(pending)) {
            pending.leaves = true;
            return;
        }
        let Some(PendingReplacement { id, executable, reply, .. }) = self.replacement.take() else {
            return;
        };
        if let Some(executable) = executable {
            // The earlier deaths are those of another program.
            self.executable = executable;
            self.deaths = RecentDeaths::default();
        }
        let old = self.current.replace(id).filter(|old| *old != id);
        self.shared.update(|table| table.fill(self.slot, id));
        let old =
            old.and_then(|old| self.shared.read(|table| table.retire(old)).map(|end| (old, end)));
        // Fails if the caller has stopped waiting. The replacement is complete anyway.
        let _ = reply.send(Ok(Replaced { new: id, old }));
    }

    fn worker_ended(&mut self, end: Ended, kind: ExitKind) {
        if let Some(failed) = self.replacement.take_if(|pending| pending.id == end.id) {
            let _ = failed.reply.send(Err(ReplaceError::Ended(end)));
        }
        // Another worker than the current one was draining or was a replacement.
        if self.current != Some(end.id) {
            return;
        }
        self.current = None;
        if let Some(replacement) = &self.replacement {
            // The replacement fills the slot.
            let id = replacement.id;
            self.current = Some(id);
            self.shared.update(|table| table.fill(self.slot, id));
            if let ExitKind::Death { served } = kind {
                self.shared.update(|table| table.count_death(self.slot));
                let _ = self.shared.config.restart.after_death(
                    &mut self.deaths,
                    Instant::now(),
                    served,
                    0.0,
                );
            }
            return;
        }
        match kind {
            _ if self.leaving => {}
            // Not a death. The delay prevents a fast loop if workers are drained as soon as they
            // start.
            ExitKind::Requested { uptime } => {
                self.schedule_start(self.shared.config.restart.base.saturating_sub(uptime), 0);
            }
            ExitKind::Death { served } => self.after_death(served),
        }
    }

    /// Counts a death. Schedules the next start, or gives the slot up.
    fn after_death(&mut self, served: Duration) {
        let slot = self.slot;
        self.shared.update(|table| table.count_death(slot));
        match self.shared.config.restart.after_death(
            &mut self.deaths,
            Instant::now(),
            served,
            fastrand::f64(),
        ) {
            RestartDecision::Respawn { after, attempt } => self.schedule_start(after, attempt),
            RestartDecision::GiveUp { deaths } => {
                tracing::error!(%slot, deaths, "slot given up: its workers die too often");
                self.shared.update(|table| table.set(slot, SlotState::GaveUp));
                self.shared.emit(Event::GaveUp { slot, deaths });
            }
        }
    }

    fn schedule_start(&mut self, after: Duration, attempt: u32) {
        let slot = self.slot;
        self.start_at = Some(Instant::now() + after);
        self.shared.update(|table| table.set(slot, SlotState::BackingOff(after)));
        self.shared.emit(Event::Respawning { slot, after, attempt });
    }
}

/// Returns when the pending replacement is ready. Never returns if there is none, or if it ends
/// before.
async fn replacement_ready(replacement: &mut Option<PendingReplacement>) {
    if let Some(pending) = replacement
        && !pending.leaves
        && pending.progress.wait_for(|progress| progress.ready).await.is_ok()
    {
        return;
    }
    pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use tokio::net::UnixStream;

    use super::{super::table::WorkerEntry, *};
    use crate::{
        os::fds::open_pidfd,
        wire::{
            frame,
            outbox::Outbox,
            rpc::{ByteBudget, RpcChannel},
        },
    };

    #[tokio::test]
    async fn abandoned_worker_is_killed_and_reported() {
        let shared = Shared::for_test();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let (id, slot, pid) = (WorkerId::new(1), Slot::new(0), child.id());
        let outbox = Outbox::start(UnixStream::pair().unwrap().0.into_split().1);
        let (retire, end) = (watch::Sender::new(false), watch::Sender::new(None).subscribe());
        let channel =
            RpcChannel::new(outbox.clone(), |rpc| frame::encode(&rpc), ByteBudget::default());
        let entry = WorkerEntry {
            slot,
            pid,
            started: Instant::now(),
            ready: true,
            draining: false,
            refused: 0,
            channel,
            outbox,
            progress: watch::channel(Progress::default()).1,
            pidfd: Arc::new(open_pidfd(pid).unwrap()),
            retire,
            end,
        };
        shared.update(|table| table.insert(id, entry));
        shared.stop(Phase::Stopping);

        abandon(slot, &shared).await;
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
        assert!(shared.read(|table| table.live().is_empty()));
        assert!(shared.read(|table| table.slots()[0].state == SlotState::GaveUp));
        shared.conclude();
        let outcome = shared.lifecycle.outcome();
        assert_eq!(outcome.unwrap().unwrap().killed().collect::<Vec<_>>(), [id]);
    }
}
