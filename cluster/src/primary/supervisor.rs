//! Supervises one worker from its start until the primary reaps it: reports, readiness, orders to
//! drain, deadlines, exit.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    process::ExitStatus,
    sync::Arc,
    time::{Duration, Instant as StdInstant},
};

use rustix::process::{Signal, pidfd_send_signal};
use tokio::{
    net::unix::OwnedReadHalf,
    process::Child,
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::{
    heartbeat_monitor::HeartbeatMonitor,
    shared::Shared,
    spawn::SpawnedWorker,
    table::{Progress, WorkerEntry},
};
use crate::{
    event::Event,
    model::{DrainReason, Ended, ExitCause, Message, Phase, Slot, WorkerId},
    wire::{
        frame::{self, PROTOCOL, ToPrimary, ToWorker},
        outbox::Outbox,
        rpc::{RpcChannel, RpcDispatcher},
    },
};

/// How long reading the last data of a dead worker may take. The data is already in the socket.
const READ_REST: Duration = Duration::from_secs(1);

/// What the end of a worker means for its slot.
#[derive(Debug, Clone, Copy)]
pub(super) enum ExitKind {
    /// It was told to drain, or its process received `SIGTERM`, however it then ended.
    Requested { uptime: Duration },
    /// It died. `served` is its uptime if it was ever ready, and zero otherwise.
    Death { served: Duration },
}

/// The drain order that applies.
#[derive(Clone, Copy)]
struct DrainState {
    reason: DrainReason,
    /// Whether it was ready when the order was given.
    serves: bool,
    /// When it is killed if it serves. Later orders only shorten it.
    deadline: Instant,
    /// When it is killed if it does not serve.
    boot_deadline: Instant,
}

impl DrainState {
    fn kill_at(&self) -> Instant {
        if self.serves { self.deadline } else { self.deadline.min(self.boot_deadline) }
    }
}

/// Whether a new worker is the current one of its slot, or runs beside the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placement {
    Current,
    Beside,
}

/// Supervises one worker.
pub(super) struct WorkerSupervisor {
    pub(super) slot: Slot,
    pub(super) id: WorkerId,
    pid: u32,
    started: StdInstant,
    shared: Arc<Shared>,
    child: Child,
    pidfd: Arc<OwnedFd>,
    outbox: Outbox,
    progress: watch::Receiver<Progress>,
    retired: watch::Receiver<bool>,
    ended: watch::Sender<Option<ExitCause>>,
    /// The task that reads the control socket. It ends with this supervisor at the latest.
    reader: JoinSet<()>,
    drain: Option<DrainState>,
    ready_by: Option<Instant>,
    kill_by: Option<Instant>,
    /// Active while the worker serves.
    heartbeat: Option<HeartbeatMonitor>,
    killed: bool,
    /// How long it had been silent when it was killed as hung.
    hung: Option<Duration>,
}

impl WorkerSupervisor {
    /// Adds a new worker to the table. From here on it is visible, and messages to it are queued.
    pub(super) fn start(
        spawned: SpawnedWorker,
        placement: Placement,
        shared: &Arc<Shared>,
    ) -> Self {
        let SpawnedWorker { id, slot, pid, child, pidfd, control, started } = spawned;
        let (from_worker, to_worker) = control.into_split();
        let outbox = Outbox::start(to_worker);
        // If this fails, the worker has ended, and its exit shows that.
        let _ = outbox.send_unbounded(shared.greeting.clone());
        let channel = RpcChannel::new(
            outbox.clone(),
            |rpc| frame::encode(&ToWorker::Rpc(rpc)),
            shared.request_budget(slot),
        );
        let dispatcher = RpcDispatcher::new(&channel, &shared.requests, Some(id));
        let (reported, progress) = watch::channel(Progress::default());
        let (retire, retired) = watch::channel(false);
        let (ended, end) = watch::channel(None);
        let pidfd = Arc::new(pidfd);
        let entry = WorkerEntry {
            slot,
            pid,
            started,
            ready: false,
            draining: false,
            refused: 0,
            outbox: outbox.clone(),
            channel,
            progress: progress.clone(),
            pidfd: Arc::clone(&pidfd),
            retire,
            end,
        };
        shared.update(|table| {
            table.insert(id, entry);
            if placement == Placement::Current {
                table.fill(slot, id);
            }
        });
        shared.emit(Event::Forked { id, slot, pid });
        let mut reader = JoinSet::new();
        reader.spawn(read_frames(id, from_worker, reported, dispatcher, Arc::clone(shared)));
        let ready_by = Some(Instant::from_std(started) + shared.config.readiness);
        Self {
            slot,
            id,
            pid,
            started,
            shared: Arc::clone(shared),
            child,
            pidfd,
            outbox,
            progress,
            retired,
            ended,
            reader,
            drain: None,
            ready_by,
            kill_by: None,
            heartbeat: None,
            killed: false,
            hung: None,
        }
    }

