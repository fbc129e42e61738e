//! The successor's side.

use std::{
    collections::HashMap, os::unix::net::UnixStream as StdUnixStream, sync::Arc, time::Duration,
};

use session_core::MemoryStore;
use tokio::{
    net::UnixStream,
    sync::{mpsc, watch},
    time::timeout,
};

use super::{
    error::TakeoverError,
    guest::Severed,
    message::Message,
    succession::boot_time,
    wire::{Side, Wire, WireError},
};
use crate::{
    config::{LEAST_FRAME_BYTES, MOST_FRAME_BYTES},
    error::OwnerError,
    owner::{OwnerBuilder, Shared},
    serve::{Connection, Residue, attend},
    thread::OwnerHandle,
};

/// What the predecessor may take beyond the time that it set itself, which it then has given up.
const GRACE: Duration = Duration::from_secs(1);
/// The most bytes of one direction of a client: a whole frame and what was read with it, twice
/// over.
const MOST_RESIDUE_BYTES: usize = 2 * MOST_FRAME_BYTES;

type Outcome = Option<Result<(), TakeoverError>>;

/// An owner's expectation of what its predecessor holds.
pub(crate) struct Heir {
    clients: mpsc::UnboundedSender<StdUnixStream>,
    outcome: watch::Receiver<Outcome>,
}

impl Heir {
    /// Has a client served: by the predecessor for now, from the hand-over on here.
    pub(crate) fn serve(&self, client: StdUnixStream) -> Result<(), OwnerError> {
        self.clients.send(client).map_err(|_| OwnerError::Stopped)
    }

    fn has_taken_over(&self) -> bool {
        matches!(*self.outcome.borrow(), Some(Ok(())))
    }
}

impl OwnerBuilder {
    /// Starts an owner on a thread of its own, as
    /// [`Owner::spawn_thread`](crate::Owner::spawn_thread) does, that waits for the sessions of its
    /// predecessor: the owner at the other end of `stream`, to which it was given with
    /// [`OwnerHandle::succession`].
    ///
    /// Until then it owns nothing. Clients that are given to [`OwnerHandle::serve`] are served by
    /// the predecessor, and by this owner from the hand-over on, without noticing;
    /// [`OwnerHandle::listen`] is refused. [`OwnerHandle::takeover`] tells what comes of it. If the
    /// predecessor ends before it has handed over everything, this owner shuts down and closes all
    /// its clients: nobody is served an empty store.
    ///
    /// Both processes must see the same `CLOCK_BOOTTIME`, which those in different time namespaces
    /// do not.
    ///
    /// # Errors
    /// [`OwnerError::NotInMemory`] if the builder is not that of
    /// [`Owner::memory`](crate::Owner::memory), [`OwnerError::Open`] with a
    /// [`ConfigError`](crate::ConfigError) if a setting does not fit, [`OwnerError::Thread`] if the
    /// operating system gives no thread.
    pub fn succeed(self, stream: StdUnixStream) -> Result<OwnerHandle, OwnerError> {
        let owner = self.build().map_err(|error| OwnerError::Open(error.into()))?;
        let Some(memory) = owner.shared().memory.clone() else {
            return Err(OwnerError::NotInMemory);
        };
        let shared = Arc::clone(owner.shared());
        let handle = owner.spawn_thread()?;
        let (clients, given) = mpsc::unbounded_channel();
        let (tell, outcome) = watch::channel(None);
        // Nobody else has the handle yet, so nobody has set it or asked for it.
        let _ = handle.0.heir.set(Heir { clients, outcome });
        handle.0.runtime.spawn(run(shared, memory, stream, given, tell));
        Ok(handle)
    }
}

impl OwnerHandle {
    /// Waits until the predecessor has handed over its sessions and this owner serves them. At once
    /// for one that had no predecessor.
    ///
    /// How long the predecessor serves on is its own matter, so this has no limit of time before
    /// the hand-over begins.
    ///
    /// # Errors
    /// [`TakeoverError`]: the sessions will not come, and this owner is shut down.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing; it may be asked again, and by several callers.
    pub async fn takeover(&self) -> Result<(), TakeoverError> {
        let Some(heir) = self.0.heir.get() else { return Ok(()) };
        let mut outcome = heir.outcome.clone();
        // The task is gone without a word if its thread was shut down first.
        let told = outcome.wait_for(Option::is_some).await;
        told.ok().and_then(|told| told.clone()).unwrap_or(Err(TakeoverError::Stopped))
    }

