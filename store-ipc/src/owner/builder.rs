//! [`Owner`] and its builder.

use std::{fmt, num::NonZeroUsize, path::Path, sync::Arc, time::Duration};

use session_core::{MemoryStore, SessionStore};
use tokio::net::UnixStream;

use super::{
    connection::ClientOrigin,
    listener::Listener,
    serve::serve,
    shared::{OwnerSettings, OwnerShared, Stats},
};
use crate::{
    error::{ConfigError, OwnerError},
    wire::frame::{DEFAULT_FRAME_BYTES, MAX_FRAME_BYTES, MIN_FRAME_BYTES},
};

/// The shortest deadline or interval, which is the resolution of a timer.
const MIN_DURATION: Duration = Duration::from_millis(1);
/// The longest deadline, so that no clock overflows.
const MAX_DEADLINE: Duration = Duration::from_secs(86_400);

/// Serves any [`SessionStore`] to other processes. Clones share the owner.
///
/// [`spawn_thread`](Self::spawn_thread) starts a thread with its own runtime for the owner. Use it
/// in a process manager. [`serve`](Self::serve) and [`listen`](Self::listen) run on the caller's
/// runtime.
///
/// # Protection against clients
/// A client cannot harm other clients. The owner closes a connection, with a warning in the log
/// that contains no key, for:
///
/// - a frame over the limit,
/// - bytes that are not a request,
/// - a hello or frame that stays incomplete, if the client connected to a path.
///
/// If a client does not read its replies, the owner stops reading from it when 512 KiB of replies
/// wait. If a client has too many calls in flight, its further calls wait. In both cases the
/// owner's memory does not grow and the other clients are not delayed.
///
/// # Examples
/// See [`IpcStore`](crate::IpcStore).
#[derive(Clone)]
pub struct Owner(Arc<OwnerShared>);

impl Owner {
    /// An owner of the sessions in `store`.
    #[must_use]
    pub fn builder(store: Arc<dyn SessionStore>) -> OwnerBuilder {
        OwnerBuilder {
            store,
            memory: None,
            settings: OwnerSettings {
                max_connections: 1_024,
                max_in_flight: 1_024,
                frame_bytes: DEFAULT_FRAME_BYTES,
                hello_deadline: Duration::from_secs(5),
                frame_deadline: Duration::from_secs(5),
                drain_deadline: Duration::from_secs(1),
                sweep: None,
                allowed_uids: Vec::new(),
            },
        }
    }

    /// An owner of sessions in memory, which it can hand over to a successor with
    /// [`OwnerHandle::handover`](crate::OwnerHandle::handover).
    #[must_use]
    pub fn memory(store: Arc<MemoryStore>) -> OwnerBuilder {
        OwnerBuilder { memory: Some(Arc::clone(&store)), ..Self::builder(store) }
    }

    /// Serves one client until it leaves or the owner is shut down.
    ///
    /// The owner does not check the user of the client: the process that holds the other end may
    /// use it. Deadlines do not apply either. So a client that is idle before its first call, or
    /// blocked in the middle of a call, keeps its connection. It could not connect again.
    ///
    /// # Errors
    /// [`OwnerError::Stopped`] if the owner is already shut down. Invalid bytes from the client end
    /// its connection and are not an error here.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection. Calls in flight may or may not have landed.
    pub async fn serve(&self, stream: UnixStream) -> Result<(), OwnerError> {
        serve(Arc::clone(&self.0), stream, ClientOrigin::Provided).await
    }

