use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

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

    /// Turns signals into phases until the cluster has ended.
    pub(super) async fn obey(mut self, core: Arc<Core>) {
        let mut outcome = core.outcome.subscribe();
        loop {
            let (name, phase) = tokio::select! {
                _ = outcome.wait_for(Option::is_some) => return,
                _ = self.terminate.recv() => ("TERM", Some(Phase::Stopping)),
                _ = self.quit.recv() => ("QUIT", Some(Phase::Stopping)),
                _ = self.interrupt.recv() => ("INT", Some(after_interrupt(*core.phase.borrow()))),
                _ = self.hangup.recv() => ("HUP", None),
                _ = self.user1.recv() => ("USR1", None),
                _ = self.user2.recv() => ("USR2", None),
                _ = self.tty_in.recv() => ("TTIN", None),
                _ = self.tty_out.recv() => ("TTOU", None),
            };
            if let Some(phase) = phase {
                tracing::info!(signal = name, ?phase, "signal received");
                core.stop(phase);
            } else {
                tracing::warn!(signal = name, "signal ignored: it has no meaning for this cluster");
            }
        }
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
