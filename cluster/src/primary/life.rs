use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Signal, pidfd_send_signal};
use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::board::Live;
use super::core::Core;
use super::reader::{self, Progress};
use super::silence::Silence;
use super::spawn::Newborn;
use crate::drain::DrainReason;
use crate::event::{Event, ExitCause};
use crate::frame::{self, ToWorker};
use crate::id::{Slot, WorkerId};
use crate::line::{Ear, Line};
use crate::outbox::Outbox;
use crate::status::{Ended, Phase};

/// How long the last words of a dead worker may take to be read. They are in the socket already.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What the end of a worker means for its slot.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// It was told to leave, or its process was sent `SIGTERM`; how it left does not matter.
    Asked { uptime: Duration },
    /// It died. `served` is its uptime if it was ever ready, else zero.
    Death { served: Duration },
}

/// The order to leave that is in force.
#[derive(Clone, Copy)]
struct Leave {
    reason: DrainReason,
    /// Whether it was ready when the order was given.
    serves: bool,
    /// When it is killed if it serves. Only ever comes closer.
    latest: Instant,
    /// When it is killed if it does not.
    booting: Instant,
}

impl Leave {
    fn end(&self) -> Instant {
        if self.serves { self.latest } else { self.latest.min(self.booting) }
    }
}

/// One worker from its start until it is reaped: readiness, orders to leave, deadlines, end.
pub(super) struct Life {
    pub(super) slot: Slot,
    pub(super) id: WorkerId,
    pid: u32,
    born: std::time::Instant,
    core: Arc<Core>,
    child: Child,
    pidfd: Arc<OwnedFd>,
    outbox: Outbox,
    progress: watch::Receiver<Progress>,
    retired: watch::Receiver<bool>,
    ended: watch::Sender<Option<ExitCause>>,
    /// The reader of what it says; ends with this life at the latest.
    words: JoinSet<()>,
    leaving: Option<Leave>,
    ready_by: Option<Instant>,
    kill_by: Option<Instant>,
    /// Watched while it serves.
    silence: Option<Silence>,
    killed: bool,
    /// For how long it had been silent when it was killed for that.
    hung: Option<Duration>,
}

impl Life {
    /// Puts a newborn on the board. From here on it can be seen, told to leave, and sent messages,
    /// which wait for it. `fills` says whether it is the one of its slot, or beside that one.
    pub(super) fn begin(newborn: Newborn, fills: bool, core: &Arc<Core>) -> Self {
        let Newborn { id, slot, pid, child, pidfd, control, born } = newborn;
        let (from_worker, to_worker) = control.into_split();
        let outbox = Outbox::start(to_worker);
        // A worker that is gone already shows by its exit.
        let _ = outbox.insist(core.greeting.clone());
        let line =
            Line::new(outbox.clone(), |talk| frame::encode(&ToWorker::Talk(talk)), core.room(slot));
        let ear = Ear::new(&line, &core.desk, Some(id));
        let (said, progress) = watch::channel(Progress::default());
        let (retire, retired) = watch::channel(false);
        let (ended, end) = watch::channel(None);
        let pidfd = Arc::new(pidfd);
        let entry = Live {
            slot,
            pid,
            born,
            ready: false,
            draining: false,
            refused: 0,
            outbox: outbox.clone(),
            line,
            progress: progress.clone(),
            pidfd: Arc::clone(&pidfd),
            retire,
            end,
        };
        core.note(|board| {
            board.born(id, entry);
            if fills {
                board.fill(slot, id);
            }
        });
        core.emit(Event::Forked { id, slot, pid });
        let mut words = JoinSet::new();
        words.spawn(reader::read(id, from_worker, said, ear, Arc::clone(core)));
        let core = Arc::clone(core);
        let ready_by = Some(Instant::from_std(born) + core.config.readiness);
        Self {
            slot,
            id,
            pid,
            born,
            core,
            child,
            pidfd,
            outbox,
            progress,
            retired,
            ended,
            words,
            leaving: None,
            ready_by,
            kill_by: None,
            silence: None,
            killed: false,
            hung: None,
        }
    }

    /// What it says of itself.
    pub(super) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Runs until the process has ended and was reaped. Returns how it ended, and what that means.
    pub(super) async fn live(mut self) -> (Ended, End) {
        let status = self.until_exit().await;
        // Nothing that the worker said before its end is lost, and its exit is the last event:
        // after this nobody reads on.
        let _ = timeout(LAST_WORDS, self.words.join_next()).await;
        self.words.shutdown().await;

        let Self { id, slot, pid, .. } = self;
        let cause = self.cause(status);
        let uptime = self.born.elapsed();
        let end = Ended { id, slot, cause, status };
        self.core.report(end);
        self.core.note(|board| board.ended(end));
        log_end(pid, end, uptime);
        self.core.emit(Event::Exited { id, slot, pid, cause, status, uptime });
        self.ended.send_replace(Some(cause));
        if self.asked() {
            return (end, End::Asked { uptime });
        }
        // While it was silent it served nobody, however long that was.
        let served = uptime.saturating_sub(self.hung.unwrap_or_default());
        (
            end,
            End::Death {
                served: if self.progress.borrow().ready { served } else { Duration::ZERO },
            },
        )
    }

