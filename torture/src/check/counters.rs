//! The laws of counters: a counter holds the sum of the additions.

use std::collections::BTreeSet;

use super::{
    session::{Effect, Session},
    violation::{Law, Verdict, Violation},
};
use crate::history::{Answer, Call};

/// The value of a counter in one answer.
#[derive(Debug, Clone, Copy)]
struct Reading<'a> {
    call: &'a Call,
    version: u64,
    sum: i64,
}

/// One addition to a counter.
#[derive(Debug, Clone, Copy)]
struct Addition<'a, 'l> {
    effect: &'l Effect<'a>,
    by: i64,
}

pub(super) fn check(session: &Session<'_>, verdict: &mut Verdict) {
    let names: BTreeSet<&str> = session
        .effects
        .iter()
        .flat_map(|effect| effect.write.add.keys())
        .map(String::as_str)
        .collect();
    for name in names {
        let additions = session
            .effects
            .iter()
            .filter_map(|effect| Some(Addition { effect, by: *effect.write.add.get(name)? }))
            .collect();
        let mut readings = readings(session, name);
        readings.sort_by_key(|reading| (reading.version, reading.call.begin));
        Counter { name, session, additions }.check(&readings, verdict);
    }
}

fn readings<'a>(session: &Session<'a>, name: &str) -> Vec<Reading<'a>> {
    let mut readings = Vec::new();
    for observation in &session.observations {
        let call = observation.call;
        if let (Some(seen), Some(version)) = (observation.seen, observation.version) {
            // A value that is not an integer becomes `i64::MIN`, so it is reported as a lost
            // addition.
            let sum =
                seen.values.get(name).map_or(Some(0), |text| text.parse().ok()).unwrap_or(i64::MIN);
            readings.push(Reading { call, version, sum });
        }
        if let Some(Answer::Done { version, added, .. }) = &call.answer {
            readings.extend(added.get(name).map(|sum| Reading {
                call,
                version: *version,
                sum: *sum,
            }));
        }
    }
    readings
}

struct Counter<'a, 'l> {
    name: &'l str,
    session: &'l Session<'a>,
    additions: Vec<Addition<'a, 'l>>,
}

impl Counter<'_, '_> {
    fn check(&self, readings: &[Reading<'_>], verdict: &mut Verdict) {
        let (known, unknown): (Vec<_>, Vec<_>) =
            self.additions.iter().copied().partition(|addition| addition.effect.version.is_some());
        let by_version =
            Sums::new(known.iter().map(|addition| (addition.effect.bound, addition.by)));
        let by_end =
            Sums::new(self.additions.iter().map(|addition| (addition.effect.end, addition.by)));
        let by_begin = Sums::new(
            self.additions.iter().map(|addition| (addition.effect.call.begin, addition.by)),
        );
        let bounded =
            Sums::new(unknown.iter().map(|addition| (addition.effect.bound, addition.by)));
        let pending =
            Sums::new(unknown.iter().map(|addition| (addition.effect.call.begin, addition.by)));
        for reading in readings {
            let (begin, end) = (reading.call.begin, reading.call.end_or_never());
            let certain = by_version.until(reading.version) + bounded.until(reading.version);
            let least = certain.max(by_end.until(begin));
            let most =
                (by_version.until(reading.version) + pending.until(end)).min(by_begin.until(end));
            verdict.record(self.outside(reading, None, least, most));
        }
        // The same rule for two neighbouring readings, which needs fewer calls as a proof.
        for pair in readings.windows(2) {
            let [before, after] = pair else { continue };
            let between = by_version.until(after.version) - by_version.until(before.version);
            let open = if before.version == after.version {
                0
            } else {
                pending.until(after.call.end_or_never())
            };
            let (least, most) =
                (before.sum.saturating_add(between), before.sum.saturating_add(between + open));
            verdict.record(self.outside(after, Some(before), least, most));
        }
    }

    fn outside(
        &self,
        reading: &Reading<'_>,
        before: Option<&Reading<'_>>,
        least: i64,
        most: i64,
    ) -> Option<Violation> {
        if (least..=most).contains(&reading.sum) {
            return None;
        }
        let law = if reading.sum < least { Law::LostAdd } else { Law::SurplusAdd };
        let since = before.map(|before| before.version);
        let counts = |addition: &&Addition<'_, '_>| {
            let effect = addition.effect;
            match effect.version {
                Some(version) => {
                    version <= reading.version && since.is_none_or(|since| version > since)
                }
                None => effect.call.begin <= reading.call.end_or_never(),
            }
        };
        let additions =
            self.additions.iter().filter(counts).map(|addition| addition.effect.call.id);
        let creations = self.session.creations().map(|effect| effect.call.id);
        let mut calls: Vec<_> =
            creations.chain(before.map(|before| before.call.id)).chain(additions).collect();
        calls.retain(|id| *id != reading.call.id);
        calls.push(reading.call.id);
        let text = format!(
            "counter {} is {} in version {}; expected {least} to {most}",
            self.name, reading.sum, reading.version
        );
        Some(Violation { law, of: self.session.key.to_owned(), text, calls })
    }
}

/// The running sums of the additions, each with the point at which it is reached.
struct Sums(Vec<(u64, i64)>);

impl Sums {
    fn new(parts: impl Iterator<Item = (u64, i64)>) -> Self {
        let mut parts: Vec<_> = parts.collect();
        parts.sort_unstable();
        let mut total = 0;
        for (_, sum) in &mut parts {
            total += *sum;
            *sum = total;
        }
        Self(parts)
    }

    fn until(&self, point: u64) -> i64 {
        let count = self.0.partition_point(|(at, _)| *at <= point);
        count.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}