    /// Whether the sessions are here and not with a predecessor.
    pub(crate) fn check_owning(&self) -> Result<(), OwnerError> {
        match self.0.heir.get() {
            Some(heir) if !heir.has_taken_over() => Err(OwnerError::Waiting),
            _ => Ok(()),
        }
    }
}

/// The task of an owner that succeeds another: waits for the sessions, then serves whoever it is
/// given.
async fn run(
    owner: Arc<Shared>,
    memory: Arc<MemoryStore>,
    stream: StdUnixStream,
    mut given: mpsc::UnboundedReceiver<StdUnixStream>,
    tell: watch::Sender<Outcome>,
) {
    let taken_over = tokio::select! {
        taken_over = take_over(&owner, &memory, stream, &mut given) => taken_over,
        () = owner.stopped() => Err(TakeoverError::Stopped),
    };
    let mut wire = match taken_over {
        Ok(wire) => wire,
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the predecessor's sessions did not come; the owner is shut down"
            );
            // Before the word is out, so that whoever hears it finds an owner that takes no client.
            owner.shutdown();
            tell.send_replace(Some(Err(error)));
            return;
        }
    };
    tell.send_replace(Some(Ok(())));
    if let Err(error) = wire.send(&Message::Serving).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the predecessor was not told that its successor serves"
        );
    }
    drop(wire);
    loop {
        let client = tokio::select! {
            client = given.recv() => client,
            () = owner.stopped() => None,
        };
        let Some(client) = client else { return };
        let owner = Arc::clone(&owner);
        tokio::spawn(async move {
            let served = match UnixStream::from_std(client) {
                Ok(client) => crate::serve::serve(owner, client, crate::serve::Origin::Given).await,
                Err(error) => Err(OwnerError::Stream(error)),
            };
            if let Err(error) = served {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a client could not be served"
                );
            }
        });
    }
}

/// Ends when this owner serves the guests. Dropped or failed before, it has closed them.
pub(super) async fn take_over(
    owner: &Arc<Shared>,
    memory: &MemoryStore,
    stream: StdUnixStream,
    given: &mut mpsc::UnboundedReceiver<StdUnixStream>,
) -> Result<Wire, TakeoverError> {
    let wire = Wire::open(stream, Side::Successor).await?;
    let mut successor = Successor { wire, guests: HashMap::new(), named: 0 };
    let within = successor.wait(given).await?;
    let received =
        timeout(within.saturating_mul(2).saturating_add(GRACE), successor.receive(memory)).await;
    let residues = received.unwrap_or(Err(TakeoverError::Late(within)))?;
    Ok(successor.resume(owner, residues))
}

/// One succession at the successor. Dropping it closes all guests.
struct Successor {
    wire: Wire,
    guests: HashMap<u64, Severed>,
    /// How many guests ever were.
    named: u64,
}

impl Successor {
    /// Sends guests until the predecessor prepares to hand over, and says how long that may take.
    async fn wait(
        &mut self,
        given: &mut mpsc::UnboundedReceiver<StdUnixStream>,
    ) -> Result<Duration, TakeoverError> {
        loop {
            tokio::select! {
                // Whoever was given before the predecessor prepares is a guest.
                biased;
                Some(client) = given.recv() => {
                    let client = Severed::new(client);
                    self.named += 1;
                    if let Some(stream) = client.stream() {
                        self.wire.send_guest(self.named, stream).await?;
                    }
                    self.guests.insert(self.named, client);
                }
                message = self.wire.receive() => match message?.map(|(message, _)| message) {
                    Some(Message::Prepare(within)) => {
                        self.wire.send(&Message::Prepared).await?;
                        return Ok(within);
                    }
                    Some(_) => return Err(WireError::Unexpected("a hand-over begins with its preparation").into()),
                    None => return Err(TakeoverError::Lost(None)),
                },
            }
        }
    }