    /// What the worker reports of itself.
    pub(super) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Runs until the process has ended and was reaped. Returns how it ended and what that means.
    pub(super) async fn run(mut self) -> (Ended, ExitKind) {
        let status = self.until_exit().await;
        // Read everything that the worker sent before its end, so that its exit is the last event.
        let _ = timeout(READ_REST, self.reader.join_next()).await;
        self.reader.shutdown().await;

        let Self { id, slot, pid, .. } = self;
        let cause = self.cause(status);
        let uptime = self.started.elapsed();
        let end = Ended { id, slot, cause, status };
        self.shared.record_end(end);
        log_end(pid, end, uptime);
        self.shared.emit(Event::Exited { id, slot, pid, cause, status, uptime });
        self.ended.send_replace(Some(cause));
        if self.was_requested() {
            return (end, ExitKind::Requested { uptime });
        }
        // The time in which it was silent does not count as served.
        let served = uptime.saturating_sub(self.hung.unwrap_or_default());
        let served = if self.progress.borrow().ready { served } else { Duration::ZERO };
        (end, ExitKind::Death { served })
    }

    async fn until_exit(&mut self) -> ExitStatus {
        let mut phase = self.shared.lifecycle.watch_phase();
        let mut listening = true;
        loop {
            let now = *phase.borrow_and_update();
            self.apply(now);
            let alarm = self.ready_by.into_iter().chain(self.kill_by).min();
            let check = self.heartbeat.as_ref().map(HeartbeatMonitor::next_check);
            tokio::select! {
                status = self.child.wait() => {
                    return status.unwrap_or_else(|e| self.unknown_status(&e));
                }
                // The senders of both live in `shared`, which outlives this task.
                _ = phase.changed() => {}
                _ = self.retired.changed() => {}
                reported = self.progress.changed(), if listening => listening = reported.is_ok(),
                () = sleep_until(alarm.unwrap_or_else(Instant::now)), if alarm.is_some() => {
                    self.kill("its deadline has passed");
                }
                () = sleep_until(check.unwrap_or_else(Instant::now)), if check.is_some() => {
                    self.check_heartbeat();
                }
            }
        }
    }

    /// Applies the current phase, orders and reports. Called after every change, so each step is
    /// idempotent.
    fn apply(&mut self, phase: Phase) {
        let progress = *self.progress.borrow_and_update();
        if progress.ready {
            self.ready_by = None;
        }
        if progress.invalid {
            // Otherwise it would serve on, but could neither become ready nor drain.
            self.kill("it sent invalid data");
        }
        if *self.retired.borrow_and_update() {
            self.order_drain(DrainReason::Retired, progress);
        }
        if progress.draining {
            self.order_drain(DrainReason::Signal, progress);
        }
        match phase {
            Phase::Running => {}
            Phase::HandedOver => self.order_drain(DrainReason::Retired, progress),
            Phase::Stopping => self.order_drain(DrainReason::Shutdown, progress),
            Phase::StoppingFast => self.order_drain(DrainReason::FastShutdown, progress),
            Phase::Killing => {
                self.order_drain(DrainReason::FastShutdown, progress);
                self.kill("the cluster is stopped at once");
            }
        }
        if !progress.ready || self.drain.is_some() || self.killed {
            self.heartbeat = None;
        } else if self.heartbeat.is_none() {
            self.heartbeat = self.shared.config.heartbeat.map(|policy| {
                HeartbeatMonitor::start(policy.dead_after, Instant::now(), progress.beats)
            });
        }
    }

    /// Kills the worker if it has been silent for too long.
    fn check_heartbeat(&mut self) {
        let progress = *self.progress.borrow();
        let Some(since) = self
            .heartbeat
            .as_mut()
            .and_then(|monitor| monitor.check(Instant::now(), progress.beats))
        else {
            return;
        };
        let since = progress.last_beat.map_or(since, |beat| beat.elapsed());
        self.hung = Some(since);
        self.shared.emit(Event::Unresponsive { id: self.id, since });
        self.kill("its event loop is blocked, or its process is stopped");
    }

