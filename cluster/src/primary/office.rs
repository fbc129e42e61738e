use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::core::Core;
use super::{control, service};
use crate::error::StartError;
use crate::event::Event;
use crate::held::{Held, HeldFds};
use crate::notify::Notifier;
use crate::operation::Operation;

/// How long a service manager may take to hear something.
const TELLING: Duration = Duration::from_secs(1);

/// Where operators find the primary: its pid file, its control socket, and what its service manager
/// hears.
#[derive(Debug)]
pub(super) struct Office {
    born: Instant,
    held: Mutex<Held>,
    /// What the predecessor has and this primary does not ask for.
    unwanted: Mutex<Held>,
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

/// What a service manager must hear of, each and in order.
#[derive(Debug)]
pub(super) enum Step {
    Reloading,
    Reloaded,
    /// This primary counts from now on.
    TookOver,
    /// The one with this process id counts from now on. Whoever waits is told when that was said.
    HandedOver(u32, oneshot::Sender<()>),
}

impl Office {
    /// Takes what only one primary can have, before anything is started.
    pub(super) fn claim(operation: &Operation, mut given: Held) -> Result<Self, StartError> {
        let held = operation.claim(&mut given)?;
        let listener =
            held.control.as_ref().map(|control| operation.listener(control)).transpose()?;
        let (steps, unread) = mpsc::unbounded_channel();
        Ok(Self {
            born: Instant::now(),
            held: Mutex::new(held),
            unwanted: Mutex::new(given),
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
            _ => return,
        };
        // Nobody reads without a service manager, or after the end.
        let _ = self.steps.send(step);
    }

    /// Copies of the descriptors for a successor, which are added to `passed`.
    pub(super) fn copies(&self, passed: &mut Vec<OwnedFd>) -> io::Result<HeldFds> {
        lock(&self.held).copies(passed)
    }

    /// From now on the files are this primary's: those that it asked for, and the others end.
    pub(super) fn take_charge(&self) {
        lock(&self.held).take_charge();
        let mut unwanted = std::mem::take(&mut *lock(&self.unwanted));
        unwanted.take_charge();
    }

    /// From now on the files are the successor's.
    pub(super) fn stay(&self) {
        lock(&self.held).stay();
    }

    /// Lets go of the files, which the successor holds as well: if it dies, nobody shall take them
    /// for held. Returns when the service manager was told whom it has to hear.
    pub(super) async fn hand_over(&self, successor: u32) {
        drop(std::mem::take(&mut *lock(&self.held)));
        let (tell, told) = oneshot::channel();
        if self.steps.send(Step::HandedOver(successor, tell)).is_ok() {
            // Without a service manager nobody tells.
            let _ = timeout(TELLING, told).await;
        }
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
        drop(std::mem::take(&mut *lock(&office.held)));
        office.closed.send_replace(true);
    }
}

/// Serves operators and tells the service manager, on a task, until the cluster has ended and the
/// last of them has heard so.
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
                Some(listener) => {
                    // Those that knock before are the predecessor's.
                    if core.charged().await {
                        control::serve(&core, listener).await;
                    }
                }
                None => core.ended().await,
            }
        };
        tokio::join!(told, served);
        drop(closing);
    });
}

/// The data behind these locks is whole after every instruction, so a panic elsewhere does not
/// spoil it.
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
        let builder =
            builder.control(folder.path().join("control")).pid_file(folder.path().join("pid"));
        let core = Arc::new(Core::open(builder, BTreeMap::new(), None).unwrap().0);
        open(&core);
        // Socket, its lock, pid file.
        assert_eq!(left(), 3);
        core.conclude();
        assert!(ClusterHandle::new(core).wait().await.is_err());
        assert_eq!(left(), 0);
    }
}
