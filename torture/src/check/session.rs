//! All calls of one session, and what their answers show.

use std::collections::{BTreeMap, HashMap};

use crate::history::{Answer, Call, CallOutcome, LoadedSession, Op, Write};

/// One session. Its key does not change.
#[derive(Debug)]
pub(super) struct Session<'a> {
    pub(super) key: &'a str,
    /// The writes that were not refused.
    pub(super) effects: Vec<Effect<'a>>,
    /// What the answers show, in the order of the calls' beginnings.
    pub(super) observations: Vec<Observation<'a>>,
    /// The first time by which the session certainly existed, and the call that proves it.
    pub(super) alive_since: Option<(u64, &'a Call)>,
    /// The deletions that ended the session or may have ended it.
    pub(super) deletions: Vec<&'a Call>,
}

/// A write that was not refused.
#[derive(Debug)]
pub(super) struct Effect<'a> {
    pub(super) call: &'a Call,
    pub(super) write: &'a Write,
    /// The write had taken effect by this time. `u64::MAX` if it may still take effect.
    pub(super) end: u64,
    /// The version that the write made, if its answer shows it.
    pub(super) version: Option<u64>,
    /// The highest version that the write can have made.
    pub(super) bound: u64,
}

/// What one answer shows of the session.
#[expect(
    clippy::option_option,
    reason = "an answer without the value and a session without a user are two cases"
)]
#[derive(Debug, Clone, Copy)]
pub(super) struct Observation<'a> {
    pub(super) call: &'a Call,
    /// Whether the session was alive.
    pub(super) alive: bool,
    /// The secret that was the current one.
    pub(super) secret: Option<&'a str>,
    /// The version, if the answer shows it.
    pub(super) version: Option<u64>,
    /// Remaining life and age in milliseconds, if the answer shows them.
    pub(super) ttl: Option<u64>,
    pub(super) age: Option<u64>,
    /// The time since the sign-in in milliseconds, if the answer shows it. `Some(None)` for a
    /// session without a user.
    pub(super) authenticated: Option<Option<u64>>,
    /// The whole record, if the call was a read.
    pub(super) seen: Option<&'a LoadedSession>,
}

/// Groups the calls of a history by session.
pub(super) fn sessions(calls: &[Call]) -> Vec<Session<'_>> {
    let mut found: BTreeMap<&str, Session<'_>> = BTreeMap::new();
    for call in calls {
        if let Some(key) = call.key() {
            found.entry(key).or_insert_with(|| Session::new(key)).take(call);
        }
    }
    for call in calls {
        let Some(Answer::Listed(shown)) = &call.answer else { continue };
        for one in shown {
            // `index::check_lists` reports a key that no call used.
            if let Some(session) = found.get_mut(one.key.as_str()) {
                let authenticated = Some(Some(one.authenticated));
                session.observations.push(Observation {
                    ttl: Some(one.ttl),
                    authenticated,
                    ..Observation::bare(call, true)
                });
            }
        }
    }
    let mut found: Vec<_> = found.into_values().collect();
    found.iter_mut().for_each(Session::conclude);
    found
}

impl<'a> Observation<'a> {
    pub(super) fn bare(call: &'a Call, alive: bool) -> Self {
        Self {
            call,
            alive,
            secret: None,
            version: None,
            ttl: None,
            age: None,
            authenticated: None,
            seen: None,
        }
    }

    pub(super) fn begin(&self) -> u64 {
        self.call.begin
    }

    pub(super) fn end(&self) -> u64 {
        self.call.end_or_never()
    }
}

impl<'a> Session<'a> {
    fn new(key: &'a str) -> Self {
        Self {
            key,
            effects: Vec::new(),
            observations: Vec::new(),
            alive_since: None,
            deletions: Vec::new(),
        }
    }

