//! One client of a store: what it knows of the shared sessions, and the calls it makes.

use std::{collections::VecDeque, sync::Arc};

use fastrand::Rng;

use super::{board::Board, recorder::Recorder};
use crate::history::{Answer, Op, Write};

/// How many sessions are shared at a time.
pub(super) const PLACES: usize = 10;
/// Sessions in the first places are nobody's and never ended, so that they gather what no other session lives for.
pub(super) const CALM: usize = 2;
/// How many principals there are.
const PRINCIPALS: usize = 3;
/// How many keys of a place are remembered: requests come with old cookies.
const REMEMBERED: usize = 5;
/// The life of a session that is not to expire, in milliseconds.
pub(super) const LONG: u64 = 900_000;

/// What goes wrong is a mistake of this program or a full disk, never an answer of the store.
pub(super) type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// One client. Its calls come one after the other, but for those it makes at once on purpose.
#[derive(Debug)]
pub(super) struct Client {
    recorder: Arc<Recorder>,
    board: Arc<Board>,
    pub(super) rng: Rng,
    by: String,
    /// What this run's keys and principals have in them, so that runs on one store do not meet.
    run: String,
    known: Vec<VecDeque<String>>,
    drawn: u64,
}

impl Client {
    pub(super) fn new(recorder: Arc<Recorder>, board: Arc<Board>, rng: Rng, by: String, run: String) -> Self {
        Self { recorder, board, rng, by, run, known: vec![VecDeque::new(); PLACES], drawn: 0 }
    }

    /// Makes a call.
    pub(super) async fn call(&self, op: Op) -> Result<Answer, Trouble> {
        self.recorder.call(&self.by, op).await
    }

    /// A key of a session that nobody has made yet.
    pub(super) fn fresh_key(&mut self) -> String {
        let lineage: String = std::iter::repeat_with(|| self.rng.alphanumeric()).take(4).collect();
        self.key_of(&lineage)
    }

    /// A key that a session can move to from this one.
    pub(super) fn next_key(&mut self, key: &str) -> String {
        let lineage: String = key.chars().take(4).collect();
        self.key_of(&lineage)
    }

    fn key_of(&mut self, lineage: &str) -> String {
        self.drawn += 1;
        format!("{lineage}-{}-{}-{}", self.run, self.by, self.drawn)
    }

    /// A value that is written nowhere else, as JSON text.
    pub(super) fn value(&mut self) -> String {
        self.drawn += 1;
        format!("\"{}-{}\"", self.by, self.drawn)
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
    pub(super) fn place(&mut self) -> usize {
        self.rng.usize(..PLACES).min(self.rng.usize(..PLACES))
    }

    /// A key for this place: mostly the newest, sometimes an old one.
    pub(super) fn key(&mut self, place: usize) -> Option<String> {
        if let Some(newest) = self.board.read(place) {
            self.remember(place, newest);
        }
        let known = &self.known[place];
        let at = if self.rng.u8(..100) < 85 { 0 } else { self.rng.usize(..known.len().max(1)) };
        known.get(at).cloned()
    }

    /// Whether nobody knows a newer key for this place.
    pub(super) fn is_newest(&self, place: usize, key: &str) -> bool {
        self.board.read(place).is_none_or(|newest| newest == key)
    }

    /// Tells the others of a key.
    pub(super) fn post(&mut self, place: usize, key: &str) -> Result<(), Trouble> {
        self.board.write(place, key)?;
        self.remember(place, key.to_owned());
        Ok(())
    }

    /// Makes a new session and puts it here.
    pub(super) async fn renew(&mut self, place: usize, ttl: u64) -> Result<Answer, Trouble> {
        let key = self.fresh_key();
        let mut write = Write { ttl: Some(ttl), ..self.values() };
        if place >= CALM && self.rng.bool() {
            write.principal = Some(Some(self.principal()));
        }
        let answer = self.call(Op::Create { key: key.clone(), write }).await?;
        // One that may have been made is worth a look, too.
        self.post(place, &key)?;
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

    fn remember(&mut self, place: usize, key: String) {
        let known = &mut self.known[place];
        known.retain(|old| *old != key);
        known.push_front(key);
        known.truncate(REMEMBERED);
    }
}

/// The principals of a run.
pub(super) fn principals(run: &str) -> Vec<String> {
    (0..PRINCIPALS).map(|number| format!("{run}-p{number}")).collect()
}