    async fn until_exit(&mut self) -> ExitStatus {
        let mut phase = self.core.phase.subscribe();
        let mut listening = true;
        loop {
            let now = *phase.borrow_and_update();
            self.obey(now);
            let alarm = self.ready_by.into_iter().chain(self.kill_by).min();
            let look = self.silence.as_ref().map(Silence::next_look);
            tokio::select! {
                status = self.child.wait() => return status.unwrap_or_else(|e| self.unknown(&e)),
                // The senders of both live in the core, which outlives this task.
                _ = phase.changed() => {}
                _ = self.retired.changed() => {}
                heard = self.progress.changed(), if listening => listening = heard.is_ok(),
                () = sleep_until(alarm.unwrap_or_else(Instant::now)), if alarm.is_some() => self.kill("it is late"),
                () = sleep_until(look.unwrap_or_else(Instant::now)), if look.is_some() => self.look(),
            }
        }
    }

    /// Applies what is wanted of the worker now. Called again after every change, so each step is
    /// idempotent.
    fn obey(&mut self, phase: Phase) {
        let said = *self.progress.borrow_and_update();
        if said.ready {
            self.ready_by = None;
        }
        if said.garbled {
            // It would serve on, but could neither be ready nor leave.
            self.kill("it cannot be understood");
        }
        if *self.retired.borrow_and_update() {
            self.leave(DrainReason::Retired, said);
        }
        if said.draining {
            self.leave(DrainReason::Signal, said);
        }
        match phase {
            Phase::Running => {}
            Phase::HandedOver => self.leave(DrainReason::Retired, said),
            Phase::Stopping => self.leave(DrainReason::Shutdown, said),
            Phase::StoppingFast => self.leave(DrainReason::FastShutdown, said),
            Phase::Killing => {
                self.leave(DrainReason::FastShutdown, said);
                self.kill("it shall end at once");
            }
        }
        if !said.ready || self.leaving.is_some() || self.killed {
            self.silence = None;
        } else if self.silence.is_none() {
            let policy = self.core.config.heartbeat;
            self.silence =
                policy.map(|policy| Silence::begin(policy.dead_after, Instant::now(), said.beats));
        }
    }

    /// Kills the worker if it has been silent for too long.
    fn look(&mut self) {
        let said = *self.progress.borrow();
        let Some(since) =
            self.silence.as_mut().and_then(|silence| silence.look(Instant::now(), said.beats))
        else {
            return;
        };
        let since = said.last_beat.map_or(since, |beat| beat.elapsed());
        self.hung = Some(since);
        self.core.emit(Event::Unresponsive { id: self.id, since });
        self.kill("its event loop is blocked, or its process is stopped");
    }

    /// Tells the worker to leave. A more urgent order may follow, and so does a longer time if the
    /// worker serves after all.
    fn leave(&mut self, reason: DrainReason, said: Progress) {
        let (now, policy, before) = (Instant::now(), self.core.config.drain, self.leaving);
        let leave = match before {
            None => {
                let deadline = policy.order(reason).deadline;
                // A worker that is not ready serves nobody, as far as is known, so there is little
                // to wait for.
                Leave {
                    reason,
                    serves: said.ready,
                    latest: now + deadline,
                    booting: now + deadline.min(policy.fast),
                }
            }
            Some(before) if reason.urgency() > before.reason.urgency() => {
                let latest = before.latest.min(now + policy.order(reason).deadline);
                Leave { reason, serves: said.ready, latest, ..before }
            }
            Some(before) if said.ready && !before.serves => Leave { serves: true, ..before },
            Some(_) => return,
        };
        if self.killed {
            return;
        }
        self.leaving = Some(leave);
        self.ready_by = None;
        self.kill_by = Some(leave.end());
        if before.is_none() {
            self.core.note(|board| board.draining(self.id));
            self.core.emit(Event::Draining(self.id));
        }
        // After SIGTERM a worker waits a moment for the order of a stop, and then gives itself the
        // one of the policy.
        let knows_itself = leave.reason == DrainReason::Signal && before.is_none() && leave.serves;
        let order = policy.order(leave.reason).within(leave.end() - now);
        if !knows_itself && let Ok(frame) = frame::encode(&ToWorker::Drain(order)) {
            let _ = self.outbox.insist(frame);
        }
        // It does not read orders yet; the signal ends it, or becomes an order if it connects just
        // now.
        if !said.online {
            self.signal(Signal::TERM);
        }
    }

