//! The laws of times: a session ends at its deadline, and answers show its ages and remaining life
//! correctly.

use std::collections::HashMap;

use super::{
    register::Register,
    session::{Effect, Observation, Session},
    violation::{Law, Verdict, Violation},
};

/// Nanoseconds in a millisecond, the unit of the times in answers.
const MILLISECOND: u64 = 1_000_000;

pub(super) fn check(session: &Session<'_>, tolerance: u64, verdict: &mut Verdict) {
    let ttls = Register::new(session.ttls());
    let sign_ins = Register::new(session.sign_ins());
    let creations: Vec<_> =
        session.creations().map(|effect| (effect.call.begin, effect.end)).collect();
    // The rotation that installed each secret.
    let rotations: HashMap<&str, &Effect<'_>> = session
        .effects
        .iter()
        .filter_map(|effect| Some((effect.call.rotation()?.secret.as_str(), effect)))
        .collect();
    for observation in session.observations.iter().filter(|observation| observation.alive) {
        let writes_of_life =
            || ttls.possible(observation.begin(), observation.end()).map(|entry| entry.call.id);
        verdict.record(after_deadline(session, observation, &ttls, tolerance));
        if let Some(ttl) = observation.ttl {
            // The span in which the session ends by this answer.
            let reported = (
                observation.begin() + ttl * MILLISECOND,
                observation.end().saturating_add(ttl * MILLISECOND),
            );
            let mut deadlines =
                ttls.possible(observation.begin(), observation.end()).map(|entry| {
                    let life = entry.value * MILLISECOND;
                    (entry.begin.saturating_add(life), entry.end.saturating_add(life))
                });
            let text = || format!("has {ttl} ms to live by this answer, which fits no write");
            let fits = deadlines.any(|deadline| overlap(reported, deadline, tolerance));
            verdict.record(
                (!fits).then(|| {
                    broken(session, observation, writes_of_life(), Law::WrongTime, &text())
                }),
            );
        }
        if let Some(age) = observation.age {
            let text =
                || format!("is {age} ms old by this answer, which does not fit its creation");
            let fits = creations
                .iter()
                .any(|creation| overlap(ago(observation, age), *creation, tolerance));
            verdict.record(
                (!fits).then(|| {
                    broken(session, observation, writes_of_life(), Law::WrongTime, &text())
                }),
            );
        }
        if let Some(authenticated) = observation.authenticated {
            let possible = || sign_ins.possible(observation.begin(), observation.end());
            let fits = possible().any(|entry| match (entry.value.principal, authenticated) {
                (Some(_), Some(age)) => {
                    overlap(ago(observation, age), (entry.begin, entry.end), tolerance)
                }
                (None, None) => true,
                _ => false,
            });
            let text = || match authenticated {
                Some(age) => {
                    format!("was signed in {age} ms ago by this answer, which fits no sign-in")
                }
                None => "has no user by this answer, but a user is signed in".to_owned(),
            };
            verdict.record((!fits).then(|| {
                broken(
                    session,
                    observation,
                    possible().map(|entry| entry.call.id),
                    Law::WrongTime,
                    &text(),
                )
            }));
        }
        if let Some(seen) = observation.seen {
            let rotation = rotations.get(seen.secret.as_str());
            let fits = |span: (u64, u64)| overlap(ago(observation, seen.rotated), span, tolerance);
            let fits = rotation.map_or_else(
                || creations.iter().any(|creation| fits(*creation)),
                |effect| fits((effect.call.begin, effect.end)),
            );
            let text = || {
                format!(
                    "was rotated {} ms ago by this answer, which does not fit its secret",
                    seen.rotated
                )
            };
            let writes = rotation.into_iter().map(|effect| effect.call.id);
            verdict.record(
                (!fits).then(|| broken(session, observation, writes, Law::WrongTime, &text())),
            );
        }
    }
}

/// The span in which an event took place that the answer reports as `age` milliseconds old.
fn ago(observation: &Observation<'_>, age: u64) -> (u64, u64) {
    (
        observation.begin().saturating_sub(age * MILLISECOND),
        observation.end().saturating_sub(age * MILLISECOND),
    )
}

fn after_deadline(
    session: &Session<'_>,
    observation: &Observation<'_>,
    ttls: &Register<'_, u64>,
    tolerance: u64,
) -> Option<Violation> {
    // The life that the call itself writes cannot save an expired session. A creation starts a new
    // session.
    let is_creation = session.creations().any(|effect| effect.call.id == observation.call.id);
    let others = || {
        ttls.possible(observation.begin(), observation.end())
            .filter(|entry| is_creation || entry.call.id != observation.call.id)
    };
    let deadline =
        others().map(|entry| entry.end.saturating_add(entry.value * MILLISECOND)).max()?;
    if deadline.saturating_add(tolerance) >= observation.begin() {
        return None;
    }
    let text = format!(
        "was seen alive {} ms after its deadline",
        (observation.begin() - deadline) / MILLISECOND
    );
    Some(broken(
        session,
        observation,
        others().map(|entry| entry.call.id),
        Law::AfterDeadline,
        &text,
    ))
}

/// Whether two spans overlap, within the tolerance.
pub(super) fn overlap(one: (u64, u64), other: (u64, u64), tolerance: u64) -> bool {
    one.0 <= other.1.saturating_add(tolerance) && other.0 <= one.1.saturating_add(tolerance)
}

fn broken(
    session: &Session<'_>,
    observation: &Observation<'_>,
    writes: impl Iterator<Item = u64>,
    law: Law,
    text: &str,
) -> Violation {
    let mut calls: Vec<_> =
        session.creations().map(|effect| effect.call.id).chain(writes).collect();
    calls.sort_unstable();
    calls.dedup();
    calls.retain(|id| *id != observation.call.id);
    calls.push(observation.call.id);
    Violation { law, of: session.key.to_owned(), text: format!("{} {text}", session.key), calls }
}
