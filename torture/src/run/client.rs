//! One client of a store: what it knows of the shared sessions, and the calls it makes.

use std::{collections::VecDeque, sync::Arc};

use fastrand::Rng;

use super::{
    error::BoxError,
    recorder::Recorder,
    shared_keys::{SessionId, SharedKeys},
};
use crate::history::{Answer, Op, Rotate, Write};

/// How many sessions are shared at a time.
pub(super) const SLOTS: usize = 10;
/// Sessions in the first slots are anonymous and never ended, so that they collect more writes and
/// rotations than any other.
pub(super) const STABLE_SLOTS: usize = 2;
/// How many principals there are.
const PRINCIPALS: usize = 3;
/// How many ids of a slot are remembered: requests come with old cookies, whose secrets are
/// superseded.
const REMEMBERED: usize = 5;
/// The life of a session that is not to expire, in milliseconds.
pub(super) const LONG: u64 = 900_000;

/// One client. Its calls come one after the other, but for those it makes at once on purpose.
#[derive(Debug)]
pub(super) struct Client {
    recorder: Arc<Recorder>,
    shared_keys: Arc<SharedKeys>,
    pub(super) rng: Rng,
    by: String,
    /// What this run's keys and principals have in them, so that runs on one store do not meet.
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

    /// Makes a call.
    pub(super) async fn call(&self, op: Op) -> Result<Answer, BoxError> {
        self.recorder.call(&self.by, op).await
    }

    /// The id of a new session.
    pub(super) fn fresh_id(&mut self) -> SessionId {
        let (drawn, secret) = (self.draw(), self.draw());
        SessionId { key: format!("{}-{drawn}", self.run), secret, generation: 0 }
    }

    /// The id that replaces this one in a rotation, and the rotation.
    pub(super) fn next_id(&mut self, id: &SessionId, grace: Option<u64>) -> (SessionId, Rotate) {
        let next = SessionId { secret: self.draw(), generation: id.generation + 1, ..id.clone() };
        let rotate = Rotate { secret: next.secret.clone(), generation: next.generation, grace };
        (next, rotate)
    }

    /// A text that no other client draws.
    fn draw(&mut self) -> String {
        self.drawn += 1;
        format!("{}-{}", self.by, self.drawn)
    }

    /// A value that is written nowhere else, as JSON text.
    pub(super) fn value(&mut self) -> String {
        format!("\"{}\"", self.draw())
    }

    /// The name of a value.
    pub(super) fn value_name(&mut self) -> String {
        format!("v{}", self.rng.u8(0..3))
    }

    /// The name of a counter.
    pub(super) fn counter_name(&mut self) -> String {
        format!("n{}", self.rng.u8(0..2))
    }

    pub(super) fn principal(&mut self) -> String {
        principals(&self.run)[self.rng.usize(..PRINCIPALS)].clone()
    }

    /// One of the shared sessions: a few are asked for more often than the others.
    pub(super) fn slot(&mut self) -> usize {
        self.rng.usize(..SLOTS).min(self.rng.usize(..SLOTS))
    }

    /// An id for this slot: mostly the newest, sometimes an old one.
    pub(super) fn id(&mut self, slot: usize) -> Option<SessionId> {
        if let Some(newest) = self.shared_keys.read(slot) {
            self.remember(slot, newest);
        }
        let known = &self.known[slot];
        let at = if self.rng.u8(..100) < 85 { 0 } else { self.rng.usize(..known.len().max(1)) };
        known.get(at).cloned()
    }

    /// Whether the shared_keys has no newer id for this slot.
    pub(super) fn is_newest(&self, slot: usize, id: &SessionId) -> bool {
        self.shared_keys.read(slot).is_none_or(|newest| newest == *id)
    }

    /// Tells the other clients of an id.
    pub(super) fn publish(&mut self, slot: usize, id: &SessionId) -> Result<(), BoxError> {
        self.shared_keys.write(slot, id)?;
        self.remember(slot, id.clone());
        Ok(())
    }

    /// Makes a new session and puts it here.
    pub(super) async fn create_at(&mut self, slot: usize, ttl: u64) -> Result<Answer, BoxError> {
        let id = self.fresh_id();
        let mut write = Write { ttl: Some(ttl), ..self.values() };
        if slot >= STABLE_SLOTS && self.rng.bool() {
            write.principal = Some(Some(self.principal()));
        }
        let answer =
            self.call(Op::Create { key: id.key.clone(), secret: id.secret.clone(), write }).await?;
        // A session that may have been made is worth a look, too.
        self.publish(slot, &id)?;
        Ok(answer)
    }

    /// One or two values to set.
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

/// The principals of a run.
pub(super) fn principals(run: &str) -> Vec<String> {
    (0..PRINCIPALS).map(|number| format!("{run}-p{number}")).collect()
}
