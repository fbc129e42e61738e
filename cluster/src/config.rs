use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use crate::drain::DrainPolicy;
use crate::error::StartError;
use crate::frame::{self, PROTOCOL, ToWorker};
use crate::heartbeat::HeartbeatPolicy;
use crate::id::{Slot, WorkerId};
use crate::image::Image;
use crate::listener::ListenSpec;
use crate::message::Message;
use crate::operation::Operation;
use crate::primary::{self, ClusterHandle};
use crate::recycle::Recycle;
use crate::restart::RestartPolicy;
use crate::succession::Predecessor;

/// Longest time that a clock is asked to add: ten years.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// How many workers the cluster keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Workers {
    /// As many as this process may use CPUs when the cluster starts: those of its affinity mask,
    /// and no more than the CPU quotas of its control groups, of either version, allow. A quota is
    /// rounded down to whole CPUs, and one below a CPU makes one worker.
    #[default]
    Auto,
    /// So many.
    Exactly(NonZeroUsize),
}

impl Workers {
    fn count(self) -> usize {
        match self {
            Self::Auto => available_parallelism().map_or(1, NonZeroUsize::get),
            Self::Exactly(count) => count.get(),
        }
    }
}

type Env = Box<dyn Fn(Slot) -> Vec<(OsString, OsString)> + Send + Sync>;
type Inherit = Box<dyn Fn(WorkerId) -> io::Result<OwnedFd> + Send + Sync>;
type Bequeath = Box<dyn Fn() -> io::Result<OwnedFd> + Send + Sync>;

/// Describes a cluster. From [`role`](crate::role()) in the primary; nothing happens before
/// [`start`](Self::start).
pub struct ClusterBuilder {
    pub(crate) image: Arc<Image>,
    workers: Workers,
    pub(crate) listen: Vec<(String, ListenSpec)>,
    pub(crate) settings: Vec<u8>,
    pub(crate) worker_args: Option<Vec<OsString>>,
    pub(crate) env: Vec<Env>,
    pub(crate) inherit: Vec<(String, Inherit)>,
    pub(crate) bequeath: Vec<(String, Bequeath)>,
    pub(crate) predecessor: Option<Predecessor>,
    pub(crate) readiness: Duration,
    pub(crate) drain: DrainPolicy,
    pub(crate) restart: RestartPolicy,
    pub(crate) heartbeat: Option<HeartbeatPolicy>,
    pub(crate) recycle: Recycle,
    pub(crate) operation: Operation,
}

impl ClusterBuilder {
    pub(crate) fn new(image: Image, predecessor: Option<Predecessor>) -> Self {
        Self {
            image: Arc::new(image),
            workers: Workers::Auto,
            listen: Vec::new(),
            settings: Vec::new(),
            worker_args: None,
            env: Vec::new(),
            inherit: Vec::new(),
            bequeath: Vec::new(),
            predecessor,
            readiness: Duration::from_secs(30),
            drain: DrainPolicy::default(),
            restart: RestartPolicy::default(),
            heartbeat: Some(HeartbeatPolicy::default()),
            recycle: Recycle::default(),
            operation: Operation::default(),
        }
    }

    /// How many workers to keep. Default: [`Workers::Auto`].
    #[must_use]
    pub fn workers(mut self, workers: Workers) -> Self {
        self.workers = workers;
        self
    }

    /// Adds a port that all workers share under `name`. It is opened by [`start`](Self::start),
    /// once.
    #[must_use]
    pub fn listen(mut self, name: impl Into<String>, spec: ListenSpec) -> Self {
        self.listen.push((name.into(), spec));
        self
    }

    /// Bytes that every worker receives over its control socket, so that secrets stand neither in
    /// the environment nor in the arguments of a process. At most [`Message::MAX`] − 256 bytes.
    #[must_use]
    pub fn settings(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.settings = bytes.into();
        self
    }

