//! The predecessor's side.

use std::{os::unix::net::UnixStream as StdUnixStream, sync::Arc, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use session_core::MemoryStore;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use super::{
    error::{HandOverError, Late},
    guest::Guest,
    message::Message,
    wire::{Side, Wire, WireError},
};
use crate::{
    error::OwnerError,
    owner::{Handing, Shared},
    serve::Residue,
    thread::OwnerHandle,
};

/// About how many bytes of sessions, or of a client, go into one message.
const BATCH_BYTES: usize = 256 * 1024;
/// How long the successor may always take to say that it serves, even if the time for the whole is
/// over.
const LAST_WORD: Duration = Duration::from_secs(1);
/// The most that a hand-over may take, so that no clock overflows on it.
const LONGEST: Duration = Duration::from_secs(86_400);

/// What was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandedOver {
    /// The sessions that were alive.
    pub sessions: u64,
    /// The successor's clients, which go on where they were.
    pub connections: usize,
    /// How long calls waited: from when this owner stopped until the successor served.
    pub took: Duration,
}

/// A successor that serves through this owner until it has the sessions. Dropping it ends that,
/// unless a hand-over has begun.
pub(crate) struct Succession(mpsc::Sender<Order>);

struct Order {
    within: Duration,
    answer: oneshot::Sender<Result<HandedOver, HandOverError>>,
}

impl OwnerHandle {
    /// Names a successor: the process at the other end of `stream`, which was made with
    /// [`OwnerBuilder::succeed`](crate::OwnerBuilder::succeed). Returns at once.
    ///
    /// From now on this owner serves the successor's clients as well, its *guests*, as
    /// [`Self::serve`] does. If the successor ends, they are closed and nothing else happens. A new
    /// succession ends the former in the same way.
    ///
    /// # Errors
    /// [`OwnerError::NotInMemory`] if the owner was not made with
    /// [`Owner::memory`](crate::Owner::memory), [`OwnerError::Waiting`] if it waits for a
    /// predecessor itself, [`OwnerError::Stopped`] if it is shut down.
    pub fn succession(&self, stream: StdUnixStream) -> Result<(), OwnerError> {
        self.check_running()?;
        self.check_owning()?;
        let owner = Arc::clone(self.0.owner.shared());
        let Some(memory) = owner.memory.clone() else { return Err(OwnerError::NotInMemory) };
        let (give, orders) = mpsc::channel(1);
        // The former one ends with its sender.
        *self.0.succession.lock() = Some(Succession(give));
        self.0.runtime.spawn(run(owner, memory, stream, orders));
        Ok(())
    }

    /// Hands the sessions over to the successor, and shuts this owner down. The successor may take
    /// `within` to prepare, which costs nobody anything, and then all of them have to be there
    /// `within` the same time again, in which calls wait; give it plenty, because what is too late
    /// is lost. To be called when this process's own clients have left: those that have not, and
    /// those that connected to a path, are closed as by [`Self::shutdown`].
    ///
    /// Guests notice nothing: their calls in flight are answered, those that they make from then on
    /// wait, and the successor goes on with whatever they have written. Their waiting counts for
    /// their own deadlines.
    ///
    /// All that was acknowledged through this owner is handed over. Writes to the store by other
    /// ways than an owner are not held up; there must be none.
    ///
    /// # Errors
    /// See [`HandOverError`], which says who serves afterwards. At no time do two owners serve.
    ///
    /// # Cancel safety
    /// A hand-over whose future is dropped goes on to its end, and what came of it is lost.
    pub async fn hand_over(&self, within: Duration) -> Result<HandedOver, HandOverError> {
        if self.check_running().is_err() {
            return Err(HandOverError::Stopped);
        }
        let orders = self.0.succession.lock().as_ref().map(|succession| succession.0.clone());
        let Some(orders) = orders else { return Err(HandOverError::NoSuccessor(None)) };
        let (answer, mut answered) = oneshot::channel();
        let lost = || {
            if self.check_running().is_err() {
                HandOverError::Stopped
            } else {
                HandOverError::NoSuccessor(None)
            }
        };
        // The task has one place for an order, and takes it or ends.
        orders.send(Order { within: within.min(LONGEST), answer }).await.map_err(|_| lost())?;
        tokio::select! {
            biased;
            answered = &mut answered => answered.map_err(|_| lost())?,
            // An order that was sent while the task ended lies in the channel for ever. The task's
            // last word comes before its end.
            () = orders.closed() => answered.try_recv().map_err(|_| lost())?,
        }
    }
}

