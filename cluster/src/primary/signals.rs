use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::core::Core;
use crate::status::Phase;

/// The signals that the primary answers. Installed before the first worker, so that none is missed.
pub(super) struct Signals {
    terminate: Signal,
    quit: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
    tty_in: Signal,
    tty_out: Signal,
}

impl Signals {
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

    /// Does what signals ask for until the cluster has ended.
    pub(super) async fn obey(mut self, core: Arc<Core>) {
        let mut outcome = core.outcome.subscribe();
        let changes = Changes::start(&core);
        loop {
            let (name, wish) = tokio::select! {
                _ = outcome.wait_for(Option::is_some) => return,
                _ = self.terminate.recv() => ("TERM", Wish::Stop(Phase::Stopping)),
                _ = self.quit.recv() => ("QUIT", Wish::Stop(Phase::Stopping)),
                _ = self.interrupt.recv() => ("INT", Wish::Stop(after_interrupt(*core.phase.borrow()))),
                _ = self.hangup.recv() => ("HUP", Wish::Change(Change::Reload)),
                _ = self.user1.recv() => ("USR1", Wish::Nothing),
                _ = self.user2.recv() => ("USR2", Wish::Change(Change::Upgrade)),
                _ = self.tty_in.recv() => ("TTIN", Wish::Change(Change::Step { more: true })),
                _ = self.tty_out.recv() => ("TTOU", Wish::Change(Change::Step { more: false })),
            };
            match wish {
                Wish::Stop(phase) => {
                    tracing::info!(signal = name, ?phase, "signal received");
                    core.stop(phase);
                }
                Wish::Change(change) => {
                    tracing::info!(signal = name, ?change, "signal received");
                    changes.ask(change);
                }
                Wish::Nothing => tracing::warn!(
                    signal = name,
                    "signal ignored: it has no meaning for this cluster"
                ),
            }
        }
    }
}

/// What a signal asks for.
enum Wish {
    Stop(Phase),
    Change(Change),
    Nothing,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Reload,
    Upgrade,
    Step { more: bool },
}

/// The task that makes changes, one after the other, so that a stop need not wait for them.
struct Changes {
    wanted: mpsc::UnboundedSender<Change>,
    /// Whether a reload waits for its turn. It will find whatever is there then, so a second one
    /// would do no more.
    reload_waits: Arc<AtomicBool>,
}

impl Changes {
    fn start(core: &Arc<Core>) -> Self {
        let (wanted, mut changes) = mpsc::unbounded_channel();
        let reload_waits = Arc::new(AtomicBool::new(false));
        let (core, waits) = (Arc::clone(core), Arc::clone(&reload_waits));
        tokio::spawn(async move {
            while let Some(change) = changes.recv().await {
                match change {
                    // It says itself how it ends.
                    Change::Reload => {
                        drop(core.reload(|| waits.store(false, Ordering::Release)).await)
                    }
                    Change::Upgrade => drop(core.upgrade().await),
                    Change::Step { more } => {
                        if let Err(error) = core.step(more).await {
                            tracing::warn!(%error, "not scaled");
                        }
                    }
                }
            }
        });
        Self { wanted, reload_waits }
    }

    fn ask(&self, change: Change) {
        if matches!(change, Change::Reload) && self.reload_waits.swap(true, Ordering::AcqRel) {
            return;
        }
        // The task ends after this.
        let _ = self.wanted.send(change);
    }
}

/// The first interrupt hurries, the second kills.
fn after_interrupt(phase: Phase) -> Phase {
    if phase < Phase::StoppingFast { Phase::StoppingFast } else { Phase::Killing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k04_the_second_interrupt_kills() {
        assert_eq!(after_interrupt(Phase::Running), Phase::StoppingFast);
        assert_eq!(after_interrupt(Phase::Stopping), Phase::StoppingFast);
        assert_eq!(after_interrupt(Phase::StoppingFast), Phase::Killing);
    }
}