    /// The arguments of every worker, behind the name of the program. By default workers get those
    /// of this process.
    ///
    /// Every user of the machine can read the arguments of a process. Set this if those of the
    /// primary may hold a secret, and pass the secret in [`settings`](Self::settings).
    #[must_use]
    pub fn worker_args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.worker_args = Some(args.into_iter().map(Into::into).collect());
        self
    }

    /// Adds environment variables for the workers of a slot; called before each start of one.
    ///
    /// A panic in `vars` leaves through [`start`](Self::start); later it gives the slot up, or ends
    /// a reload.
    #[must_use]
    pub fn env<V, I, K, T>(mut self, vars: V) -> Self
    where
        V: Fn(Slot) -> I + Send + Sync + 'static,
        I: IntoIterator<Item = (K, T)>,
        K: Into<OsString>,
        T: Into<OsString>,
    {
        self.env.push(Box::new(move |slot| {
            vars(slot).into_iter().map(|(key, value)| (key.into(), value.into())).collect()
        }));
        self
    }

    /// Gives every worker a descriptor of its own under `name`: `open` is called before each start,
    /// and its result goes to that worker alone. One end of a socket pair, for example, whose other
    /// end the primary serves.
    ///
    /// `open` runs on a task of the runtime and must not block. Its error counts as a failed start.
    /// A panic leaves through [`start`](Self::start); later it gives the slot up.
    #[must_use]
    pub fn inherit(
        mut self,
        name: impl Into<String>,
        open: impl Fn(WorkerId) -> io::Result<OwnedFd> + Send + Sync + 'static,
    ) -> Self {
        self.inherit.push((name.into(), Box::new(open)));
        self
    }

    /// Leaves a descriptor to the primary that [succeeds](ClusterHandle::upgrade) this one, under
    /// `name`: `open` is called for each attempt. One end of a socket pair, for example, over which
    /// state follows that the primary holds.
    ///
    /// `open` runs on a task of the runtime and must not block. Its error, or a panic, ends the
    /// attempt, and this primary goes on.
    #[must_use]
    pub fn bequeath(
        mut self,
        name: impl Into<String>,
        open: impl Fn() -> io::Result<OwnedFd> + Send + Sync + 'static,
    ) -> Self {
        self.bequeath.push((name.into(), Box::new(open)));
        self
    }

    /// Takes what the predecessor [left](Self::bequeath) under `name`. `None` if it left no such
    /// thing, it was taken before, or there is no predecessor.
    #[must_use]
    pub fn take_bequest(&mut self, name: &str) -> Option<OwnedFd> {
        self.predecessor.as_mut()?.fds.remove(name)
    }

    /// Whether this process succeeds another primary, which serves until all workers of this one
    /// do.
    #[must_use]
    pub fn is_successor(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Time from the start of a worker to its [`ready`](crate::Worker::ready); a later one is
    /// killed and counts as failed. Default: 30 s. At most ten years.
    #[must_use]
    pub fn readiness(mut self, within: Duration) -> Self {
        self.readiness = within;
        self
    }

    /// How long workers may take to leave. Default: [`DrainPolicy::default`].
    #[must_use]
    pub fn drain(mut self, policy: DrainPolicy) -> Self {
        self.drain = policy;
        self
    }

    /// When workers that died are replaced. Default: [`RestartPolicy::default`].
    #[must_use]
    pub fn restart(mut self, policy: RestartPolicy) -> Self {
        self.restart = policy;
        self
    }

    /// When a worker that does not answer is killed and replaced. Default:
    /// [`HeartbeatPolicy::default`]; `None` switches it off, for work with a debugger for example,
    /// which stops processes.
    ///
    /// It counts from the moment that a worker is ready until it is told to leave; before and after
    /// that the readiness time and the drain deadline end it.
    #[must_use]
    pub fn heartbeat(mut self, policy: impl Into<Option<HeartbeatPolicy>>) -> Self {
        self.heartbeat = policy.into();
        self
    }

    /// When workers that serve are replaced by fresh ones. Default: never.
    #[must_use]
    pub fn recycle(mut self, limits: Recycle) -> Self {
        self.recycle = limits;
        self
    }

    /// Opens the ports, starts one worker per slot and supervises them on tasks of the current
    /// tokio runtime.
    ///
    /// Returns when the processes are started, not when they are ready; see
    /// [`ClusterHandle::ready`]. Messages that are sent at once wait for the workers. From here on
    /// `SIGTERM` and `SIGQUIT` stop the cluster gracefully, `SIGINT` fast and a second one at once;
    /// `SIGHUP` [reloads](ClusterHandle::reload), `SIGTTIN` and `SIGTTOU` make it one slot more or
    /// less; `SIGUSR2` [replaces the primary](ClusterHandle::upgrade) itself; `SIGUSR1` is logged
    /// and otherwise ignored.
    ///
    /// # Errors
    ///
    /// [`StartError`] says what to change. Workers that were started before the error are killed
    /// and reaped, ports are closed. The signal handlers stay, because a process cannot give them
    /// back: after an error the signals above do nothing, so let the process end.
    pub async fn start(self) -> Result<ClusterHandle, StartError> {
        self.check()?;
        primary::start(self).await
    }

    pub(crate) fn slots(&self) -> usize {
        self.workers.count()
    }

    /// The first frame that a worker receives.
    pub(crate) fn greeting(&self) -> Result<Vec<u8>, StartError> {
        let hello = ToWorker::Hello {
            protocol: PROTOCOL,
            drain: self.drain,
            settings: self.settings.clone(),
            beat: self.heartbeat.map(|policy| policy.every),
        };
        frame::encode(&hello)
            .map_err(|unframed| StartError::Config(format!("settings cannot be sent: {unframed}")))
    }

    fn check(&self) -> Result<(), StartError> {
        let invalid = |text: &str| StartError::Config(text.to_owned());
        self.restart.check().map_err(invalid)?;
        self.drain.check().map_err(invalid)?;
        self.heartbeat.map_or(Ok(()), |policy| policy.check()).map_err(invalid)?;
        self.recycle.check(self.heartbeat.is_some()).map_err(invalid)?;
        if self.readiness.is_zero() {
            return Err(invalid("readiness must be longer than zero"));
        }
        let Self { readiness, drain, .. } = *self;
        for (field, time) in [
            ("readiness", readiness),
            ("drain.quiet", drain.quiet),
            ("drain.deadline", drain.deadline),
            ("drain.fast", drain.fast),
            ("drain.orphan", drain.orphan),
            (
                "heartbeat.dead_after",
                self.heartbeat.map_or(Duration::ZERO, |policy| policy.dead_after),
            ),
            ("recycle.max_age", self.recycle.max_age.unwrap_or_default()),
        ] {
            if time > LONGEST {
                return Err(StartError::Config(format!(
                    "{field} is {time:?}, at most ten years are allowed"
                )));
            }
        }
        // The greeting carries the drain times beside the settings; a message has no more room left
        // than that.
        if self.settings.len() > Message::MAX - 256 {
            return Err(StartError::Config(format!(
                "settings have {} bytes, at most {} are allowed",
                self.settings.len(),
                Message::MAX - 256
            )));
        }
        unique("listen", self.listen.iter().map(|(name, _)| name))?;
        unique("inherit", self.inherit.iter().map(|(name, _)| name))?;
        unique("bequeath", self.bequeath.iter().map(|(name, _)| name))
    }

    /// All variables for the workers of `slot`; of two with one name the later added wins.
    pub(crate) fn vars(&self, slot: Slot) -> BTreeMap<OsString, OsString> {
        self.env.iter().flat_map(|vars| vars(slot)).collect()
    }
}

