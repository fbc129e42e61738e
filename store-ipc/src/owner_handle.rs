//! [`OwnerHandle`]: an owner on its own thread, and its part in a handover.

use std::{
    fmt,
    future::Future,
    os::unix::net::UnixStream,
    path::Path,
    sync::{Arc, OnceLock, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use parking_lot::Mutex;
use session_core::{BoxError, spawn_sweeper};
use tokio::runtime::{Builder, Handle};

use crate::{
    error::OwnerError,
    handover::{HandoverError, HandoverReceiver, HandoverReport, HandoverSender, TakeoverError},
    owner::{Owner, OwnerBuilder, Stats, listener::Listener},
};

const THREAD_NAME: &str = "session-owner";
/// How many expired sessions one call purges.
const SWEEP_BATCH: usize = 1_000;
/// Connections end within the drain deadline of a second. The runtime drops any that are left after
/// this time.
const STOP_DEADLINE: Duration = Duration::from_secs(3);

impl Owner {
    /// Starts a thread with its own runtime for the owner, so that the owner and the caller's tasks
    /// do not delay each other.
    ///
    /// The owner calls the wrapped store from that thread. If the store's own tasks need the
    /// runtime on which the store was opened, use [`Self::spawn_thread_with`].
    ///
    /// # Errors
    /// [`OwnerError::Thread`] if the operating system cannot start a thread or create an event
    /// queue.
    pub fn spawn_thread(self) -> Result<OwnerHandle, OwnerError> {
        Self::spawn_thread_with(|| async { Ok(self) })
    }

    /// Like [`Self::spawn_thread`], for a store that `open` opens on the new thread. Blocks until
    /// `open` has finished.
    ///
    /// # Errors
    /// [`OwnerError::Open`] with the error of `open`, [`OwnerError::Thread`] as above.
    pub fn spawn_thread_with<F, O>(open: F) -> Result<OwnerHandle, OwnerError>
    where
        F: FnOnce() -> O + Send + 'static,
        O: Future<Output = Result<Self, BoxError>>,
    {
        let (started, start) = mpsc::sync_channel(1);
        let body = move || {
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(OwnerError::Thread(error)))),
            };
            runtime.block_on(async {
                match open().await {
                    Ok(owner) => {
                        // The caller waits for this message. If its thread is gone, the owner is
                        // not needed.
                        if started.send(Ok((owner.clone(), Handle::current()))).is_ok() {
                            run_until_stopped(&owner).await;
                        }
                    }
                    Err(error) => drop(started.send(Err(OwnerError::Open(error)))),
                }
            });
            // A plain drop of the runtime would wait for its blocking threads without a limit.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new()
            .name(THREAD_NAME.to_owned())
            .spawn(body)
            .map_err(OwnerError::Thread)?;
        // The channel closes without a message only if `open` panicked.
        let (owner, runtime) =
            start.recv().unwrap_or_else(|_| Err(OwnerError::Open("it panicked".into())))?;
        Ok(OwnerHandle(Arc::new(Inner {
            owner,
            runtime,
            thread: Mutex::new(Some(thread)),
            handover_sender: Mutex::default(),
            handover_receiver: OnceLock::new(),
        })))
    }
}

/// Runs the thread until the owner is shut down and its connections have ended.
async fn run_until_stopped(owner: &Owner) {
    let shared = owner.shared();
    let _sweeper = shared
        .settings
        .sweep
        .map(|every| spawn_sweeper(Arc::clone(&shared.store), every, SWEEP_BATCH));
    shared.stopped().await;
    shared.handover_ended().await;
    let _ = tokio::time::timeout(STOP_DEADLINE, shared.tasks.wait_closed()).await;
}

