//! One client of a store: the shared sessions that it knows, and its calls.

use std::{collections::VecDeque, sync::Arc};

use fastrand::Rng;

use super::{
    error::BoxError,
    recorder::Recorder,
    shared_keys::{SessionId, SharedKeys},
};
use crate::history::{Answer, Op, Rotate, Write};

/// The number of shared sessions at a time.
pub(super) const SLOTS: usize = 10;
/// The sessions in the first slots stay anonymous and are never ended, so that they collect the
/// most writes and rotations.
pub(super) const STABLE_SLOTS: usize = 2;
/// The number of principals.
const PRINCIPALS: usize = 3;
/// The number of ids that a client remembers for each slot. It uses old ids as a browser uses old
/// cookies, with superseded secrets.
const REMEMBERED: usize = 5;
/// The life in milliseconds of a session that must not expire during a run.
pub(super) const LONG: u64 = 900_000;

/// One client. It makes one call at a time, except where a step asks for concurrent calls.
#[derive(Debug)]
pub(super) struct Client {
    recorder: Arc<Recorder>,
    shared_keys: Arc<SharedKeys>,
    pub(super) rng: Rng,
    by: String,
    /// The prefix of keys and principals, which keeps several runs on one store apart.
    run: String,
    known: Vec<VecDeque<SessionId>>,
    drawn: u64,
}

impl Client {
    pub(super) fn new(
        recorder: Arc<Recorder>,
        shared_keys: Arc<SharedKeys>,
        rng: Rng,
        by: String,
        run: String,
    ) -> Self {
        Self { recorder, shared_keys, rng, by, run, known: vec![VecDeque::new(); SLOTS], drawn: 0 }
    }

    /// Makes a call and records it.
    pub(super) async fn call(&self, op: Op) -> Result<Answer, BoxError> {
        self.recorder.call(&self.by, op).await
    }

    /// Returns the id of a new session.
    pub(super) fn fresh_id(&mut self) -> SessionId {
        let (drawn, secret) = (self.draw(), self.draw());
        SessionId { key: format!("{}-{drawn}", self.run), secret, generation: 0 }
    }

    /// Returns the id after a rotation of this id, and the rotation.
    pub(super) fn next_id(&mut self, id: &SessionId, grace: Option<u64>) -> (SessionId, Rotate) {
        let next = SessionId { secret: self.draw(), generation: id.generation + 1, ..id.clone() };
        let rotate = Rotate { secret: next.secret.clone(), generation: next.generation, grace };
        (next, rotate)
    }

    /// Returns a text that no other client draws.
    fn draw(&mut self) -> String {
        self.drawn += 1;
        format!("{}-{}", self.by, self.drawn)
    }

    /// Returns a value that no other write uses, as JSON text.
    pub(super) fn value(&mut self) -> String {
        format!("\"{}\"", self.draw())
    }

    /// Returns the name of a value.
    pub(super) fn value_name(&mut self) -> String {
        format!("v{}", self.rng.u8(0..3))
    }

    /// Returns the name of a counter.
    pub(super) fn counter_name(&mut self) -> String {
        format!("n{}", self.rng.u8(0..2))
    }

    pub(super) fn principal(&mut self) -> String {
        principals(&self.run)[self.rng.usize(..PRINCIPALS)].clone()
    }

    /// Chooses a slot. Low numbers are chosen more often.
    pub(super) fn slot(&mut self) -> usize {
        self.rng.usize(..SLOTS).min(self.rng.usize(..SLOTS))
    }

    /// Returns an id for this slot, mostly the newest one, sometimes an old one.
    pub(super) fn id(&mut self, slot: usize) -> Option<SessionId> {
        if let Some(newest) = self.shared_keys.read(slot) {
            self.remember(slot, newest);
        }
        let known = &self.known[slot];
        let at = if self.rng.u8(..100) < 85 { 0 } else { self.rng.usize(..known.len().max(1)) };
        known.get(at).cloned()
    }

    /// Whether the shared file has no other id for this slot.
    pub(super) fn is_newest(&self, slot: usize, id: &SessionId) -> bool {
        self.shared_keys.read(slot).is_none_or(|newest| newest == *id)
    }

    /// Publishes an id to all clients.
    pub(super) fn publish(&mut self, slot: usize, id: &SessionId) -> Result<(), BoxError> {
        self.shared_keys.write(slot, id)?;
        self.remember(slot, id.clone());
        Ok(())
    }

    /// Creates a session and publishes it in this slot.
    pub(super) async fn create_at(&mut self, slot: usize, ttl: u64) -> Result<Answer, BoxError> {
        let id = self.fresh_id();
        let mut write = Write { ttl: Some(ttl), ..self.values() };
        if slot >= STABLE_SLOTS && self.rng.bool() {
            write.principal = Some(Some(self.principal()));
        }
        let answer =
            self.call(Op::Create { key: id.key.clone(), secret: id.secret.clone(), write }).await?;
        // The id is published also without an answer, because the session may exist.
        self.publish(slot, &id)?;
        Ok(answer)
    }

    /// Returns a write that sets one or two values.
    pub(super) fn values(&mut self) -> Write {
        let mut write = Write::default();
        for _ in 0..self.rng.u8(1..=2) {
            let (name, value) = (self.value_name(), self.value());
            write.set.insert(name, value);
        }
        write
    }

    fn remember(&mut self, slot: usize, id: SessionId) {
        let known = &mut self.known[slot];
        known.retain(|old| *old != id);
        known.push_front(id);
        known.truncate(REMEMBERED);
    }
}

/// Returns the principals of a run.
pub(super) fn principals(run: &str) -> Vec<String> {
    (0..PRINCIPALS).map(|number| format!("{run}-p{number}")).collect()
}
