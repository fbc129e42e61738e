use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};

use super::core::Core;
use super::{control, service};
use crate::control::ControlSocket;
use crate::error::StartError;
use crate::event::Event;
use crate::notify::Notifier;
use crate::operation::Operation;
use crate::pid_file::PidFile;

/// Where operators find the primary: its pid file, its control socket, and what its service manager hears.
#[derive(Debug)]
pub(super) struct Office {
    born: Instant,
    held: Mutex<Option<Held>>,
    steps: mpsc::UnboundedSender<Step>,
    /// Until it is opened.
    fresh: Mutex<Option<Fresh>>,
    closed: watch::Sender<bool>,
}

/// What the task of the office starts with.
#[derive(Debug)]
struct Fresh {
    listener: Option<UnixListener>,
    steps: mpsc::UnboundedReceiver<Step>,
}

/// What is on disk. Dropped in this order, each of them removes its file.
#[derive(Debug)]
struct Held {
    _control: Option<ControlSocket>,
    _pid_file: Option<PidFile>,
}

/// What a service manager must hear of, each and in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Reloading,
    Reloaded,
    /// This primary counts from now on.
    TookOver,
    /// The one with this process id counts from now on.
    HandedOver(u32),
}

impl Office {
    /// Takes what only one primary can have, before anything is started.
    pub(super) fn claim(operation: &Operation) -> Result<Self, StartError> {
        let pid_file = operation.hold_pid_file()?;
        let control = operation.bind_control()?;
        let listener = control.as_ref().map(|control| operation.listener(control)).transpose()?;
        let (steps, unread) = mpsc::unbounded_channel();
        Ok(Self {
            born: Instant::now(),
            held: Mutex::new(Some(Held { _control: control, _pid_file: pid_file })),
            steps,
            fresh: Mutex::new(Some(Fresh { listener, steps: unread })),
            closed: watch::Sender::new(false),
        })
    }

    pub(super) fn uptime(&self) -> Duration {
        self.born.elapsed()
    }

    /// Takes note of an event that the service manager must hear of.
    pub(super) fn hear(&self, event: &Event) {
        let step = match event {
            Event::Reloading => Step::Reloading,
            Event::Reloaded(_) => Step::Reloaded,
            Event::TookOver => Step::TookOver,
            Event::Upgraded(Ok(pid)) => Step::HandedOver(*pid),
            _ => return,
        };
        // Nobody reads without a service manager, or after the end.
        let _ = self.steps.send(step);
    }

    /// Waits until nothing of the office is left.
    pub(super) async fn closed(&self) {
        // The sender lives here.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }
}

/// Removes the files and says so, also when the task of the office is dropped with its runtime.
struct Closing(Arc<Core>);

impl Drop for Closing {
    fn drop(&mut self) {
        let office = &self.0.office;
        drop(lock(&office.held).take());
        office.closed.send_replace(true);
    }
}

/// Serves operators and tells the service manager, on a task, until the cluster has ended and the last of them has heard so.
pub(super) fn open(core: &Arc<Core>) {
    let Some(Fresh { listener, steps }) = lock(&core.office.fresh).take() else { return };
    let notifier = Notifier::of_this_process();
    let core = Arc::clone(core);
    tokio::spawn(async move {
        let closing = Closing(Arc::clone(&core));
        let told = async {
            match notifier {
                Some(notifier) => service::follow(&core, &notifier, steps).await,
                None => drop(steps),
            }
        };
        let served = async {
            match listener {
                Some(listener) => control::serve(&core, listener).await,
                None => core.ended().await,
            }
        };
        tokio::join!(told, served);
        drop(closing);
    });
}

/// The data behind these locks is whole after every instruction, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;
    use crate::config::ClusterBuilder;
    use crate::image::Image;
    use crate::primary::ClusterHandle;

    #[tokio::test]
    async fn who_waited_for_the_end_finds_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let left = || fs::read_dir(folder.path()).unwrap().count();
        let builder = ClusterBuilder::new(Image::of_this_process().unwrap(), None);
        let builder = builder.control(folder.path().join("control")).pid_file(folder.path().join("pid"));
        let core = Arc::new(Core::open(builder, BTreeMap::new(), true).unwrap().0);
        open(&core);
        // Socket, its lock, pid file.
        assert_eq!(left(), 3);
        core.conclude();
        assert!(ClusterHandle::new(core).wait().await.is_err());
        assert_eq!(left(), 0);
    }
}