    fn take(&mut self, call: &'a Call) {
        let bare = |alive| Observation::bare(call, alive);
        let observation = match call.answer.as_ref() {
            Some(Answer::New) => {
                Some(Observation { version: Some(1), secret: call.secret(), ..bare(true) })
            }
            Some(Answer::Taken | Answer::Superseded | Answer::Deleted(true)) => Some(bare(true)),
            // The store compares the secret before the guard, so the secret was the current one.
            Some(Answer::Conflict) => Some(Observation { secret: call.secret(), ..bare(true) }),
            Some(Answer::Absent | Answer::Gone | Answer::Deleted(false)) => Some(bare(false)),
            Some(Answer::Found(seen)) => Some(Observation {
                secret: Some(&seen.secret),
                version: Some(seen.version),
                ttl: Some(seen.ttl),
                age: Some(seen.age),
                authenticated: Some(seen.authenticated),
                seen: Some(seen),
                ..bare(true)
            }),
            Some(Answer::Done { version, age, authenticated, ttl, .. }) => Some(Observation {
                secret: call.secret(),
                version: Some(*version),
                ttl: Some(*ttl),
                age: Some(*age),
                authenticated: Some(*authenticated),
                ..bare(true)
            }),
            _ => None,
        };
        self.observations.extend(observation);
        if call.outcome() == CallOutcome::Refused {
            return;
        }
        match &call.op {
            Op::Create { write, .. } => self.push_effect(call, write, Some(1)),
            Op::Commit { write, .. } => {
                let version = match &call.answer {
                    Some(Answer::Done { version, .. }) => Some(*version),
                    _ => None,
                };
                self.push_effect(call, write, version);
            }
            // A deletion that found nothing ended nothing.
            Op::Delete { .. } if call.answer != Some(Answer::Deleted(false)) => {
                self.deletions.push(call);
            }
            _ => {}
        }
    }

    fn push_effect(&mut self, call: &'a Call, write: &'a Write, version: Option<u64>) {
        let version = version.filter(|_| call.outcome() == CallOutcome::Happened);
        let end =
            if call.outcome() == CallOutcome::Happened { call.end_or_never() } else { u64::MAX };
        self.effects.push(Effect { call, write, end, version, bound: version.unwrap_or(u64::MAX) });
    }

    /// Values and secrets in answers prove writes whose own answers are missing.
    fn conclude(&mut self) {
        self.observations.sort_by_key(Observation::begin);
        let alive = self
            .observations
            .iter()
            .filter(|observation| observation.alive)
            .min_by_key(|observation| observation.end());
        self.alive_since = alive.map(|observation| (observation.end(), observation.call));
        let mut writers: HashMap<&str, usize> = HashMap::new();
        let mut installers: HashMap<&str, usize> = HashMap::new();
        for (at, effect) in self.effects.iter().enumerate() {
            writers.extend(effect.write.set.values().map(|value| (value.as_str(), at)));
            installers
                .extend(effect.call.rotation().map(|rotation| (rotation.secret.as_str(), at)));
        }
        for observation in &self.observations {
            let values = observation.seen.iter().flat_map(|seen| seen.values.values());
            let wrote = values
                .filter_map(|value| writers.get(value.as_str()))
                .chain(observation.secret.and_then(|secret| installers.get(secret)));
            for at in wrote {
                let effect = &mut self.effects[*at];
                effect.end = effect.end.min(observation.end());
                effect.bound = effect.bound.min(observation.version.unwrap_or(u64::MAX));
            }
        }
    }

    /// Returns the creations that were not refused. A key may have several.
    pub(super) fn creations(&self) -> impl Iterator<Item = &Effect<'a>> {
        self.effects.iter().filter(|effect| matches!(effect.call.op, Op::Create { .. }))
    }

    /// Returns the writes that set the principal and the generation of the sign-in, in any order.
    pub(super) fn sign_ins(&self) -> impl Iterator<Item = (&'a Call, u64, u64, SignedIn<'a>)> {
        self.effects.iter().filter_map(|effect| {
            let principal = match (&effect.write.principal, &effect.call.op) {
                (Some(principal), _) => principal.as_deref(),
                (None, Op::Create { .. }) => None,
                _ => return None,
            };
            // A new session starts at generation 0.
            let since =
                principal.and(effect.call.rotation()).map_or(0, |rotation| rotation.generation);
            Some((effect.call, effect.call.begin, effect.end, SignedIn { principal, since }))
        })
    }

    /// Returns the writes that set the remaining life, in milliseconds.
    pub(super) fn ttls(&self) -> impl Iterator<Item = (&'a Call, u64, u64, u64)> {
        self.effects.iter().filter_map(|effect| {
            Some((effect.call, effect.call.begin, effect.end, effect.write.ttl?))
        })
    }
}

/// The signed-in principal, and the generation of the sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SignedIn<'a> {
    pub(super) principal: Option<&'a str>,
    pub(super) since: u32,
}
