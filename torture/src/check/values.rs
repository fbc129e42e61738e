//! The laws of values: a read shows the last write.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    register::Register,
    session::{Effect, Observation, Session},
    violation::{Law, Verdict, Violation},
};
use crate::history::{LoadedSession, Op};

/// The first letter of the names of values. Names of counters start with another letter.
pub(super) const VALUE: char = 'v';

/// One write to one name: its effect, and the value if it left one.
type ValueWrite<'a, 'l> = (&'l Effect<'a>, Option<&'a str>);

pub(super) fn check(session: &Session<'_>, verdict: &mut Verdict) {
    let mut writes: BTreeMap<&str, Vec<ValueWrite<'_, '_>>> = BTreeMap::new();
    let names: BTreeSet<&str> =
        session.effects.iter().flat_map(|effect| names_of(effect)).collect();
    for effect in &session.effects {
        let creates = matches!(effect.call.op, Op::Create { .. });
        for name in &names {
            let set = effect.write.set.get(*name).map(String::as_str);
            // A creation removes every name that it does not set.
            if set.is_some() || creates || effect.write.remove.iter().any(|removed| removed == name)
            {
                writes.entry(name).or_default().push((effect, set));
            }
        }
    }
    let by_name: BTreeMap<&str, ValueWrites<'_, '_>> =
        writes.into_iter().map(|(name, writes)| (name, ValueWrites::new(writes))).collect();
    let nothing = Vec::new();
    for observation in &session.observations {
        let Some(seen) = observation.seen else { continue };
        for (name, writes) in &by_name {
            verdict.record(writes.check_read(session, observation, seen, name));
        }
        let unknown = seen
            .values
            .keys()
            .filter(|name| name.starts_with(VALUE) && !by_name.contains_key(name.as_str()));
        for name in unknown {
            verdict.record(Some(violation(
                Law::NeverWritten,
                session,
                observation,
                format!("{name} was never set in this session"),
                &nothing,
            )));
        }
    }
}

fn names_of<'l>(effect: &'l Effect<'_>) -> impl Iterator<Item = &'l str> {
    effect.write.set.keys().chain(&effect.write.remove).map(String::as_str)
}

/// All writes to one name.
struct ValueWrites<'a, 'l> {
    writes: Vec<ValueWrite<'a, 'l>>,
    /// The index of the write that set each value.
    writers: HashMap<&'a str, usize>,
    /// The indexes of the writes that left no value.
    removals: Vec<usize>,
    /// The writes by real time.
    times: Register<'a, usize>,
    /// The writes by version, where the version is known.
    versions: Vec<(u64, usize)>,
}

impl<'a, 'l> ValueWrites<'a, 'l> {
    fn new(writes: Vec<ValueWrite<'a, 'l>>) -> Self {
        let indexed = || writes.iter().enumerate();
        let by_value = indexed().filter_map(|(at, (_, value))| Some(((*value)?, at))).collect();
        let removals =
            indexed().filter(|(_, (_, value))| value.is_none()).map(|(at, _)| at).collect();
        let times = Register::new(
            indexed().map(|(at, (effect, _))| (effect.call, effect.call.begin, effect.end, at)),
        );
        let mut versions: Vec<_> =
            indexed().filter_map(|(at, (effect, _))| Some((effect.version?, at))).collect();
        versions.sort_unstable();
        Self { writes, writers: by_value, removals, times, versions }
    }

    /// Returns what is wrong with the value that a read shows for this name.
    fn check_read(
        &self,
        session: &Session<'_>,
        observation: &Observation<'_>,
        seen: &LoadedSession,
        name: &str,
    ) -> Option<Violation> {
        let shown = seen.values.get(name).map(String::as_str);
        let text = shown.map_or_else(|| format!("no {name}"), |value| format!("{name} = {value}"));
        // The write that may have left the shown value.
        let writer = match shown.map(|value| self.writers.get(value)) {
            Some(Some(writer)) => Some(*writer),
            Some(None) => {
                let text = format!(
                    "shows {text}, which no write of this session set, or only a refused one"
                );
                return Some(violation(Law::NeverWritten, session, observation, text, &[]));
            }
            None => None,
        };
        let candidates = writer.as_ref().map_or(self.removals.as_slice(), std::slice::from_ref);
        if let Some(writer) = writer.map(|at| self.writes[at].0)
            && (writer.call.begin > observation.end()
                || writer.version.is_some_and(|version| version > seen.version))
        {
            let text = format!("version {} shows {text}, which was written later", seen.version);
            return Some(violation(
                Law::NeverWritten,
                session,
                observation,
                text,
                &[writer.call.id],
            ));
        }
        self.check_version(session, observation, seen, candidates, &text)
            .or_else(|| self.check_time(session, observation, candidates, &text))
    }

    /// The shown value must come from the last write up to the version of the read, or from a write
    /// with an unknown version.
    fn check_version(
        &self,
        session: &Session<'_>,
        observation: &Observation<'_>,
        seen: &LoadedSession,
        candidates: &[usize],
        text: &str,
    ) -> Option<Violation> {
        let until = self.versions.partition_point(|(version, _)| *version <= seen.version);
        let (version, last) = *self.versions[..until].last()?;
        let is_last = |at: usize| {
            let effect = self.writes[at].0;
            at == last
                || (effect.version.is_none()
                    && effect.bound > version
                    && effect.call.begin <= observation.end())
        };
        if candidates.iter().any(|at| is_last(*at)) {
            return None;
        }
        let text =
            format!("version {} shows {text}, but version {version} wrote that name", seen.version);
        Some(violation(Law::LostWrite, session, observation, text, &self.ids(candidates, last)))
    }

    /// The shown value must come from a write that no later write has certainly replaced.
    fn check_time(
        &self,
        session: &Session<'_>,
        observation: &Observation<'_>,
        candidates: &[usize],
        text: &str,
    ) -> Option<Violation> {
        let fits = |at: usize| candidates.binary_search(&at).is_ok();
        if self
            .times
            .possible(observation.begin(), observation.end())
            .any(|entry| fits(entry.value))
        {
            return None;
        }
        let overwritten = self.times.all().filter(|entry| fits(entry.value));
        let last = overwritten
            .filter_map(|entry| self.times.successor(entry, observation.begin()))
            .last()?;
        let text = format!("shows {text}, which was overwritten before this call began");
        Some(violation(
            Law::LostWrite,
            session,
            observation,
            text,
            &self.ids(candidates, last.value),
        ))
    }

    fn ids(&self, candidates: &[usize], last: usize) -> Vec<u64> {
        // The last three removals are enough for a report.
        candidates
            .iter()
            .rev()
            .take(3)
            .chain([&last])
            .map(|at| self.writes[*at].0.call.id)
            .collect()
    }
}

fn violation(
    law: Law,
    session: &Session<'_>,
    observation: &Observation<'_>,
    text: String,
    others: &[u64],
) -> Violation {
    let creations = session.creations().map(|effect| effect.call.id);
    let mut calls: Vec<_> = creations.chain(others.iter().copied()).collect();
    calls.sort_unstable();
    calls.dedup();
    calls.retain(|id| *id != observation.call.id);
    calls.push(observation.call.id);
    Violation { law, of: session.key.to_owned(), text, calls }
}
