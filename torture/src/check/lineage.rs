//! All that a history tells of one session, under whichever keys it lived.

use std::collections::{BTreeMap, HashMap};

use crate::history::{Answer, Call, Fate, Op, Seen, Write};

/// One session and its keys.
#[derive(Debug)]
pub(super) struct Lineage<'a> {
    /// The key that it began with.
    pub(super) root: &'a str,
    /// What was written and not refused.
    pub(super) effects: Vec<Effect<'a>>,
    /// What was seen, in the order of the calls' beginnings.
    pub(super) sights: Vec<Sight<'a>>,
    /// When each key was certainly there for the first time, and the call that proves it.
    pub(super) born: HashMap<&'a str, (u64, &'a Call)>,
    /// What ended a key, or may have: deletions and moves that were not refused.
    pub(super) ends: Vec<&'a Call>,
}

/// A write that was not refused.
#[derive(Debug)]
pub(super) struct Effect<'a> {
    pub(super) call: &'a Call,
    pub(super) write: &'a Write,
    /// It had taken effect by then; `u64::MAX` if it may yet.
    pub(super) end: u64,
    /// The version that it made, if its answer told.
    pub(super) version: Option<u64>,
    /// The version that it made, at most.
    pub(super) bound: u64,
}

/// An answer about one key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight<'a> {
    pub(super) call: &'a Call,
    pub(super) key: &'a str,
    /// Whether the session lived under this key.
    pub(super) alive: bool,
    /// The version, where it was told.
    pub(super) version: Option<u64>,
    /// Life and age in milliseconds, where they were told.
    pub(super) ttl: Option<u64>,
    pub(super) age: Option<u64>,
    /// All of the record, where it was read.
    pub(super) seen: Option<&'a Seen>,
}

impl Sight<'_> {
    pub(super) fn begin(&self) -> u64 {
        self.call.begin
    }

    pub(super) fn end(&self) -> u64 {
        self.call.end_or_never()
    }
}

/// The session that each key belongs to.
#[derive(Debug)]
pub(super) struct Keys<'a>(HashMap<&'a str, &'a str>);

impl<'a> Keys<'a> {
    pub(super) fn of(calls: &'a [Call]) -> Self {
        let mut parents: HashMap<&str, &str> = HashMap::new();
        for call in calls {
            if let (Some(key), Some(target)) = (call.key(), call.target()) {
                parents.entry(target).or_insert(key);
            }
        }
        let mut roots = HashMap::new();
        for call in calls {
            for key in call.key().into_iter().chain(call.target()) {
                let mut root = key;
                while let Some(parent) = parents.get(root) {
                    root = parent;
                }
                roots.insert(key, root);
            }
        }
        Self(roots)
    }

    /// The first key of the session with this one.
    pub(super) fn root(&self, key: &str) -> Option<&'a str> {
        self.0.get(key).copied()
    }
}

/// Sorts a history by sessions.
pub(super) fn lineages<'a>(calls: &'a [Call], keys: &Keys<'a>) -> Vec<Lineage<'a>> {
    let mut found: BTreeMap<&str, Lineage<'a>> = BTreeMap::new();
    for call in calls {
        if let Some(root) = call.key().and_then(|key| keys.root(key)) {
            found.entry(root).or_insert_with(|| Lineage::new(root)).take(call);
        }
        if let Some(Answer::Listed(shown)) = &call.answer {
            for one in shown {
                // A key that nobody ever used is told elsewhere.
                let Some(root) = keys.root(&one.key) else { continue };
                let lineage = found.entry(root).or_insert_with(|| Lineage::new(root));
                lineage.sights.push(Sight { ttl: Some(one.ttl), ..Sight::bare(call, &one.key, true) });
            }
        }
    }
    let mut found: Vec<_> = found.into_values().collect();
    found.iter_mut().for_each(Lineage::conclude);
    found
}

impl<'a> Sight<'a> {
    fn bare(call: &'a Call, key: &'a str, alive: bool) -> Self {
        Self { call, key, alive, version: None, ttl: None, age: None, seen: None }
    }
}

impl<'a> Lineage<'a> {
    fn new(root: &'a str) -> Self {
        Self { root, effects: Vec::new(), sights: Vec::new(), born: HashMap::new(), ends: Vec::new() }
    }