impl OwnerBuilder {
    /// Starts an owner on its own thread, as [`Owner::spawn_thread`] does, that receives the
    /// sessions of a predecessor. The predecessor is the owner at the other end of `stream`, where
    /// [`OwnerHandle::attach_successor`] takes the stream.
    ///
    /// Until the handover this owner has no sessions. The predecessor serves the clients that are
    /// passed to [`OwnerHandle::serve`], and from the handover on this owner serves them; they do
    /// not notice. [`OwnerHandle::listen`] fails until then. [`OwnerHandle::wait_for_handover`]
    /// returns the outcome. If the predecessor ends before it has handed over everything, this
    /// owner shuts down and closes all its clients. So a client is never served from an empty
    /// store.
    ///
    /// Both processes must see the same `CLOCK_BOOTTIME`. Processes in different time namespaces do
    /// not.
    ///
    /// # Errors
    /// [`OwnerError::NotInMemory`] if the builder does not come from [`Owner::memory`],
    /// [`OwnerError::Open`] with a [`ConfigError`](crate::ConfigError) if a setting is not valid,
    /// [`OwnerError::Thread`] if the operating system cannot start a thread.
    pub fn build_successor(self, stream: UnixStream) -> Result<OwnerHandle, OwnerError> {
        let owner = self.build().map_err(|error| OwnerError::Open(error.into()))?;
        let Some(memory) = owner.shared().memory.clone() else {
            return Err(OwnerError::NotInMemory);
        };
        let shared = Arc::clone(owner.shared());
        let handle = owner.spawn_thread()?;
        let receiver = HandoverReceiver::spawn(&handle.0.runtime, shared, memory, stream);
        // The handle is not shared yet, so the cell is empty and no caller has read it.
        let _ = handle.0.handover_receiver.set(receiver);
        Ok(handle)
    }
}

/// An owner on its own thread. Clones share it. Dropping the last clone shuts the owner down.
///
/// All methods can be called from any thread and need no runtime.
#[derive(Clone)]
pub struct OwnerHandle(Arc<Inner>);

struct Inner {
    owner: Owner,
    runtime: Handle,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Set while a successor is attached.
    handover_sender: Mutex<Option<HandoverSender>>,
    /// Set if the owner has a predecessor.
    handover_receiver: OnceLock<HandoverReceiver>,
}

