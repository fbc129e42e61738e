//! The process that owns the sessions.

use std::{
    fmt,
    num::NonZeroUsize,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use session_core::{MemoryStore, SessionStore};
use tokio::{net::UnixStream, sync::watch};

use crate::{
    config::{FRAME_BYTES, LEAST_FRAME_BYTES, MOST_FRAME_BYTES},
    error::{ConfigError, OwnerError},
    listener::Listener,
    presence::{Place, Presence},
    serve::{Origin, serve},
};

/// The least that a deadline or a pause may be: what a timer can tell apart.
const LEAST_TIME: Duration = Duration::from_millis(1);
/// The most that a deadline may be, so that no clock overflows on it.
const MOST_DEADLINE: Duration = Duration::from_secs(86_400);

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
pub struct Owner(Arc<Shared>);

/// What all of an owner's tasks share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn SessionStore>,
    pub(crate) settings: Settings,
    /// The store once more if it is one whose sessions can be handed over.
    pub(crate) memory: Option<Arc<MemoryStore>>,
    stop: watch::Sender<bool>,
    /// Whether the sessions are being handed over, which the end of the thread waits for.
    handing: watch::Sender<bool>,
    pub(crate) presence: Arc<Presence>,
    requests: AtomicU64,
    refused: AtomicU64,
    cut_off: AtomicU64,
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) max_connections: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) frame_bytes: usize,
    pub(crate) hello_deadline: Duration,
    pub(crate) frame_deadline: Duration,
    pub(crate) drain_deadline: Duration,
    pub(crate) sweep: Option<Duration>,
    pub(crate) allowed_uids: Vec<u32>,
}

impl Owner {
    /// An owner of the sessions in `store`.
    #[must_use]
    pub fn builder(store: Arc<dyn SessionStore>) -> OwnerBuilder {
        OwnerBuilder {
            store,
            memory: None,
            settings: Settings {
                max_connections: 1_024,
                max_in_flight: 1_024,
                frame_bytes: FRAME_BYTES,
                hello_deadline: Duration::from_secs(5),
                frame_deadline: Duration::from_secs(5),
                drain_deadline: Duration::from_secs(1),
                sweep: None,
                allowed_uids: Vec::new(),
            },
        }
    }

    /// An owner of sessions in memory, which it can hand over to a successor:
    /// [`OwnerHandle::hand_over`](crate::OwnerHandle::hand_over).
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
        serve(Arc::clone(&self.0), stream, Origin::Given).await
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
        let shared = &*self.0;
        Stats {
            connections: shared.presence.connections(),
            requests: shared.requests.load(Ordering::Relaxed),
            refused: shared.refused.load(Ordering::Relaxed),
            cut_off: shared.cut_off.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
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

/// What an owner does and did since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The clients that are connected now.
    pub connections: usize,
    /// The requests that were read.
    pub requests: u64,
    /// The clients that were refused: of another user, or one too many.
    pub refused: u64,
    /// The clients that were cut off because of what they sent or did not send.
    pub cut_off: u64,
}

/// The settings of an [`Owner`].
#[derive(Debug, Clone)]
pub struct OwnerBuilder {
    store: Arc<dyn SessionStore>,
    memory: Option<Arc<MemoryStore>>,
    settings: Settings,
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
        self.settings.check()?;
        Ok(Owner(Arc::new(Shared {
            store: self.store,
            settings: self.settings,
            memory: self.memory,
            stop: watch::Sender::new(false),
            handing: watch::Sender::new(false),
            presence: Arc::default(),
            requests: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            cut_off: AtomicU64::new(0),
        })))
    }
}

impl Settings {
    fn check(&self) -> Result<(), ConfigError> {
        let frame_bytes = self.frame_bytes;
        if !(LEAST_FRAME_BYTES..=MOST_FRAME_BYTES).contains(&frame_bytes) {
            let usable = format!("{LEAST_FRAME_BYTES} to {MOST_FRAME_BYTES}");
            return Err(ConfigError::Value {
                key: "frame_bytes",
                value: frame_bytes.to_string(),
                usable,
            });
        }
        for (key, deadline) in
            [("hello_deadline", self.hello_deadline), ("frame_deadline", self.frame_deadline)]
        {
            if !(LEAST_TIME..=MOST_DEADLINE).contains(&deadline) {
                return Err(ConfigError::Value {
                    key,
                    value: format!("{deadline:?}"),
                    usable: "1 ms to a day".to_owned(),
                });
            }
        }
        match self.sweep {
            Some(every) if every < LEAST_TIME => Err(ConfigError::Value {
                key: "sweep",
                value: format!("{every:?}"),
                usable: "1 ms or more".to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

impl Shared {
    pub(crate) fn shutdown(&self) {
        self.stop.send_replace(true);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits until the owner is shut down.
    pub(crate) async fn stopped(&self) {
        // The sender is in `self`, so the channel is never closed here.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// A place for one more connection, if there is one and the owner is not shut down.
    pub(crate) fn enter_connection(&self) -> Option<Place> {
        let Some(place) = self.presence.enter_connection(self.settings.max_connections) else {
            self.counted_refusal();
            return None;
        };
        self.still_running(place)
    }

    /// A place for a connection that another owner admitted; no cap holds for it.
    pub(crate) fn enter_resumed(&self) -> Option<Place> {
        self.still_running(self.presence.enter_resumed())
    }

    /// Shuts the owner down, and keeps its thread alive as long as the guard lives.
    pub(crate) fn stop_for_handing(self: &Arc<Self>) -> Handing {
        self.handing.send_replace(true);
        self.stop.send_replace(true);
        Handing(Arc::clone(self))
    }

    /// Waits until nothing is being handed over.
    pub(crate) async fn handed(&self) {
        let _ = self.handing.subscribe().wait_for(|handing| !*handing).await;
    }

    /// A place for a listener.
    pub(crate) fn enter_listener(&self) -> Option<Place> {
        self.still_running(self.presence.enter_listener())
    }

    /// Counted before it is looked: who stops the owner, and then finds nobody there, knows that
    /// nobody comes.
    fn still_running(&self, place: Place) -> Option<Place> {
        (!self.is_stopped()).then_some(place)
    }

    pub(crate) fn counted_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counted_refusal(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counted_cut_off(&self) {
        self.cut_off.fetch_add(1, Ordering::Relaxed);
    }
}

/// That the sessions are being handed over; dropping it ends that.
pub(crate) struct Handing(Arc<Shared>);

impl Drop for Handing {
    fn drop(&mut self) {
        self.0.handing.send_replace(false);
    }
}