    /// Tells the worker to drain. A more urgent order replaces an earlier one. A worker that
    /// becomes ready after the order gets the deadline of a serving worker.
    fn order_drain(&mut self, reason: DrainReason, progress: Progress) {
        let (now, policy, before) = (Instant::now(), self.shared.config.drain, self.drain);
        let drain = match before {
            None => {
                let deadline = policy.order(reason).deadline;
                DrainState {
                    reason,
                    serves: progress.ready,
                    deadline: now + deadline,
                    // A worker that is not ready serves no clients, so it gets less time.
                    boot_deadline: now + deadline.min(policy.fast),
                }
            }
            Some(before) if reason.urgency() > before.reason.urgency() => {
                let deadline = before.deadline.min(now + policy.order(reason).deadline);
                DrainState { reason, serves: progress.ready, deadline, ..before }
            }
            Some(before) if progress.ready && !before.serves => {
                DrainState { serves: true, ..before }
            }
            Some(_) => return,
        };
        if self.killed {
            return;
        }
        self.drain = Some(drain);
        self.ready_by = None;
        self.kill_by = Some(drain.kill_at());
        if before.is_none() {
            self.shared.update(|table| table.set_draining(self.id));
            self.shared.emit(Event::Draining(self.id));
        }
        // After SIGTERM a worker waits a moment for the order of a stop. Then it gives itself the
        // order of the policy.
        let orders_itself = drain.reason == DrainReason::Signal && before.is_none() && drain.serves;
        let order = policy.order(drain.reason).within(drain.kill_at() - now);
        if !orders_itself && let Ok(frame) = frame::encode(&ToWorker::Drain(order)) {
            let _ = self.outbox.send_unbounded(frame);
        }
        // A worker that is not connected does not read orders. The signal ends it, or becomes an
        // order if the worker is connecting now.
        if !progress.online {
            self.signal(Signal::TERM);
        }
    }

    fn kill(&mut self, why: &str) {
        self.ready_by = None;
        self.kill_by = None;
        if !self.killed {
            self.killed = true;
            let draining = self.drain.map(|drain| drain.reason);
            tracing::warn!(worker = %self.id, ?draining, "worker killed: {why}");
            self.signal(Signal::KILL);
        }
    }

    fn signal(&self, signal: Signal) {
        // Fails if the process has ended. It is reaped either way.
        let _ = pidfd_send_signal(self.pidfd.as_fd(), signal);
    }

    /// The system did not report the exit status. Kills the process, so that it has surely ended.
    fn unknown_status(&self, error: &io::Error) -> ExitStatus {
        tracing::error!(worker = %self.id, %error, "cannot wait for a worker");
        self.signal(Signal::KILL);
        ExitStatus::from_raw(Signal::KILL.as_raw())
    }

    fn was_requested(&self) -> bool {
        self.drain.is_some() || self.progress.borrow().draining
    }

    fn cause(&self, status: ExitStatus) -> ExitCause {
        let progress = *self.progress.borrow();
        let signal = status.signal();
        if self.was_requested() {
            return match signal {
                Some(_) if self.killed => ExitCause::DeadlineKilled,
                Some(signal) if signal != Signal::TERM.as_raw() => ExitCause::Signalled(signal),
                _ => ExitCause::Requested,
            };
        }
        match signal {
            _ if !progress.ready => ExitCause::BootFailed,
            Some(_) if self.hung.is_some() => ExitCause::Hung,
            // The primary killed it because it sent invalid data.
            Some(_) if self.killed => ExitCause::Crashed,
            Some(signal) => ExitCause::Signalled(signal),
            None => ExitCause::Crashed,
        }
    }
}

/// Reads all frames of a worker until its end of the control socket closes.
///
/// It never waits for a reader of the events, so a slow reader cannot block a worker.
async fn read_frames(
    id: WorkerId,
    mut socket: OwnedReadHalf,
    progress: watch::Sender<Progress>,
    dispatcher: RpcDispatcher,
    shared: Arc<Shared>,
) {
    loop {
        match frame::read(&mut socket).await {
            Ok(Some(ToPrimary::Hello { protocol: PROTOCOL })) => {
                progress.send_modify(|progress| progress.online = true);
                shared.emit(Event::Online(id));
            }
            Ok(Some(ToPrimary::Hello { protocol })) => {
                tracing::error!(
                    worker = %id, protocol, expected = PROTOCOL,
                    "a worker uses another protocol version"
                );
                progress.send_modify(|progress| progress.invalid = true);
                return;
            }
            Ok(Some(ToPrimary::Listening { name, addr })) => {
                shared.emit(Event::Listening { id, name, addr });
            }
            Ok(Some(ToPrimary::Ready)) => {
                // The table first, so that a reader of the event finds the worker serving. The
                // progress last, because then the slot retires the old worker, which is the next
                // event.
                shared.update(|table| table.set_ready(id));
                shared.emit(Event::Ready(id));
                progress.send_modify(|progress| progress.ready = true);
            }
            Ok(Some(ToPrimary::Draining)) => {
                progress.send_modify(|progress| progress.draining = true);
            }
            Ok(Some(ToPrimary::Message(bytes))) => {
                shared.emit(Event::Message { from: id, message: Message::from_bytes(bytes) });
            }
            Ok(Some(ToPrimary::Rpc(rpc))) => dispatcher.dispatch(rpc),
            Ok(Some(ToPrimary::Beat { requests })) => progress.send_modify(|progress| {
                progress.beats += 1;
                progress.last_beat = Some(StdInstant::now());
                progress.requests = requests;
            }),
            Ok(None) => return,
            // Also an end inside a frame, as a killed process leaves its socket. Its exit follows.
            Err(error) => {
                tracing::warn!(worker = %id, %error, "cannot read the control socket of a worker");
                if error.kind() == io::ErrorKind::InvalidData {
                    progress.send_modify(|progress| progress.invalid = true);
                }
                return;
            }
        }
    }
}