/// The task of one succession.
async fn run(
    owner: Arc<Shared>,
    memory: Arc<MemoryStore>,
    stream: StdUnixStream,
    mut orders: mpsc::Receiver<Order>,
) {
    let served = async {
        let wire = Wire::open(stream, Side::Predecessor).await?;
        let mut predecessor = Predecessor::new(Arc::clone(&owner), memory, wire);
        let order = predecessor.serve(&mut orders).await?;
        Ok::<_, WireError>(order.map(|order| (predecessor, order)))
    };
    match served.await {
        Ok(Some((predecessor, order))) => {
            let (handed_over, handing) = predecessor.hand_over(order.within).await;
            if let Err(error) = &handed_over {
                tracing::warn!(
                    error = error as &dyn std::error::Error,
                    "the sessions were not handed over"
                );
            }
            let _ = order.answer.send(handed_over);
            // Only now may the thread end.
            drop(handing);
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the successor is given up; this owner serves on"
        ),
    }
}

/// One succession at the predecessor. Dropping it closes all guests.
struct Predecessor {
    owner: Arc<Shared>,
    memory: Arc<MemoryStore>,
    wire: Wire,
    guests: JoinSet<Option<Guest>>,
    freeze: watch::Sender<bool>,
}

impl Predecessor {
    fn new(owner: Arc<Shared>, memory: Arc<MemoryStore>, wire: Wire) -> Self {
        Self { owner, memory, wire, guests: JoinSet::new(), freeze: watch::Sender::new(false) }
    }

