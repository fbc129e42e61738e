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

/// The least that a deadline or a pause may be: what a timer can tell apart.
const MIN_DURATION: Duration = Duration::from_millis(1);
/// The most that a deadline may be, so that no clock overflows on it.
const MAX_DEADLINE: Duration = Duration::from_secs(86_400);

/// Serves any [`SessionStore`] to other processes. Cloning shares it.
///
/// [`spawn_thread`](Self::spawn_thread) gives it a thread and a runtime of its own, which is what a
/// process manager wants; [`serve`](Self::serve) and [`listen`](Self::listen) run on the caller's
/// runtime instead.
///
/// # What a client cannot do
/// Harm the others: a frame over the cap, bytes that are no request, and, of a client that
/// connected to a path, a hello or frame that stays unfinished end its connection with a warning in
/// the log, in which there is no key. A client that does not read its replies is not read any more
/// once 512 KiB of them wait, and one with too many calls in flight waits; neither costs the owner
/// more memory, nor the others their turn.
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

    /// An owner of sessions in memory, which it can hand over to a successor:
    /// [`OwnerHandle::handover`](crate::OwnerHandle::handover).
    #[must_use]
    pub fn memory(store: Arc<MemoryStore>) -> OwnerBuilder {
        OwnerBuilder { memory: Some(Arc::clone(&store)), ..Self::builder(store) }
    }

    /// Serves one client until it leaves or the owner is shut down.
    ///
    /// Its user is not checked: whoever holds the other end may use it. No deadline holds either,
    /// so a client that is idle before its first call, or blocked in the middle of one, keeps its
    /// connection, which it could not make again.
    ///
    /// # Errors
    /// [`OwnerError::Stopped`] if the owner is shut down already. What a client does wrong ends its
    /// connection and is no error.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection; calls in flight may or may not have landed.
    pub async fn serve(&self, stream: UnixStream) -> Result<(), OwnerError> {
        serve(Arc::clone(&self.0), stream, ClientOrigin::Provided).await
    }

    /// The same for a stream of the standard library, such as one end of a socket pair.
    ///
    /// # Errors
    /// [`OwnerError::Stopped`] if the owner is shut down already, [`OwnerError::Stream`] if tokio
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
    /// The socket has mode 0600, and only this process's user and those of
    /// [`OwnerBuilder::allow_uid`] are served. A lock on `path` with `.lock` behind it says that
    /// the owner lives: the kernel drops it with the process, so the socket of a dead owner is
    /// replaced and that of a living one, even a frozen one, never. The socket is removed when
    /// listening ends; the lock's empty file stays.
    ///
    /// # Errors
    /// [`OwnerError::AddressInUse`] if another owner serves `path`, [`OwnerError::NotASocket`] if
    /// something else lies there, [`OwnerError::Bind`] if the socket cannot be made,
    /// [`OwnerError::Stopped`] if the owner is shut down already.
    ///
    /// # Cancel safety
    /// Dropping the future ends the listening; clients that are connected stay.
    pub async fn listen(&self, path: impl AsRef<Path>) -> Result<(), OwnerError> {
        Listener::bind(path.as_ref())?.run(Arc::clone(&self.0)).await
    }

    /// Stops listening and reading, answers the calls that it began, and ends every connection
    /// within a second. Returns at once.
    pub fn shutdown(&self) {
        self.0.shutdown();
    }

    /// What it does and did.
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
    /// How many clients may be connected at once; one more is refused. 1,024 by default.
    #[must_use]
    pub fn max_connections(mut self, connections: NonZeroUsize) -> Self {
        self.settings.max_connections = connections.get();
        self
    }

    /// How many calls of one client may wait for the store at once; then it is not read until one
    /// is answered. 1,024 by default.
    #[must_use]
    pub fn max_in_flight(mut self, calls: NonZeroUsize) -> Self {
        self.settings.max_in_flight = calls.get();
        self
    }

    /// The longest request or reply. 1 MiB by default; of the two sides' caps the smaller counts.
    #[must_use]
    pub fn frame_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.settings.frame_bytes = bytes.get();
        self
    }

    /// How long a client that connected to a path may take for its hello. 5 s by default; from 1 ms
    /// to a day. None holds for a stream that was given to [`Owner::serve`].
    #[must_use]
    pub fn hello_deadline(mut self, deadline: Duration) -> Self {
        self.settings.hello_deadline = deadline;
        self
    }

    /// How long a client that connected to a path may take for the rest of a frame that it began. 5
    /// s by default; from 1 ms to a day. None holds for a stream that was given to
    /// [`Owner::serve`].
    #[must_use]
    pub fn frame_deadline(mut self, deadline: Duration) -> Self {
        self.settings.frame_deadline = deadline;
        self
    }

    /// How long a client that does not read may hold up the end.
    #[cfg(test)]
    pub(crate) fn drain_deadline(mut self, deadline: Duration) -> Self {
        self.settings.drain_deadline = deadline;
        self
    }

    /// Purges expired sessions about once in `every`, in batches of 1,000. Off by default, for
    /// stores that purge by themselves; [`MemoryStore`](session_core::MemoryStore) does not. It
    /// needs the thread of [`Owner::spawn_thread`]; beside [`Owner::serve`] and [`Owner::listen`]
    /// on the caller's runtime nothing is purged, unless by the caller with
    /// [`spawn_sweeper`](session_core::spawn_sweeper).
    #[must_use]
    pub fn sweep(mut self, every: Duration) -> Self {
        self.settings.sweep = Some(every);
        self
    }

    /// Serves the processes of this user as well. They also need the right to write to the socket,
    /// which is made with mode 0600: the operator widens it, by a group or an access control list.
    #[must_use]
    pub fn allow_uid(mut self, uid: u32) -> Self {
        self.settings.allowed_uids.push(uid);
        self
    }

    /// The owner. It serves nobody yet.
    ///
    /// # Errors
    /// [`ConfigError::Value`] if the frame's cap is below 16 KiB or above 1 GiB, a deadline below a
    /// millisecond or above a day, or the time between sweeps below a millisecond.
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