fn log_end(pid: u32, end: Ended, uptime: Duration) {
    let Ended { id, slot, cause, status } = end;
    if cause == ExitCause::Requested && status.success() {
        tracing::info!(worker = %id, %slot, pid, ?uptime, "worker exited on request");
    } else {
        tracing::warn!(worker = %id, %slot, pid, ?cause, %status, ?uptime, "worker ended");
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::UnixStream, process::Command};

    use super::*;
    use crate::{
        os::fds::open_pidfd,
        wire::{
            frame::{RpcFrame, ToPrimary::Hello},
            rpc::ByteBudget,
        },
    };

    /// Runs a worker that sends `bytes` and closes its socket. Returns after these were read.
    async fn worker_that_sends(slot: usize, bytes: &[u8], shared: &Arc<Shared>) {
        let child = Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
        let pid = child.id().unwrap();
        let (control, mut worker) = UnixStream::pair().unwrap();
        let spawned = SpawnedWorker {
            id: shared.next_id(),
            slot: Slot::new(slot),
            pid,
            child,
            pidfd: open_pidfd(pid).unwrap(),
            control,
            started: StdInstant::now(),
        };
        let mut supervisor = WorkerSupervisor::start(spawned, Placement::Current, shared);
        worker.write_all(bytes).await.unwrap();
        drop(worker);
        supervisor.reader.join_next().await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn k13_requests_of_dead_workers_stay_readable_and_bounded() {
        let shared = Shared::for_test();
        let mut requests = shared.requests.subscribe();
        let large = format!("\"{}\"", "x".repeat(1 << 19));
        let request = |id: u64| {
            let body = large.clone().into_bytes();
            frame::encode(&ToPrimary::Rpc(RpcFrame::Request { id, body })).unwrap()
        };
        let bytes: Vec<u8> = (0..6).flat_map(request).collect();
        for _ in 0..4 {
            worker_that_sends(0, &bytes, &shared).await;
        }
        worker_that_sends(1, &bytes, &shared).await;
        let mut senders = Vec::new();
        while !requests.is_empty() {
            let call = requests.next().await.unwrap();
            senders.push(call.from().unwrap().as_u64());
        }
        assert_eq!(
            senders,
            [[1; 6].as_slice(), &[2; 6], &[3; 3], &[5; 6]].concat(),
            "15 requests of 512 KiB fit into 8 MiB; another slot has its own budget"
        );
        // Dropped requests release their budget.
        worker_that_sends(0, &bytes, &shared).await;
        assert_eq!(requests.next().await.unwrap().from().unwrap().as_u64(), 6);
    }

    /// The progress of a worker that sends `bytes` and closes its socket.
    async fn progress_after(bytes: &[u8]) -> watch::Receiver<Progress> {
        let shared = Shared::for_test();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (reported, progress) = watch::channel(Progress::default());
        theirs.write_all(bytes).await.unwrap();
        drop(theirs);
        let (ours, to_worker) = ours.into_split();
        let channel = RpcChannel::new(
            Outbox::start(to_worker),
            |rpc| frame::encode(&rpc),
            ByteBudget::default(),
        );
        let id = WorkerId::new(1);
        let dispatcher = RpcDispatcher::new(&channel, &shared.requests, Some(id));
        read_frames(id, ours, reported, dispatcher, shared).await;
        progress
    }

    #[tokio::test]
    async fn k13_only_undecodable_frames_are_invalid_data() {
        let hello = frame::encode(&Hello { protocol: PROTOCOL }).unwrap();
        let other_build = frame::encode(&Hello { protocol: PROTOCOL + 1 }).unwrap();
        for bytes in [other_build.as_slice(), &[0xff; 8], &[0, 0, 0, 1, 99]] {
            assert!(progress_after(bytes).await.borrow().invalid, "{bytes:?}");
        }
        for bytes in [hello.as_slice(), &hello[..3], &[]] {
            assert!(!progress_after(bytes).await.borrow().invalid, "{bytes:?}");
        }
    }
}