impl OwnerHandle {
    /// Serves the client at the other end of `stream` until it leaves, as [`Owner::serve`] does:
    /// without a check of its user and without deadlines. Returns at once. If the owner waits for a
    /// handover, the predecessor serves the client until then.
    ///
    /// # Errors
    /// [`OwnerError::Stopped`] if the owner is shut down, [`OwnerError::Stream`] if the stream
    /// cannot be made non-blocking.
    pub fn serve(&self, stream: UnixStream) -> Result<(), OwnerError> {
        self.check_running()?;
        stream.set_nonblocking(true).map_err(OwnerError::Stream)?;
        if let Some(receiver) = self.0.handover_receiver.get() {
            return receiver.serve(stream);
        }
        let owner = self.0.owner.clone();
        self.0.runtime.spawn(async move {
            if let Err(error) = owner.serve_std(stream).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "could not serve a client"
                );
            }
        });
        Ok(())
    }

    /// Serves every client that connects to the socket at `path`, as [`Owner::listen`] does. After
    /// it returns, clients can connect.
    ///
    /// # Errors
    /// Those of [`Owner::listen`], and [`OwnerError::AwaitingHandover`] if the predecessor still
    /// has the sessions.
    pub fn listen(&self, path: impl AsRef<Path>) -> Result<(), OwnerError> {
        self.check_running()?;
        self.check_has_sessions()?;
        let listener = Listener::bind(path.as_ref())?;
        let shared = Arc::clone(self.0.owner.shared());
        self.0.runtime.spawn(async move {
            if let Err(error) = listener.run(shared).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the owner stopped listening"
                );
            }
        });
        Ok(())
    }

    /// Attaches a successor: the process at the other end of `stream`, which calls
    /// [`OwnerBuilder::build_successor`] with that end. Returns at once.
    ///
    /// From now on this owner also serves the clients that the successor forwards, as
    /// [`Self::serve`] does. If the successor ends, its forwarded clients are closed; there is no
    /// other effect. Attaching another successor ends the former one in the same way.
    ///
    /// # Errors
    /// [`OwnerError::NotInMemory`] if the owner was not built with [`Owner::memory`],
    /// [`OwnerError::AwaitingHandover`] if the owner itself waits for a handover,
    /// [`OwnerError::Stopped`] if it is shut down.
    pub fn attach_successor(&self, stream: UnixStream) -> Result<(), OwnerError> {
        self.check_running()?;
        self.check_has_sessions()?;
        let owner = Arc::clone(self.0.owner.shared());
        let Some(memory) = owner.memory.clone() else { return Err(OwnerError::NotInMemory) };
        let sender = HandoverSender::spawn(&self.0.runtime, owner, memory, stream);
        // Replaces the former sender, whose drop ends its task.
        *self.0.handover_sender.lock() = Some(sender);
        Ok(())
    }

    /// Hands the sessions over to the successor and shuts this owner down.
    ///
    /// The successor may take `time_limit` to prepare. No call waits for that. Then the transfer
    /// may take `time_limit` again, and calls wait meanwhile. Choose a generous limit: if the
    /// transfer exceeds it, the sessions are lost. Call this method after the clients of this
    /// process have left. Clients that have not left, and those that connected to a path, are
    /// closed as by [`Self::shutdown`].
    ///
    /// Forwarded clients notice a pause only. This owner answers their calls in flight, later calls
    /// wait, and the successor continues with the bytes that they have written. The pause counts
    /// towards their own deadlines.
    ///
    /// Everything that this owner has acknowledged is handed over. The application must not write
    /// to the store in another way than through an owner: such writes are not held up.
    ///
    /// # Errors
    /// [`HandoverError`] says which owner serves afterwards. Two owners never serve at the same
    /// time.
    ///
    /// # Cancel safety
    /// If the future is dropped, the handover continues and its outcome is lost.
    pub async fn handover(&self, time_limit: Duration) -> Result<HandoverReport, HandoverError> {
        if self.check_running().is_err() {
            return Err(HandoverError::Stopped);
        }
        let sender = self.0.handover_sender.lock().clone();
        let Some(sender) = sender else { return Err(HandoverError::NoSuccessor(None)) };
        sender.handover(time_limit).await.unwrap_or_else(|_task_ended| {
            if self.check_running().is_err() {
                Err(HandoverError::Stopped)
            } else {
                Err(HandoverError::NoSuccessor(None))
            }
        })
    }

    /// Waits until the predecessor has handed over its sessions and this owner serves them. Returns
    /// at once if the owner has no predecessor.
    ///
    /// The predecessor decides when the handover begins, so there is no time limit until then.
    ///
    /// # Errors
    /// [`TakeoverError`]: the sessions will not arrive, and this owner is shut down.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect. The method can be called again, also by several callers
    /// at once.
    pub async fn wait_for_handover(&self) -> Result<(), TakeoverError> {
        match self.0.handover_receiver.get() {
            Some(receiver) => receiver.wait().await,
            None => Ok(()),
        }
    }

    /// Stops listening and reading, answers the calls in progress, closes every connection, and
    /// waits for the thread: at most about 3 s, unless the wrapped store blocks that thread for
    /// longer. The owner removes its sockets. A second call has no effect.
    ///
    /// It does not wait for other threads of the runtime on which the store runs work, for example
    /// with `spawn_blocking`. If a handover has stopped the calls already, it waits for the end of
    /// the handover.
    ///
    /// On the owner's own thread this method returns at once, and the thread ends later.
    pub fn shutdown(&self) {
        self.0.owner.shutdown();
        // The lock is released before the join. Otherwise a call on the owner's thread would wait
        // for a call that waits for this thread.
        let thread = {
            let current = std::thread::current().id();
            self.0.thread.lock().take_if(|thread| thread.thread().id() != current)
        };
        // The panic hook has reported any panic of the owner's thread.
        let _ = thread.map(JoinHandle::join);
    }

    /// The owner's counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.owner.stats()
    }

    fn check_running(&self) -> Result<(), OwnerError> {
        if self.0.owner.shared().is_stopped() { Err(OwnerError::Stopped) } else { Ok(()) }
    }

    /// Fails while the predecessor still has the sessions.
    fn check_has_sessions(&self) -> Result<(), OwnerError> {
        match self.0.handover_receiver.get() {
            Some(receiver) if !receiver.has_taken_over() => Err(OwnerError::AwaitingHandover),
            _ => Ok(()),
        }
    }
}

/// Tells the thread to end and does not wait for it, because the last handle may be dropped in a
/// context that must not block.
impl Drop for Inner {
    fn drop(&mut self) {
        self.owner.shutdown();
    }
}

impl fmt::Debug for OwnerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnerHandle").field(&self.0.owner).finish()
    }
}
