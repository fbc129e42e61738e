//! The configuration of a cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt, io,
    num::NonZeroUsize,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::Arc,
    thread::available_parallelism,
    time::Duration,
};

use crate::{
    error::{StartError, WithSources},
    model::{
        DrainPolicy, HeartbeatPolicy, ListenSpec, Message, RecyclePolicy, RestartPolicy, Slot,
        WorkerId,
    },
    os::{executable::Executable, fds::Predecessor},
    wire::frame::{self, PROTOCOL, ToWorker},
};

/// Longest duration of a setting: ten years. Every clock can add it.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// How many workers the cluster keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Workers {
    /// The number of CPUs that this process may use when the cluster starts: those of its affinity
    /// mask, limited by the CPU quotas of its control groups (version 1 and 2). A quota is rounded
    /// down to whole CPUs, but to at least one.
    #[default]
    Auto,
    /// This number.
    Exactly(NonZeroUsize),
}

impl Workers {
    /// The number of worker processes.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Self::Auto => available_parallelism().map_or(1, NonZeroUsize::get),
            Self::Exactly(count) => count.get(),
        }
    }
}

impl From<NonZeroUsize> for Workers {
    fn from(count: NonZeroUsize) -> Self {
        Self::Exactly(count)
    }
}

type Env = Box<dyn Fn(Slot) -> Vec<(OsString, OsString)> + Send + Sync>;
type OpenForWorker = Box<dyn Fn(WorkerId) -> io::Result<OwnedFd> + Send + Sync>;
type OpenForSuccessor = Box<dyn Fn() -> io::Result<OwnedFd> + Send + Sync>;

/// Configures a cluster. From [`role`](crate::role()) in the primary. Nothing happens before
/// [`start`](Self::start).
pub struct ClusterBuilder {
    pub(crate) executable: Arc<Executable>,
    workers: Workers,
    pub(crate) listen: Vec<(String, ListenSpec)>,
    pub(crate) settings: Vec<u8>,
    pub(crate) worker_args: Option<Vec<OsString>>,
    pub(crate) env: Vec<Env>,
    pub(crate) inherit: Vec<(String, OpenForWorker)>,
    pub(crate) pass_to_successor: Vec<(String, OpenForSuccessor)>,
    pub(crate) predecessor: Option<Predecessor>,
    pub(crate) readiness: Duration,
    pub(crate) drain: DrainPolicy,
    pub(crate) restart: RestartPolicy,
    pub(crate) heartbeat: Option<HeartbeatPolicy>,
    pub(crate) recycle: RecyclePolicy,
    pub(crate) operator: OperatorConfig,
}

/// The paths by which operators reach the primary.
#[derive(Debug, Default)]
pub(crate) struct OperatorConfig {
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) control: Option<PathBuf>,
}

impl ClusterBuilder {
    pub(crate) fn new(executable: Executable, predecessor: Option<Predecessor>) -> Self {
        Self {
            executable: Arc::new(executable),
            workers: Workers::Auto,
            listen: Vec::new(),
            settings: Vec::new(),
            worker_args: None,
            env: Vec::new(),
            inherit: Vec::new(),
            pass_to_successor: Vec::new(),
            predecessor,
            readiness: Duration::from_secs(30),
            drain: DrainPolicy::default(),
            restart: RestartPolicy::default(),
            heartbeat: Some(HeartbeatPolicy::default()),
            recycle: RecyclePolicy::default(),
            operator: OperatorConfig::default(),
        }
    }

    /// How many workers to keep: a [`NonZeroUsize`], or [`Workers::Auto`], which is the default.
    #[must_use]
    pub fn workers(mut self, workers: impl Into<Workers>) -> Self {
        self.workers = workers.into();
        self
    }

    /// Adds a port that all workers share under `name`. [`start`](Self::start) opens it once.
    #[must_use]
    pub fn listen(mut self, name: impl Into<String>, spec: ListenSpec) -> Self {
        self.listen.push((name.into(), spec));
        self
    }