    fn take(&mut self, call: &'a Call) {
        let Some(key) = call.key() else { return };
        let bare = |alive| Sight::bare(call, key, alive);
        match (&call.op, &call.answer) {
            (Op::Create { .. }, Some(Answer::New)) => self.sights.push(Sight { version: Some(1), ..bare(true) }),
            (_, Some(Answer::Taken | Answer::Conflict | Answer::Deleted(true))) => self.sights.push(bare(true)),
            (_, Some(Answer::Absent | Answer::Gone | Answer::Deleted(false))) => self.sights.push(bare(false)),
            (_, Some(Answer::Found(seen))) => {
                let told = Sight { version: Some(seen.version), ttl: Some(seen.ttl), age: Some(seen.age), seen: Some(seen), ..bare(true) };
                self.sights.push(told);
            }
            (Op::Commit { to, .. }, Some(Answer::Done { version, age, ttl, .. })) => {
                self.sights.push(Sight { version: Some(*version), ttl: Some(*ttl), age: Some(*age), ..bare(true) });
                self.sights.extend(to.as_deref().map(|to| Sight::bare(call, to, true)));
            }
            _ => {}
        }
        if call.fate() == Fate::Refused {
            return;
        }
        match &call.op {
            Op::Create { write, .. } => self.push_effect(call, write, Some(1)),
            Op::Commit { write, to, .. } => {
                let version = match &call.answer {
                    Some(Answer::Done { version, .. }) => Some(*version),
                    _ => None,
                };
                self.push_effect(call, write, version);
                self.ends.extend(to.as_ref().map(|_| call));
            }
            // One that found nothing ended nothing.
            Op::Delete { .. } if call.answer != Some(Answer::Deleted(false)) => self.ends.push(call),
            _ => {}
        }
    }

    fn push_effect(&mut self, call: &'a Call, write: &'a Write, version: Option<u64>) {
        let version = version.filter(|_| call.fate() == Fate::Happened);
        let end = if call.fate() == Fate::Happened { call.end_or_never() } else { u64::MAX };
        self.effects.push(Effect { call, write, end, version, bound: version.unwrap_or(u64::MAX) });
    }

    /// What was seen tells of writes whose answer is not known.
    fn conclude(&mut self) {
        self.sights.sort_by_key(Sight::begin);
        for sight in self.sights.iter().filter(|sight| sight.alive) {
            let first = self.born.entry(sight.key).or_insert((sight.end(), sight.call));
            if sight.end() < first.0 {
                *first = (sight.end(), sight.call);
            }
        }
        let mut writers: HashMap<&str, usize> = HashMap::new();
        for (at, effect) in self.effects.iter().enumerate() {
            writers.extend(effect.write.set.values().map(|value| (value.as_str(), at)));
        }
        for sight in &self.sights {
            let Some(seen) = sight.seen else { continue };
            for value in seen.values.values() {
                if let Some(effect) = writers.get(value.as_str()).map(|at| &mut self.effects[*at]) {
                    effect.end = effect.end.min(sight.end());
                    effect.bound = effect.bound.min(seen.version);
                }
            }
        }
        for effect in &mut self.effects {
            if let Some((born, _)) = effect.call.target().and_then(|target| self.born.get(target)) {
                effect.end = effect.end.min(*born);
            }
        }
    }

    /// Whether it may have lived under this key.
    pub(super) fn has_key(&self, key: &str) -> bool {
        key == self.root || self.ends.iter().any(|call| call.target() == Some(key))
    }

    /// A session's creation that was not refused; it may have been tried twice.
    pub(super) fn creations(&self) -> impl Iterator<Item = &Effect<'a>> {
        self.effects.iter().filter(|effect| matches!(effect.call.op, Op::Create { .. }))
    }

    /// The writes that say who is signed in, in any order.
    pub(super) fn sign_ins(&self) -> impl Iterator<Item = (&'a Call, u64, u64, Option<&'a str>)> {
        self.effects.iter().filter_map(|effect| {
            let whose = match (&effect.write.principal, &effect.call.op) {
                (Some(whose), _) => whose.as_deref(),
                (None, Op::Create { .. }) => None,
                _ => return None,
            };
            Some((effect.call, effect.call.begin, effect.end, whose))
        })
    }

    /// The writes that say how long it lives, in milliseconds.
    pub(super) fn lives(&self) -> impl Iterator<Item = (&'a Call, u64, u64, u64)> {
        self.effects.iter().filter_map(|effect| Some((effect.call, effect.call.begin, effect.end, effect.write.ttl?)))
    }
}
