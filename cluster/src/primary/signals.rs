//! The signals that the primary handles.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use super::cluster::Cluster;
use crate::{error::WithSources, model::Phase};

/// The signal handlers of the primary. Install them before the first worker starts, so that no
/// signal is lost.
pub(super) struct SignalHandlers {
    terminate: Signal,
    quit: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
    tty_in: Signal,
    tty_out: Signal,
}

impl SignalHandlers {
    pub(super) fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            tty_in: signal(SignalKind::from_raw(rustix::process::Signal::TTIN.as_raw()))?,
            tty_out: signal(SignalKind::from_raw(rustix::process::Signal::TTOU.as_raw()))?,
        })
    }

    /// Handles signals until the cluster has ended.
    pub(super) async fn run(mut self, cluster: Arc<Cluster>) {
        let lifecycle = &cluster.shared.lifecycle;
        let mut outcome = lifecycle.watch_outcome();
        let changes = ChangeQueue::start(&cluster);
        loop {
            let (name, action) = tokio::select! {
                _ = outcome.wait_for(Option::is_some) => return,
                _ = self.terminate.recv() => ("TERM", Action::Stop(Phase::Stopping)),
                _ = self.quit.recv() => ("QUIT", Action::Stop(Phase::Stopping)),
                _ = self.interrupt.recv() => {
                    ("INT", Action::Stop(after_interrupt(lifecycle.phase())))
                }
                _ = self.hangup.recv() => ("HUP", Action::Change(Change::Reload)),
                _ = self.user1.recv() => ("USR1", Action::Ignore),
                _ = self.user2.recv() => ("USR2", Action::Change(Change::Upgrade)),
                _ = self.tty_in.recv() => ("TTIN", Action::Change(Change::AddSlot)),
                _ = self.tty_out.recv() => ("TTOU", Action::Change(Change::RemoveSlot)),
            };
            match action {
                Action::Stop(phase) => {
                    tracing::info!(signal = name, ?phase, "signal received");
                    cluster.shared.stop(phase);
                }
                Action::Change(change) => {
                    tracing::info!(signal = name, ?change, "signal received");
                    changes.push(change);
                }
                Action::Ignore => tracing::warn!(
                    signal = name,
                    "signal ignored: it has no meaning for this cluster"
                ),
            }
        }
    }
}

/// What a signal requests.
enum Action {
    Stop(Phase),
    Change(Change),
    Ignore,
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Reload,
    Upgrade,
    AddSlot,
    RemoveSlot,
}

/// The task that makes changes, one after the other. A separate task, so that a stop need not wait
/// for them.
struct ChangeQueue {
    changes: mpsc::UnboundedSender<Change>,
    /// Whether a reload is queued. A second queued reload would find the same program, so it is
    /// dropped.
    reload_queued: Arc<AtomicBool>,
}

impl ChangeQueue {
    fn start(cluster: &Arc<Cluster>) -> Self {
        let (changes, mut queue) = mpsc::unbounded_channel();
        let reload_queued = Arc::new(AtomicBool::new(false));
        let (cluster, queued) = (Arc::clone(cluster), Arc::clone(&reload_queued));
        tokio::spawn(async move {
            while let Some(change) = queue.recv().await {
                let scaled = match change {
                    // Reload and upgrade log their own result.
                    Change::Reload => {
                        drop(cluster.reload(|| queued.store(false, Ordering::Release)).await);
                        continue;
                    }
                    Change::Upgrade => {
                        drop(cluster.upgrade().await);
                        continue;
                    }
                    Change::AddSlot => cluster.add_slot().await,
                    Change::RemoveSlot => cluster.remove_slot().await,
                };
                if let Err(error) = scaled {
                    tracing::warn!(error = %WithSources(&error), "scaling failed");
                }
            }
        });
        Self { changes, reload_queued }
    }

    fn push(&self, change: Change) {
        if matches!(change, Change::Reload) && self.reload_queued.swap(true, Ordering::AcqRel) {
            return;
        }
        // Cannot fail: the task ends after this sender is dropped.
        let _ = self.changes.send(change);
    }
}

/// The first interrupt stops fast, the second kills.
fn after_interrupt(phase: Phase) -> Phase {
    if phase < Phase::StoppingFast { Phase::StoppingFast } else { Phase::Killing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k04_second_interrupt_kills() {
        assert_eq!(after_interrupt(Phase::Running), Phase::StoppingFast);
        assert_eq!(after_interrupt(Phase::Stopping), Phase::StoppingFast);
        assert_eq!(after_interrupt(Phase::StoppingFast), Phase::Killing);
    }
}
