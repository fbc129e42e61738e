//! A session dies at its deadline, and what is told of its life is so.

use super::{
    lineage::{Lineage, Sight},
    register::Register,
    violation::{Law, Verdict, Violation},
};

/// Nanoseconds in a millisecond, in which stores tell times.
const MILLISECOND: u64 = 1_000_000;

pub(super) fn check(lineage: &Lineage<'_>, tolerance: u64, verdict: &mut Verdict) {
    let lives = Register::new(lineage.lives());
    let births: Vec<_> = lineage.creations().map(|effect| (effect.call.begin, effect.end)).collect();
    for sight in lineage.sights.iter().filter(|sight| sight.alive) {
        verdict.ask(after_deadline(lineage, sight, &lives, tolerance));
        if let Some(ttl) = sight.ttl {
            // When it was told that the session ends.
            let told = (sight.begin() + ttl * MILLISECOND, sight.end().saturating_add(ttl * MILLISECOND));
            let mut deadlines = lives.possible(sight.begin(), sight.end()).map(|entry| {
                let life = entry.value * MILLISECOND;
                (entry.begin.saturating_add(life), entry.end.saturating_add(life))
            });
            verdict.ask((!deadlines.any(|deadline| meet(told, deadline, tolerance))).then(|| {
                broken(lineage, sight, &lives, Law::ToldTime, &format!("was told to live for {ttl} ms, which fits no write of its life"))
            }));
        }
        if let Some(age) = sight.age {
            let told = (sight.begin().saturating_sub(age * MILLISECOND), sight.end().saturating_sub(age * MILLISECOND));
            let fits = births.iter().any(|birth| meet(told, *birth, tolerance));
            verdict.ask((!fits).then(|| {
                broken(lineage, sight, &lives, Law::ToldTime, &format!("was told to be {age} ms old, which does not fit its creation"))
            }));
        }
    }
}

fn after_deadline(lineage: &Lineage<'_>, sight: &Sight<'_>, lives: &Register<'_, u64>, tolerance: u64) -> Option<Violation> {
    // What this call itself does to the life comes too late to save it; but a creation begins one.
    let is_creation = lineage.creations().any(|effect| effect.call.id == sight.call.id);
    let others = lives.possible(sight.begin(), sight.end()).filter(|entry| is_creation || entry.call.id != sight.call.id);
    let deadline = others.map(|entry| entry.end.saturating_add(entry.value * MILLISECOND)).max()?;
    if deadline.saturating_add(tolerance) >= sight.begin() {
        return None;
    }
    let late = (sight.begin() - deadline) / MILLISECOND;
    Some(broken(lineage, sight, lives, Law::AfterDeadline, &format!("was seen alive {late} ms after its deadline")))
}

/// Whether two spans of time have a moment in common, give or take.
fn meet(one: (u64, u64), other: (u64, u64), tolerance: u64) -> bool {
    one.0 <= other.1.saturating_add(tolerance) && other.0 <= one.1.saturating_add(tolerance)
}

fn broken(lineage: &Lineage<'_>, sight: &Sight<'_>, lives: &Register<'_, u64>, law: Law, text: &str) -> Violation {
    let mut calls: Vec<_> = lineage.creations().map(|effect| effect.call.id).collect();
    calls.extend(lives.possible(sight.begin(), sight.end()).map(|entry| entry.call.id));
    calls.sort_unstable();
    calls.dedup();
    calls.retain(|id| *id != sight.call.id);
    calls.push(sight.call.id);
    Violation { law, of: lineage.root.to_owned(), text: format!("{} {text}", sight.key), calls }
}