    /// Takes everything in, and returns when the predecessor lets this owner serve.
    async fn receive(
        &mut self,
        memory: &MemoryStore,
    ) -> Result<Vec<(Severed, Residue)>, TakeoverError> {
        let Message::Snapshot { taken_at, stamp } = self.next().await? else {
            return Err(WireError::Unexpected("a snapshot begins with its time").into());
        };
        if stamp > boot_time() {
            return Err(WireError::Unexpected(
                "a snapshot of the future; both processes must share one clock",
            )
            .into());
        }
        let mut import = memory.import(taken_at, || boot_time().saturating_sub(stamp));
        let (mut came, mut residues) = (0, Vec::new());
        loop {
            match self.next().await? {
                Message::Sessions(sessions) => {
                    for session in sessions {
                        import.add(session).map_err(WireError::from)?;
                        came += 1;
                    }
                }
                Message::Connection { guest, request_bytes, reply_bytes } => {
                    let client = self
                        .guests
                        .remove(&guest)
                        .ok_or(WireError::Unexpected("a connection of a guest that is none"))?;
                    let (unread, unwritten) = (Vec::new(), Vec::new());
                    let (request_bytes, reply_bytes) =
                        (frame_bytes(request_bytes)?, reply_bytes.map(frame_bytes).transpose()?);
                    residues
                        .push((client, Residue { request_bytes, reply_bytes, unread, unwritten }));
                }
                Message::Unread(bytes) => {
                    extend(residues.last_mut().map(|(_, residue)| &mut residue.unread), &bytes)?
                }
                Message::Unwritten(bytes) => {
                    extend(residues.last_mut().map(|(_, residue)| &mut residue.unwritten), &bytes)?
                }
                Message::End { sessions, connections } => {
                    if (sessions, connections) != (came, residues.len() as u64) {
                        return Err(
                            WireError::Unexpected("the end of other sessions than came").into()
                        );
                    }
                    break;
                }
                _ => return Err(WireError::Unexpected("sessions and connections come now").into()),
            }
        }
        self.wire.send(&Message::Imported).await?;
        match self.next().await? {
            Message::Go => {}
            _ => return Err(WireError::Unexpected("the successor is to be let go now").into()),
        }
        tracing::info!(
            sessions = import.sessions(),
            expired = import.expired(),
            connections = residues.len(),
            "the sessions were taken over"
        );
        Ok(residues)
    }

    async fn next(&mut self) -> Result<Message, TakeoverError> {
        let message = self.wire.receive().await?;
        message.map(|(message, _)| message).ok_or(TakeoverError::Lost(None))
    }

    /// Serves the guests from here on. Those that the predecessor did not name had ended there.
    fn resume(self, owner: &Arc<Shared>, residues: Vec<(Severed, Residue)>) -> Wire {
        for (client, residue) in residues {
            let Some(place) = owner.enter_resumed() else { break };
            let Some(client) = client.keep() else { continue };
            match UnixStream::from_std(client) {
                Ok(stream) => {
                    let connection = Connection::resume(Arc::clone(owner), stream, residue);
                    let owner = Arc::clone(owner);
                    tokio::spawn(async move {
                        attend(&owner, connection, place).await;
                    });
                }
                Err(error) => tracing::warn!(%error, "a client could not be taken over"),
            }
        }
        self.wire
    }
}

fn frame_bytes(bytes: u64) -> Result<usize, WireError> {
    let usable = usize::try_from(bytes)
        .ok()
        .filter(|bytes| (LEAST_FRAME_BYTES..=MOST_FRAME_BYTES).contains(bytes));
    usable.ok_or(WireError::Unexpected("a connection with frames of a length that there is not"))
}

fn extend(residue: Option<&mut Vec<u8>>, bytes: &[u8]) -> Result<(), WireError> {
    let residue = residue.ok_or(WireError::Unexpected("bytes of no connection"))?;
    if residue.len() + bytes.len() > MOST_RESIDUE_BYTES {
        return Err(WireError::Unexpected("more bytes of a connection than there can be"));
    }
    residue.extend_from_slice(bytes);
    Ok(())
}

impl From<WireError> for TakeoverError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Io(error) => Self::Lost(Some(Arc::new(error))),
            WireError::Ended => Self::Lost(None),
            other => Self::Refused(Arc::new(other)),
        }
    }
}
