use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use crate::call::{Call, Desk};
use crate::error::RequestError;
use crate::frame::{Refusal, Talk, Unframed};
use crate::id::WorkerId;
use crate::message::Message;
use crate::outbox::{Outbox, Refused};

/// Bytes of requests that one peer, or one slot, has asked and that are not answered, and of
/// replies to it that are not written: 8 MiB, each counted with [`COST`] on top of its length. So a
/// peer can neither ask nor refuse to listen without bound.
const BUDGET: usize = 8 << 20;

/// What a request that is not answered costs beside its bytes.
const COST: usize = 256;

/// How a request is made a frame, which depends on the direction.
type Wrap = fn(Talk) -> Result<Vec<u8>, Unframed>;

/// Requests and replies of one connection, in both directions.
#[derive(Debug)]
pub(crate) struct Line {
    outbox: Outbox,
    wrap: Wrap,
    /// What this side has asked. The lock is held for a few instructions.
    asked: Mutex<Asked>,
    /// What bounds the other side.
    room: Room,
}

/// Where there is room for requests that are not answered. The workers that fill a slot one after
/// the other share it: what a dead one has asked is still there to be read, and one that crashes
/// again and again cannot fill the memory with it.
#[derive(Clone, Debug)]
pub(crate) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET)))
    }
}

impl Room {
    fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        // A frame has at most 1 MiB, which fits.
        Arc::clone(&self.0).try_acquire_many_owned(u32::try_from(bytes).unwrap_or(u32::MAX)).ok()
    }
}

/// Who waits for which reply. An entry lives as long as the future that waits, so there are never
/// more of them.
#[derive(Debug, Default)]
struct Asked {
    last: u64,
    ended: bool,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
}

type Answer = Result<Vec<u8>, Refusal>;

/// What to do when the queue to the peer is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhenFull {
    Refuse,
    Wait,
}

impl Line {
    pub(crate) fn new(outbox: Outbox, wrap: Wrap, room: Room) -> Arc<Self> {
        Arc::new(Self { outbox, wrap, asked: Mutex::default(), room })
    }

    /// Asks, and waits for the reply. A request is sent whole or not at all, and forgotten when
    /// this is dropped.
    pub(crate) async fn ask<R: DeserializeOwned>(
        &self,
        body: Vec<u8>,
        within: Duration,
        full: WhenFull,
    ) -> Result<R, RequestError> {
        let answer = timeout(within, self.exchange(body, full))
            .await
            .map_err(|_| RequestError::Late(within))??;
        match answer {
            Ok(reply) => {
                serde_json::from_slice(&reply).map_err(|e| RequestError::Decode(Arc::new(e)))
            }
            Err(Refusal::NobodyListens) => Err(RequestError::NobodyListens),
            Err(Refusal::Busy) => Err(RequestError::Busy),
            Err(Refusal::NotAnswered) => Err(RequestError::NotAnswered),
        }
    }

    async fn exchange(&self, body: Vec<u8>, full: WhenFull) -> Result<Answer, RequestError> {
        let (ticket, answer) = Ticket::draw(self).ok_or(RequestError::Gone)?;
        let len = body.len();
        let frame = (self.wrap)(Talk::Request { id: ticket.id, body })
            .map_err(|_| RequestError::TooLarge { len, max: Message::MAX })?;
        match full {
            WhenFull::Refuse => self.outbox.offer(frame),
            WhenFull::Wait => self.outbox.deliver(frame).await,
        }
        .map_err(|refused| match refused {
            Refused::Full => RequestError::Full,
            Refused::Closed => RequestError::Gone,
        })?;
        answer.await.map_err(|_| RequestError::Gone)
    }

    /// Queues an answer, whose room is that of the request. Gives that back if there is not enough
    /// for it.
    pub(crate) fn answer(
        &self,
        id: u64,
        answer: Answer,
        mut room: OwnedSemaphorePermit,
    ) -> Result<(), Unsent> {
        let (has, needs) = (room.num_permits(), cost(answer.as_ref().map_or(0, Vec::len)));
        if needs > has {
            match self.room.take(needs - has) {
                Some(more) => room.merge(more),
                None => return Err(Unsent::Full(room)),
            }
        } else {
            drop(room.split(has - needs));
        }
        match (self.wrap)(Talk::Reply { id, answer }) {
            Ok(frame) => self.outbox.attach(frame, room).map_err(|_| Unsent::Gone),
            // The body was measured before, so it fits.
            Err(_) => Err(Unsent::Gone),
        }
    }

    /// Refuses a request that was not taken. It does not wait, and does without if the peer has not
    /// read what was said before: who asks so much and does not listen learns it by its own clock.
    fn refuse(&self, id: u64, why: Refusal) {
        if let Ok(frame) = (self.wrap)(Talk::Reply { id, answer: Err(why) }) {
            let _ = self.outbox.offer(frame);
        }
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        // Whole after every instruction, so a panic elsewhere does not spoil it.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why an answer was not queued.
#[derive(Debug)]
pub(crate) enum Unsent {
    Full(OwnedSemaphorePermit),
    Gone,
}

/// The number of a request, and the place where its reply is waited for. Dropping it gives the
/// place up.
struct Ticket<'a> {
    id: u64,
    line: &'a Line,
}

impl<'a> Ticket<'a> {
    /// `None` when the peer is gone.
    fn draw(line: &'a Line) -> Option<(Self, oneshot::Receiver<Answer>)> {
        let mut asked = line.asked();
        if asked.ended {
            return None;
        }
        asked.last += 1;
        let (tell, answer) = oneshot::channel();
        let id = asked.last;
        asked.waiting.insert(id, tell);
        Some((Self { id, line }, answer))
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.line.asked().waiting.remove(&self.id);
    }
}

/// The end of a line that hears. When it is dropped the peer is gone, and nobody waits for it any
/// longer.
#[derive(Debug)]
pub(crate) struct Ear {
    line: Arc<Line>,
    desk: Arc<Desk>,
    /// Who speaks; `None` if it is the primary.
    from: Option<WorkerId>,
}

impl Ear {
    pub(crate) fn new(line: &Arc<Line>, desk: &Arc<Desk>, from: Option<WorkerId>) -> Self {
        Self { line: Arc::clone(line), desk: Arc::clone(desk), from }
    }

    /// Never waits.
    pub(crate) fn hear(&self, talk: Talk) {
        match talk {
            Talk::Reply { id, answer } => {
                // Else it came too late, and nobody wants it.
                if let Some(waiting) = self.line.asked().waiting.remove(&id) {
                    let _ = waiting.send(answer);
                }
            }
            Talk::Request { id, body } => match self.line.room.take(cost(body.len())) {
                Some(room) => {
                    if let Err(call) =
                        self.desk.pass(Call::new(Arc::clone(&self.line), self.from, id, body, room))
                    {
                        call.refuse(Refusal::NobodyListens);
                    }
                }
                None => self.line.refuse(
                    id,
                    if self.desk.listens() { Refusal::Busy } else { Refusal::NobodyListens },
                ),
            },
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let mut asked = self.line.asked();
        asked.ended = true;
        asked.waiting.clear();
        drop(asked);
        // Only the primary asks a worker. The desk of the primary is that of all its workers.
        if self.from.is_none() {
            self.desk.close();
        }
    }
}

fn cost(bytes: usize) -> usize {
    bytes + COST
}

#[cfg(test)]
mod tests;