    /// Bytes that every worker receives over its control socket. Use it for secrets, because other
    /// processes can read the environment and the arguments of a process. At most
    /// [`Message::MAX`] − 256 bytes.
    #[must_use]
    pub fn settings(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.settings = bytes.into();
        self
    }

    /// The arguments of every worker, after the program name. By default workers get the arguments
    /// of this process.
    ///
    /// Every user of the machine can read the arguments of a process. If those of the primary may
    /// contain a secret, set this and pass the secret in [`settings`](Self::settings).
    #[must_use]
    pub fn worker_args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.worker_args = Some(args.into_iter().map(Into::into).collect());
        self
    }

    /// Adds environment variables for the workers of a slot. The primary calls `vars` before each
    /// start of a worker.
    ///
    /// A panic in `vars` propagates through [`start`](Self::start). Later it gives the slot up or
    /// ends a reload.
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

    /// Gives every worker its own descriptor under `name`, for example one end of a socket pair
    /// whose other end the primary serves. The primary calls `open` before each start of a worker
    /// and passes the result to that worker alone.
    ///
    /// `open` runs on a task of the runtime and must not block. An error counts as a failed start.
    /// A panic propagates through [`start`](Self::start). Later it gives the slot up.
    #[must_use]
    pub fn inherit(
        mut self,
        name: impl Into<String>,
        open: impl Fn(WorkerId) -> io::Result<OwnedFd> + Send + Sync + 'static,
    ) -> Self {
        self.inherit.push((name.into(), Box::new(open)));
        self
    }

    /// Passes a descriptor to the primary that [succeeds](crate::ClusterHandle::upgrade) this one,
    /// under `name`, for example one end of a socket pair over which the primary sends its state.
    /// The primary calls `open` for each upgrade attempt.
    ///
    /// `open` runs on a task of the runtime and must not block. An error or a panic ends the
    /// attempt, and this primary continues.
    #[must_use]
    pub fn pass_to_successor(
        mut self,
        name: impl Into<String>,
        open: impl Fn() -> io::Result<OwnedFd> + Send + Sync + 'static,
    ) -> Self {
        self.pass_to_successor.push((name.into(), Box::new(open)));
        self
    }

    /// Takes the descriptor that the predecessor [passed](Self::pass_to_successor) under `name`.
    /// `None` if the predecessor passed no such descriptor, it was taken before, or there is no
    /// predecessor.
    #[must_use]
    pub fn take_from_predecessor(&mut self, name: &str) -> Option<OwnedFd> {
        self.predecessor.as_mut()?.fds.remove(name)
    }

    /// Whether this process succeeds another primary. That primary serves until all workers of this
    /// one are ready.
    #[must_use]
    pub fn is_successor(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Longest time from the start of a worker to its [`ready`](crate::Worker::ready). A later
    /// worker is killed and counts as failed. Default: 30 s. At most ten years.
    #[must_use]
    pub fn readiness(mut self, within: Duration) -> Self {
        self.readiness = within;
        self
    }

    /// How long workers may take to drain. Default: [`DrainPolicy::default`].
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

    /// When an unresponsive worker is killed and replaced. Default: [`HeartbeatPolicy::default`].
    /// `None` switches heartbeats off, for example for work with a debugger, which stops processes.
    ///
    /// Heartbeats count from the moment that a worker is ready until it is told to drain. Before
    /// that the readiness time applies, after that the drain deadline.
    #[must_use]
    pub fn heartbeat(mut self, policy: impl Into<Option<HeartbeatPolicy>>) -> Self {
        self.heartbeat = policy.into();
        self
    }

    /// When workers that serve are replaced by fresh ones. Default: never.
    #[must_use]
    pub fn recycle(mut self, policy: RecyclePolicy) -> Self {
        self.recycle = policy;
        self
    }

    /// Accepts operator commands on a Unix socket at `path`. [`control`](crate::control) describes
    /// the commands. Default: no socket.
    ///
    /// [`start`](Self::start) creates the socket with mode 0600 from its first moment. The folder
    /// must exist, and every user that may write to it controls what is at the path. A lock file
    /// beside the socket, with `.lock` appended to its name, tells a live primary from a crashed
    /// one: the socket of a live primary is never replaced, a stale socket is. Both files are
    /// removed before [`wait`](crate::ClusterHandle::wait) returns.
    #[must_use]
    pub fn control(mut self, path: impl Into<PathBuf>) -> Self {
        self.operator.control = Some(path.into());
        self
    }

    /// Writes the process id of the primary and a line end to the file at `path`. Default: no file.
    ///
    /// [`start`](Self::start) locks the file (`flock`) before anything else, so a second primary
    /// with the same file does not start. The kernel unlocks the file when the process ends,
    /// however it ends. A file that a crash left behind is taken over. The file has mode 0644 and
    /// is removed before [`wait`](crate::ClusterHandle::wait) returns. A link, or a file that holds
    /// something else than a process id, is refused.
    ///
    /// Every user that may read the file may also lock it, and so prevent a primary from starting.
    /// If users are not trusted, put the file into a folder that they cannot enter.
    #[must_use]
    pub fn pid_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.operator.pid_file = Some(path.into());
        self
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
        frame::encode(&hello).map_err(|error| {
            StartError::Config(format!("settings cannot be sent: {}", WithSources(&error)))
        })
    }

    pub(crate) fn check(&self) -> Result<(), StartError> {
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
            ("drain.lead", drain.lead),
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
        // The greeting carries the drain times beside the settings, so the settings must be a
        // little smaller than a message.
        if self.settings.len() > Message::MAX - 256 {
            return Err(StartError::Config(format!(
                "settings have {} bytes, at most {} are allowed",
                self.settings.len(),
                Message::MAX - 256
            )));
        }
        unique("listen", self.listen.iter().map(|(name, _)| name))?;
        unique("inherit", self.inherit.iter().map(|(name, _)| name))?;
        unique("pass_to_successor", self.pass_to_successor.iter().map(|(name, _)| name))
    }

    /// All variables for the workers of `slot`. Of two with the same name the later one applies.
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
        // Settings may be secret, so only their size is shown.
        f.debug_struct("ClusterBuilder")
            .field("workers", &self.workers)
            .field("listen", &self.listen)
            .field("settings", &format_args!("{} bytes", self.settings.len()))
            .field("readiness", &self.readiness)
            .field("drain", &self.drain)
            .field("restart", &self.restart)
            .field("heartbeat", &self.heartbeat)
            .field("recycle", &self.recycle)
            .field("operator", &self.operator)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_long_duration_is_rejected_by_name() {
        let check = |change: fn(ClusterBuilder) -> ClusterBuilder| {
            change(ClusterBuilder::new(Executable::of_this_process().unwrap(), None))
                .check()
                .map_err(|e| e.to_string())
        };
        for (field, change) in [
            ("readiness", (|b| b.readiness(Duration::MAX)) as fn(ClusterBuilder) -> ClusterBuilder),
            ("drain.deadline", |b| b.drain(DrainPolicy::default().deadline(Duration::MAX))),
            ("drain.fast", |b| b.drain(DrainPolicy::default().fast(Duration::MAX))),
            ("drain.lead", |b| b.drain(DrainPolicy::default().lead(Duration::MAX))),
            ("drain.orphan", |b| b.drain(DrainPolicy::default().orphan(Duration::MAX))),
            ("heartbeat.dead_after", |b| {
                b.heartbeat(HeartbeatPolicy::default().dead_after(Duration::MAX))
            }),
            ("recycle.max_age", |b| b.recycle(RecyclePolicy::default().max_age(Duration::MAX))),
        ] {
            assert!(check(change).unwrap_err().contains(&format!("{field} is")), "{field}");
        }
        assert_eq!(check(|b| b.readiness(LONGEST)), Ok(()));
    }
}