fn unique<'a>(setting: &str, names: impl Iterator<Item = &'a String>) -> Result<(), StartError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(StartError::Config(format!("{setting}: the name `{name}` is given twice")));
        }
    }
    Ok(())
}

impl fmt::Debug for ClusterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Settings may be secrets: their size must do.
        f.debug_struct("ClusterBuilder")
            .field("workers", &self.workers)
            .field("listen", &self.listen)
            .field("settings", &format_args!("{} bytes", self.settings.len()))
            .field("readiness", &self.readiness)
            .field("drain", &self.drain)
            .field("restart", &self.restart)
            .field("heartbeat", &self.heartbeat)
            .field("recycle", &self.recycle)
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_no_clock_can_add_is_named() {
        let check = |change: fn(ClusterBuilder) -> ClusterBuilder| {
            change(ClusterBuilder::new(Image::of_this_process().unwrap(), None))
                .check()
                .map_err(|e| e.to_string())
        };
        for (field, change) in [
            ("readiness", (|b| b.readiness(Duration::MAX)) as fn(ClusterBuilder) -> ClusterBuilder),
            ("drain.deadline", |b| {
                b.drain(DrainPolicy { deadline: Duration::MAX, ..DrainPolicy::default() })
            }),
            ("drain.fast", |b| {
                b.drain(DrainPolicy { fast: Duration::MAX, ..DrainPolicy::default() })
            }),
            ("drain.orphan", |b| {
                b.drain(DrainPolicy { orphan: Duration::MAX, ..DrainPolicy::default() })
            }),
            ("heartbeat.dead_after", |b| {
                b.heartbeat(HeartbeatPolicy {
                    dead_after: Duration::MAX,
                    ..HeartbeatPolicy::default()
                })
            }),
            ("recycle.max_age", |b| {
                b.recycle(Recycle { max_age: Some(Duration::MAX), ..Recycle::default() })
            }),
        ] {
            assert!(check(change).unwrap_err().contains(&format!("{field} is")), "{field}");
        }
        assert_eq!(check(|b| b.readiness(LONGEST)), Ok(()));
    }
}
