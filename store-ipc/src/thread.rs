//! An owner on a thread of its own.

use std::{
    fmt,
    future::Future,
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
    handover::{Heir, Succession},
    listener::Listener,
    owner::{Owner, Stats},
};

const THREAD_NAME: &str = "session-owner";
/// How many expired sessions one call purges.
const SWEEP_BATCH: usize = 1_000;
/// Connections end within the drain deadline of a second; what is left after this is dropped with
/// the runtime.
const STOP_DEADLINE: Duration = Duration::from_secs(3);

impl Owner {
    /// Gives the owner a thread with a runtime of its own, so that it neither waits for the
    /// caller's work nor delays it.
    ///
    /// The wrapped store is called from that thread. A store whose own tasks need the runtime it
    /// was opened on is better opened there: [`Self::spawn_thread_with`].
    ///
    /// # Errors
    /// [`OwnerError::Thread`] if the operating system gives no thread or no event queue.
    pub fn spawn_thread(self) -> Result<OwnerHandle, OwnerError> {
        Self::spawn_thread_with(|| async { Ok(self) })
    }

    /// The same for a store that is opened on the new thread, by `open`. Blocks until `open` is
    /// done.
    ///
    /// # Errors
    /// [`OwnerError::Open`] with what `open` said, [`OwnerError::Thread`] as above.
    pub fn spawn_thread_with<F, O>(open: F) -> Result<OwnerHandle, OwnerError>
    where
        F: FnOnce() -> O + Send + 'static,
        O: Future<Output = Result<Self, BoxError>>,
    {
        let (tell, told) = mpsc::sync_channel(1);
        let body = move || {
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(tell.send(Err(OwnerError::Thread(error)))),
            };
            runtime.block_on(async {
                match open().await {
                    Ok(owner) => {
                        // Who spawned us waits for it; should that thread be gone, nobody needs the
                        // owner.
                        if tell.send(Ok((owner.clone(), Handle::current()))).is_ok() {
                            live(&owner).await;
                        }
                    }
                    Err(error) => drop(tell.send(Err(OwnerError::Open(error)))),
                }
            });
            // Dropping the runtime would wait for whatever blocks one of its other threads, for
            // however long that takes.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new()
            .name(THREAD_NAME.to_owned())
            .spawn(body)
            .map_err(OwnerError::Thread)?;
        // A thread that ends without a word panicked in `open`.
        let (owner, runtime) =
            told.recv().unwrap_or_else(|_| Err(OwnerError::Open("it panicked".into())))?;
        Ok(OwnerHandle(Arc::new(Inner {
            owner,
            runtime,
            thread: Mutex::new(Some(thread)),
            succession: Mutex::default(),
            heir: OnceLock::new(),
        })))
    }
}

/// The thread's life: until the owner is shut down and its connections are done.
async fn live(owner: &Owner) {
    let shared = owner.shared();
    let _sweeper = shared
        .settings
        .sweep
        .map(|every| spawn_sweeper(Arc::clone(&shared.store), every, SWEEP_BATCH));
    shared.stopped().await;
    shared.handed().await;
    let _ = tokio::time::timeout(STOP_DEADLINE, shared.presence.idle()).await;
}

/// An owner on its own thread. Cloning shares it; when the last clone is dropped, the owner is shut
/// down.
///
/// All calls may be made from any thread and need no runtime.
#[derive(Clone)]
pub struct OwnerHandle(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) owner: Owner,
    pub(crate) runtime: Handle,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Who hands the sessions over, if there is a successor.
    pub(crate) succession: Mutex<Option<Succession>>,
    /// Who takes them over, if there was a predecessor.
    pub(crate) heir: OnceLock<Heir>,
}

impl OwnerHandle {
    /// Serves the client at the other end of `stream` until it leaves, as [`Owner::serve`] does:
    /// its user is not checked and no deadline holds for it. Returns at once. An owner that still
    /// waits for its predecessor has it served there.
    ///
    /// # Errors
    /// [`OwnerError::Stopped`] if the owner is shut down, [`OwnerError::Stream`] if the stream
    /// cannot be made non-blocking.
    pub fn serve(&self, stream: std::os::unix::net::UnixStream) -> Result<(), OwnerError> {
        self.check_running()?;
        stream.set_nonblocking(true).map_err(OwnerError::Stream)?;
        if let Some(heir) = self.0.heir.get() {
            return heir.serve(stream);
        }
        let owner = self.0.owner.clone();
        self.0.runtime.spawn(async move {
            if let Err(error) = owner.serve_std(stream).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a client could not be served"
                );
            }
        });
        Ok(())
    }

    /// Serves every client that connects to the socket at `path`, as [`Owner::listen`] does. When
    /// it returns, clients can connect.
    ///
    /// # Errors
    /// Those of [`Owner::listen`], and [`OwnerError::Waiting`] if the sessions are still with the
    /// predecessor.
    pub fn listen(&self, path: impl AsRef<Path>) -> Result<(), OwnerError> {
        self.check_running()?;
        self.check_owning()?;
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

    /// Stops listening and reading, answers the calls that it began, ends every connection, and
    /// waits for the thread: within about 3 s, unless the wrapped store blocks that thread for
    /// longer. What the store has put on threads of its runtime, as `spawn_blocking` does, is not
    /// waited for; a hand-over that has stopped the calls is, for as long as it may take. Sockets
    /// are removed. A second call does nothing.
    ///
    /// On the owner's own thread it returns at once, and the thread ends when its turn comes.
    pub fn shutdown(&self) {
        self.0.owner.shutdown();
        // The lock is released before the join, so that a call on the owner's thread does not wait
        // for one that waits for it.
        let thread = {
            let own = std::thread::current().id();
            self.0.thread.lock().take_if(|thread| thread.thread().id() != own)
        };
        // A panic on the owner's thread was already reported by the panic hook.
        let _ = thread.map(JoinHandle::join);
    }

    /// What the owner does and did.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.owner.stats()
    }

    pub(crate) fn check_running(&self) -> Result<(), OwnerError> {
        if self.0.owner.shared().is_stopped() { Err(OwnerError::Stopped) } else { Ok(()) }
    }
}

/// The thread is told to end but not waited for: the last handle may go where nothing may block.
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