    fn kill(&mut self, why: &str) {
        self.ready_by = None;
        self.kill_by = None;
        if !self.killed {
            self.killed = true;
            tracing::warn!(worker = %self.id, leaving = ?self.leaving.map(|leave| leave.reason), "worker is killed: {why}");
            self.signal(Signal::KILL);
        }
    }

    fn signal(&self, signal: Signal) {
        // The process may have ended already; it is reaped either way.
        let _ = pidfd_send_signal(self.pidfd.as_fd(), signal);
    }

    /// The system refused to tell. Ends the process, so that it is gone whatever it did.
    fn unknown(&self, error: &io::Error) -> ExitStatus {
        tracing::error!(worker = %self.id, %error, "cannot wait for a worker");
        self.signal(Signal::KILL);
        ExitStatus::from_raw(Signal::KILL.as_raw())
    }

    fn asked(&self) -> bool {
        self.leaving.is_some() || self.progress.borrow().draining
    }

    fn cause(&self, status: ExitStatus) -> ExitCause {
        let said = *self.progress.borrow();
        let signal = status.signal();
        if self.asked() {
            return match signal {
                Some(_) if self.killed => ExitCause::DeadlineKilled,
                Some(signal) if signal != Signal::TERM.as_raw() => ExitCause::Signalled(signal),
                _ => ExitCause::Requested,
            };
        }
        match signal {
            _ if !said.ready => ExitCause::BootFailed,
            Some(_) if self.hung.is_some() => ExitCause::Hung,
            // By the primary, because it could not be understood.
            Some(_) if self.killed => ExitCause::Crashed,
            Some(signal) => ExitCause::Signalled(signal),
            None => ExitCause::Crashed,
        }
    }
}

fn log_end(pid: u32, end: Ended, uptime: Duration) {
    let Ended { id, slot, cause, status } = end;
    if cause == ExitCause::Requested && status.success() {
        tracing::info!(worker = %id, %slot, pid, ?uptime, "worker left");
    } else {
        tracing::warn!(worker = %id, %slot, pid, ?cause, %status, ?uptime, "worker ended");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;
    use tokio::process::Command;

    use super::*;
    use crate::config::ClusterBuilder;
    use crate::frame::{Talk, ToPrimary};
    use crate::image::Image;

    /// A worker that says so much and ends.
    async fn live_and_die(slot: usize, said: &[u8], core: &Arc<Core>) {
        let child = Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
        let pid = child.id().unwrap();
        let pidfd =
            pidfd_open(Pid::from_raw(pid.cast_signed()).unwrap(), PidfdFlags::empty()).unwrap();
        let (control, mut worker) = UnixStream::pair().unwrap();
        let newborn = Newborn {
            id: core.next_id(),
            slot: Slot::new(slot),
            pid,
            child,
            pidfd,
            control,
            born: std::time::Instant::now(),
        };
        let mut life = Life::begin(newborn, true, core);
        worker.write_all(said).await.unwrap();
        drop(worker);
        // Its last words are read.
        life.words.join_next().await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn k13_what_dead_workers_of_a_slot_have_asked_is_kept_and_bounded_over_all_their_lives() {
        let core = Arc::new(
            Core::open(
                ClusterBuilder::new(Image::of_this_process().unwrap(), None),
                BTreeMap::new(),
                None,
            )
            .unwrap()
            .0,
        );
        let mut requests = core.desk.sit();
        let large = format!("\"{}\"", "x".repeat(1 << 19));
        let ask = |id: u64| {
            frame::encode(&ToPrimary::Talk(Talk::Request { id, body: large.clone().into_bytes() }))
                .unwrap()
        };
        let said: Vec<u8> = (0..6).flat_map(ask).collect();
        for _ in 0..4 {
            live_and_die(0, &said, &core).await;
        }
        live_and_die(1, &said, &core).await;
        let mut read = Vec::new();
        while !requests.is_empty() {
            let call = requests.next().await.unwrap();
            read.push(call.from().unwrap().as_u64());
        }
        assert_eq!(
            read,
            [[1; 6].as_slice(), &[2; 6], &[3; 3], &[5; 6]].concat(),
            "15 of 512 KiB are 8 MiB; another slot has its own"
        );
        // What was read and dropped makes room.
        live_and_die(0, &said, &core).await;
        assert_eq!(requests.next().await.unwrap().from().unwrap().as_u64(), 6);
    }
}