    /// Takes guests until the sessions are to be handed over; `None` if that will not be.
    async fn serve(
        &mut self,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Result<Option<Order>, WireError> {
        loop {
            tokio::select! {
                // A guest that came before the order is served before it.
                biased;
                message = self.wire.receive() => match message? {
                    Some((message, client)) => self.take(message, client)?,
                    None => return Err(WireError::Ended),
                },
                order = orders.recv() => return Ok(order),
                () = self.owner.stopped() => {
                    // They end like all others, with their replies.
                    while self.guests.join_next().await.is_some() {}
                    return Ok(None);
                }
                Some(_) = self.guests.join_next() => {}
            }
        }
    }

    fn take(&mut self, message: Message, client: Option<StdUnixStream>) -> Result<(), WireError> {
        let (Message::Guest(id), Some(client)) = (message, client) else {
            return Err(WireError::Unexpected("only guests come now"));
        };
        if let Some(guest) = Guest::admit(&self.owner, id, client) {
            self.guests.spawn(guest.serve(Arc::clone(&self.owner), self.freeze.subscribe()));
        }
        Ok(())
    }

    /// The guard keeps the owner's thread alive until the caller has been told.
    async fn hand_over(
        mut self,
        within: Duration,
    ) -> (Result<HandedOver, HandOverError>, Option<Handing>) {
        let late = || super::error::Late(within);
        match timeout(within, self.prepare(within)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return (Err(HandOverError::NoSuccessor(Some(error.into()))), None),
            Err(_elapsed) => return (Err(HandOverError::NoSuccessor(Some(late().into()))), None),
        }
        if self.owner.is_stopped() {
            return (Err(HandOverError::Stopped), None);
        }
        // From here on this owner serves nobody any more, whatever happens.
        let begun = Instant::now();
        // All of the time, however long the successor took to prepare: to run out of it now costs
        // all sessions.
        let deadline = begun + within;
        let handing = self.owner.stop_for_handing();
        let failed = HandOverError::Failed;
        let (sessions, guests) = match timeout_at(deadline, self.transfer()).await {
            Ok(Ok(transferred)) => transferred,
            Ok(Err(error)) => return (Err(failed(error.into())), Some(handing)),
            Err(_elapsed) => return (Err(failed(late().into())), Some(handing)),
        };
        let deadline = deadline.max(Instant::now() + LAST_WORD);
        let confirmed = self.go(guests, deadline, within).await;
        (
            confirmed.map(|connections| HandedOver {
                sessions,
                connections,
                took: begun.elapsed(),
            }),
            Some(handing),
        )
    }

    /// Has the successor send its last guests.
    async fn prepare(&mut self, within: Duration) -> Result<(), WireError> {
        self.wire.send(&Message::Prepare(within)).await?;
        loop {
            match self.wire.receive().await? {
                Some((Message::Prepared, _)) => return Ok(()),
                Some((message, client)) => self.take(message, client)?,
                None => return Err(WireError::Ended),
            }
        }
    }

    /// Sends everything, and waits until the successor has it. The guests that are returned close
    /// their clients when they are dropped.
    async fn transfer(&mut self) -> Result<(u64, Vec<Guest>), WireError> {
        self.freeze.send_replace(true);
        let mut guests = Vec::new();
        while let Some(guest) = self.guests.join_next().await {
            // A task that panicked has closed its client.
            guests.extend(guest.ok().flatten());
        }
        // All others may still write to the store until their calls have ended. What their clients
        // do not read then holds nobody up.
        self.owner.presence.quiet().await;
        let sessions = self.send_sessions().await?;
        let mut sent = Vec::new();
        for guest in guests {
            self.send_connection(guest.id, guest.connection().residue()).await?;
            sent.push(guest);
        }
        self.wire.send(&Message::End { sessions, connections: sent.len() as u64 }).await?;
        match self.wire.receive().await? {
            Some((Message::Imported, _)) => Ok((sessions, sent)),
            Some(_) => Err(WireError::Unexpected("the sessions are to be confirmed now")),
            None => Err(WireError::Ended),
        }
    }

    async fn send_sessions(&mut self) -> Result<u64, WireError> {
        let stamp = boot_time();
        let memory = Arc::clone(&self.memory);
        let mut export = memory.export();
        self.wire.send(&Message::Snapshot { taken_at: export.taken_at(), stamp }).await?;
        let mut sessions = 0;
        loop {
            let batch = export.batch(BATCH_BYTES);
            if batch.is_empty() {
                return Ok(sessions);
            }
            sessions += batch.len() as u64;
            self.wire.send(&Message::Sessions(batch)).await?;
        }
    }

    async fn send_connection(&mut self, guest: u64, residue: Residue) -> Result<(), WireError> {
        let (request_bytes, reply_bytes) =
            (residue.request_bytes as u64, residue.reply_bytes.map(|bytes| bytes as u64));
        self.wire.send(&Message::Connection { guest, request_bytes, reply_bytes }).await?;
        for bytes in residue.unread.chunks(BATCH_BYTES) {
            self.wire.send(&Message::Unread(bytes.to_vec())).await?;
        }
        for bytes in residue.unwritten.chunks(BATCH_BYTES) {
            self.wire.send(&Message::Unwritten(bytes.to_vec())).await?;
        }
        Ok(())
    }

    /// Lets the successor serve. A `Go` that the kernel did not take reaches nobody; one that it
    /// took may.
    async fn go(
        &mut self,
        guests: Vec<Guest>,
        deadline: Instant,
        within: Duration,
    ) -> Result<usize, HandOverError> {
        let connections = guests.len();
        match timeout_at(deadline, self.wire.send(&Message::Go)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(HandOverError::Failed(error.into())),
            Err(_elapsed) => {
                guests.into_iter().for_each(Guest::let_go);
                return Err(HandOverError::Unconfirmed(Late(within).into()));
            }
        }
        guests.into_iter().for_each(Guest::let_go);
        match timeout_at(deadline, self.wire.receive()).await {
            Ok(Ok(Some((Message::Serving, _)))) => Ok(connections),
            Ok(Ok(Some(_))) => Err(HandOverError::Unconfirmed(
                WireError::Unexpected("it is to say that it serves").into(),
            )),
            Ok(Ok(None)) => Err(HandOverError::Unconfirmed(WireError::Ended.into())),
            Ok(Err(error)) => Err(HandOverError::Unconfirmed(error.into())),
            Err(_elapsed) => Err(HandOverError::Unconfirmed(Late(within).into())),
        }
    }
}

/// The clock of [`MemoryStore`]: all processes of the machine share it, it never goes back, and it
/// counts the time that the machine sleeps.
pub(super) fn boot_time() -> Duration {
    // Neither part is ever negative on this clock.
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/proc/uptime` counts suspended time, as proc(5) says.
    #[test]
    fn c26_handover_stamps_count_the_time_since_boot() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let stamp = boot_time().as_secs_f64();
        assert!((stamp - uptime).abs() < 1.0, "stamp {stamp}, uptime {uptime}");
    }
}
