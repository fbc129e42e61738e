//! A session dies at its deadline, and the ages and lives that answers tell are right.

use std::collections::HashMap;

use super::{
    register::Register,
    session::{Effect, Session, Sight},
    violation::{Law, Verdict, Violation},
};

/// Nanoseconds in a millisecond, in which stores tell times.
const MILLISECOND: u64 = 1_000_000;

pub(super) fn check(session: &Session<'_>, tolerance: u64, verdict: &mut Verdict) {
    let lives = Register::new(session.lives());
    let sign_ins = Register::new(session.sign_ins());
    let births: Vec<_> =
        session.creations().map(|effect| (effect.call.begin, effect.end)).collect();
    // The rotation that installed each secret.
    let rotations: HashMap<&str, &Effect<'_>> = session
        .effects
        .iter()
        .filter_map(|effect| Some((effect.call.rotation()?.secret.as_str(), effect)))
        .collect();
    for sight in session.sights.iter().filter(|sight| sight.alive) {
        let writes_of_life =
            || lives.possible(sight.begin(), sight.end()).map(|entry| entry.call.id);
        verdict.ask(after_deadline(session, sight, &lives, tolerance));
        if let Some(ttl) = sight.ttl {
            // When the session ends by this answer.
            let told =
                (sight.begin() + ttl * MILLISECOND, sight.end().saturating_add(ttl * MILLISECOND));
            let mut deadlines = lives.possible(sight.begin(), sight.end()).map(|entry| {
                let life = entry.value * MILLISECOND;
                (entry.begin.saturating_add(life), entry.end.saturating_add(life))
            });
            let text = || format!("is told to live for {ttl} ms, which fits no write of its life");
            let fits = deadlines.any(|deadline| meet(told, deadline, tolerance));
            verdict.ask(
                (!fits).then(|| broken(session, sight, writes_of_life(), Law::ToldTime, &text())),
            );
        }
        if let Some(age) = sight.age {
            let text = || format!("is told to be {age} ms old, which does not fit its creation");
            let fits = births.iter().any(|birth| meet(ago(sight, age), *birth, tolerance));
            verdict.ask(
                (!fits).then(|| broken(session, sight, writes_of_life(), Law::ToldTime, &text())),
            );
        }
        if let Some(authenticated) = sight.authenticated {
            let possible = || sign_ins.possible(sight.begin(), sight.end());
            let fits = possible().any(|entry| match (entry.value.principal, authenticated) {
                (Some(_), Some(age)) => meet(ago(sight, age), (entry.begin, entry.end), tolerance),
                (None, None) => true,
                _ => false,
            });
            let text = || match authenticated {
                Some(age) => format!("is told to be signed in for {age} ms, which fits no sign-in"),
                None => "is told to have no user, and has one".to_owned(),
            };
            verdict.ask((!fits).then(|| {
                broken(
                    session,
                    sight,
                    possible().map(|entry| entry.call.id),
                    Law::ToldTime,
                    &text(),
                )
            }));
        }
        if let Some(seen) = sight.seen {
            let rotation = rotations.get(seen.secret.as_str());
            let fits = |span: (u64, u64)| meet(ago(sight, seen.rotated), span, tolerance);
            let fits = rotation.map_or_else(
                || births.iter().any(|birth| fits(*birth)),
                |effect| fits((effect.call.begin, effect.end)),
            );
            let text = || {
                format!(
                    "is told to be rotated {} ms ago, which does not fit its secret",
                    seen.rotated
                )
            };
            let writes = rotation.into_iter().map(|effect| effect.call.id);
            verdict.ask((!fits).then(|| broken(session, sight, writes, Law::ToldTime, &text())));
        }
    }
}

/// When something happened that an answer tells to be so many milliseconds old.
fn ago(sight: &Sight<'_>, age: u64) -> (u64, u64) {
    (sight.begin().saturating_sub(age * MILLISECOND), sight.end().saturating_sub(age * MILLISECOND))
}

fn after_deadline(
    session: &Session<'_>,
    sight: &Sight<'_>,
    lives: &Register<'_, u64>,
    tolerance: u64,
) -> Option<Violation> {
    // The life that this call itself writes comes too late to save the session. A creation begins
    // one.
    let is_creation = session.creations().any(|effect| effect.call.id == sight.call.id);
    let others = || {
        lives
            .possible(sight.begin(), sight.end())
            .filter(|entry| is_creation || entry.call.id != sight.call.id)
    };
    let deadline =
        others().map(|entry| entry.end.saturating_add(entry.value * MILLISECOND)).max()?;
    if deadline.saturating_add(tolerance) >= sight.begin() {
        return None;
    }
    let text = format!(
        "was seen alive {} ms after its deadline",
        (sight.begin() - deadline) / MILLISECOND
    );
    Some(broken(session, sight, others().map(|entry| entry.call.id), Law::AfterDeadline, &text))
}

/// Whether two spans of time have a moment in common, give or take.
pub(super) fn meet(one: (u64, u64), other: (u64, u64), tolerance: u64) -> bool {
    one.0 <= other.1.saturating_add(tolerance) && other.0 <= one.1.saturating_add(tolerance)
}

fn broken(
    session: &Session<'_>,
    sight: &Sight<'_>,
    writes: impl Iterator<Item = u64>,
    law: Law,
    text: &str,
) -> Violation {
    let mut calls: Vec<_> =
        session.creations().map(|effect| effect.call.id).chain(writes).collect();
    calls.sort_unstable();
    calls.dedup();
    calls.retain(|id| *id != sight.call.id);
    calls.push(sight.call.id);
    Violation { law, of: session.key.to_owned(), text: format!("{} {text}", session.key), calls }
}
