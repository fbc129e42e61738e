//! The laws of versions: versions count changes, and guards hold.

use std::collections::HashMap;

use super::{
    session::{Observation, Session},
    violation::{Law, Verdict, Violation},
};
use crate::history::{Answer, Call, LoadedSession, Op};

pub(super) fn check(session: &Session<'_>, verdict: &mut Verdict) {
    let reported: Vec<_> = session
        .observations
        .iter()
        .filter_map(|observation| Some((observation, observation.version?)))
        .collect();
    check_order(session, &reported, verdict);
    check_changes(session, &reported, verdict);
    check_guards(session, &reported, verdict);
    let mut first_seen: HashMap<u64, (&Observation<'_>, &LoadedSession)> = HashMap::new();
    for (observation, version) in &reported {
        let Some(seen) = observation.seen else { continue };
        let (first, known) = *first_seen.entry(*version).or_insert((observation, seen));
        let differs = seen.values != known.values || seen.principal != known.principal;
        verdict.record(differs.then(|| {
            broken(
                session,
                Law::Version,
                format!("version {version} was read with two contents"),
                &[first.call, observation.call],
            )
        }));
    }
}

/// A later call sees the same or a newer version, and a change makes a newer one.
fn check_order(session: &Session<'_>, reported: &[(&Observation<'_>, u64)], verdict: &mut Verdict) {
    let mut by_end = reported.to_vec();
    by_end.sort_by_key(|(observation, _)| observation.end());
    let mut ended = by_end.into_iter().peekable();
    let mut newest: Option<(&Observation<'_>, u64)> = None;
    for (observation, version) in reported {
        while let Some(earlier) = ended.next_if(|(earlier, _)| earlier.end() <= observation.begin())
        {
            newest = newest.filter(|(_, newest)| *newest >= earlier.1).or(Some(earlier));
        }
        let Some((earlier, newest)) = newest else { continue };
        let is_older =
            if is_change(observation.call) { *version <= newest } else { *version < newest };
        verdict.record(is_older.then(|| {
            let text = format!("version {version} came after version {newest}");
            broken(session, Law::Version, text, &[earlier.call, observation.call])
        }));
    }
}

/// Each change has its own version, and the version is not higher than the number of changes.
fn check_changes(
    session: &Session<'_>,
    reported: &[(&Observation<'_>, u64)],
    verdict: &mut Verdict,
) {
    let mut makers: HashMap<u64, &Call> = HashMap::new();
    for effect in session.effects.iter().filter(|effect| is_change(effect.call)) {
        let Some(version) = effect.version else { continue };
        let first = *makers.entry(version).or_insert(effect.call);
        verdict.record((first.id != effect.call.id).then(|| {
            broken(
                session,
                Law::Version,
                format!("version {version} was made by two changes"),
                &[first, effect.call],
            )
        }));
    }
    let mut begins: Vec<_> = session
        .effects
        .iter()
        .filter(|effect| is_change(effect.call))
        .map(|effect| effect.call.begin)
        .collect();
    begins.sort_unstable();
    for (observation, version) in reported {
        let changes = begins.partition_point(|begin| *begin <= observation.end()) as u64;
        verdict.record((*version > changes + 1).then(|| {
            let creations: Vec<_> =
                session.creations().map(|effect| effect.call).chain([observation.call]).collect();
            broken(
                session,
                Law::Version,
                format!("version {version} was seen after only {changes} requested changes"),
                &creations,
            )
        }));
    }
}

/// A commit with a guard makes the next version, and conflicts only if the version was another.
fn check_guards(
    session: &Session<'_>,
    reported: &[(&Observation<'_>, u64)],
    verdict: &mut Verdict,
) {
    // For each version: the span in which it was certainly the version of the record.
    let mut spans: HashMap<u64, (u64, u64)> = HashMap::new();
    for (observation, version) in reported {
        let span = spans.entry(*version).or_insert((u64::MAX, 0));
        *span = (span.0.min(observation.end()), span.1.max(observation.begin()));
    }
    let mut judged = Vec::new();
    for observation in &session.observations {
        let Op::Commit { guard, write, .. } = &observation.call.op else { continue };
        match (&observation.call.answer, guard) {
            (Some(Answer::Done { version, .. }), Some(guard)) => {
                let due = guard + u64::from(write.is_change());
                judged.push((*version != due).then(|| {
                    format!("made version {version} with guard {guard}; expected version {due}")
                }));
            }
            (Some(Answer::Conflict), None) => {
                judged.push(Some("conflicted without a guard".to_owned()));
            }
            (Some(Answer::Conflict), Some(guard)) => {
                let held = spans.get(guard).is_some_and(|(from, to)| {
                    *from <= observation.begin() && observation.end() <= *to
                });
                judged.push(held.then(|| {
                    format!(
                        "conflicted with guard {guard}, which was the version during the whole call"
                    )
                }));
            }
            _ => continue,
        }
        if let Some(text) = judged.pop() {
            verdict.record(text.map(|text| broken(session, Law::Guard, text, &[observation.call])));
        }
    }
}

fn is_change(call: &Call) -> bool {
    matches!(&call.op, Op::Commit { write, .. } if write.is_change())
}

fn broken(session: &Session<'_>, law: Law, text: String, calls: &[&Call]) -> Violation {
    Violation {
        law,
        of: session.key.to_owned(),
        text,
        calls: calls.iter().map(|call| call.id).collect(),
    }
}