    /// Like [`Self::serve`], for a stream of the standard library, such as one end of a socket
    /// pair.
    ///
    /// # Errors
    /// [`OwnerError::Stopped`] if the owner is already shut down, [`OwnerError::Stream`] if tokio
    /// cannot take the stream.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn serve_std(
        &self,
        stream: std::os::unix::net::UnixStream,
    ) -> Result<(), OwnerError> {
        stream.set_nonblocking(true).map_err(OwnerError::Stream)?;
        let stream = UnixStream::from_std(stream).map_err(OwnerError::Stream)?;
        self.serve(stream).await
    }

    /// Serves every client that connects to the socket at `path`, until the owner is shut down.
    ///
    /// The socket has mode 0600. The owner serves the user of its process and those of
    /// [`OwnerBuilder::allow_uid`]. It holds a lock on the file `<path>.lock`. The kernel releases
    /// the lock when the process ends. So the socket of a dead owner is replaced, and the socket of
    /// a running owner is never replaced, even if that owner is frozen. The owner removes the
    /// socket when it stops listening. The empty lock file stays.
    ///
    /// # Errors
    /// [`OwnerError::AddressInUse`] if another owner serves `path`, [`OwnerError::NotASocket`] if a
    /// file that is not a socket exists there, [`OwnerError::Bind`] if the socket cannot be
    /// created, [`OwnerError::Stopped`] if the owner is already shut down.
    ///
    /// # Cancel safety
    /// Dropping the future ends the listening. Connected clients stay connected.
    pub async fn listen(&self, path: impl AsRef<Path>) -> Result<(), OwnerError> {
        Listener::bind(path.as_ref())?.run(Arc::clone(&self.0)).await
    }

    /// Stops listening and reading, answers the calls in progress, and closes every connection
    /// within a second. Returns at once.
    pub fn shutdown(&self) {
        self.0.shutdown();
    }

    /// The owner's counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.stats()
    }

    pub(crate) fn shared(&self) -> &Arc<OwnerShared> {
        &self.0
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner")
            .field("store", &self.0.store)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// The settings of an [`Owner`].
#[derive(Debug, Clone)]
pub struct OwnerBuilder {
    store: Arc<dyn SessionStore>,
    memory: Option<Arc<MemoryStore>>,
    settings: OwnerSettings,
}

impl OwnerBuilder {
    /// The largest number of connected clients. The owner refuses further clients. 1,024 by
    /// default.
    #[must_use]
    pub fn max_connections(mut self, connections: NonZeroUsize) -> Self {
        self.settings.max_connections = connections.get();
        self
    }

    /// The largest number of calls of one client that wait for the store at the same time. At the
    /// limit, the owner stops reading from the client until it has answered a call. 1,024 by
    /// default.
    #[must_use]
    pub fn max_in_flight(mut self, calls: NonZeroUsize) -> Self {
        self.settings.max_in_flight = calls.get();
        self
    }

    /// The longest request or reply. 1 MiB by default. The smaller limit of the two sides applies.
    #[must_use]
    pub fn frame_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.settings.frame_bytes = bytes.get();
        self
    }

    /// The longest time until the hello of a client that connected to a path. 5 s by default, from
    /// 1 ms to a day. It does not apply to a stream that was passed to [`Owner::serve`].
    #[must_use]
    pub fn hello_deadline(mut self, deadline: Duration) -> Self {
        self.settings.hello_deadline = deadline;
        self
    }

    /// The longest time for the rest of a frame that a client began, if it connected to a path. 5 s
    /// by default, from 1 ms to a day. It does not apply to a stream that was passed to
    /// [`Owner::serve`].
    #[must_use]
    pub fn frame_deadline(mut self, deadline: Duration) -> Self {
        self.settings.frame_deadline = deadline;
        self
    }

    /// How long a client that does not read may delay a shutdown.
    #[cfg(test)]
    pub(crate) fn drain_deadline(mut self, deadline: Duration) -> Self {
        self.settings.drain_deadline = deadline;
        self
    }

    /// Purges expired sessions about once per interval, in batches of 1,000. Off by default, for
    /// stores that purge by themselves; [`MemoryStore`] does not. Only an owner with its own thread
    /// ([`Owner::spawn_thread`]) purges. With [`Owner::serve`] and [`Owner::listen`] on the caller's
    /// runtime, the caller can purge with [`spawn_sweeper`](session_core::spawn_sweeper).
    #[must_use]
    pub fn sweep(mut self, every: Duration) -> Self {
        self.settings.sweep = Some(every);
        self
    }

    /// Also serves the processes of this user. They also need the right to write to the socket,
    /// which has mode 0600. The operator grants it with a group or an access control list.
    #[must_use]
    pub fn allow_uid(mut self, uid: u32) -> Self {
        self.settings.allowed_uids.push(uid);
        self
    }

    /// Builds the owner. It serves no clients yet.
    ///
    /// # Errors
    /// [`ConfigError::Value`] if the frame limit is below 16 KiB or above 1 GiB, a deadline is
    /// below 1 ms or above a day, or the sweep interval is below 1 ms.
    pub fn build(self) -> Result<Owner, ConfigError> {
        check(&self.settings)?;
        Ok(Owner(Arc::new(OwnerShared::new(self.store, self.memory, self.settings))))
    }
}

fn check(settings: &OwnerSettings) -> Result<(), ConfigError> {
    let frame_bytes = settings.frame_bytes;
    if !(MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(&frame_bytes) {
        let usable = format!("{MIN_FRAME_BYTES} to {MAX_FRAME_BYTES}");
        return Err(ConfigError::Value {
            key: "frame_bytes",
            value: frame_bytes.to_string(),
            usable,
        });
    }
    for (key, deadline) in
        [("hello_deadline", settings.hello_deadline), ("frame_deadline", settings.frame_deadline)]
    {
        if !(MIN_DURATION..=MAX_DEADLINE).contains(&deadline) {
            return Err(ConfigError::Value {
                key,
                value: format!("{deadline:?}"),
                usable: "1 ms to a day".to_owned(),
            });
        }
    }
    match settings.sweep {
        Some(every) if every < MIN_DURATION => Err(ConfigError::Value {
            key: "sweep",
            value: format!("{every:?}"),
            usable: "1 ms or more".to_owned(),
        }),
        _ => Ok(()),
    }
}
