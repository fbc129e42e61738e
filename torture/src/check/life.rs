//! What is over stays over, ends once, and ends for a reason.

use std::collections::HashMap;

use super::{
    lineage::{Lineage, Sight},
    principals::Principals,
    register::Register,
    violation::{Law, Verdict, Violation},
};
use crate::history::{Answer, Call, Fate, Op};

/// A key was certainly dead by then, and the call that proves it.
type Death<'a> = (u64, &'a Call);

pub(super) fn check<'a>(lineage: &Lineage<'a>, principals: &Principals<'a>, is_listed: bool, tolerance: u64, verdict: &mut Verdict) {
    let owners = Register::new(lineage.sign_ins());
    let lives = Register::new(lineage.lives());
    // A revocation finds those that are in the list.
    let revoked = revocation(lineage, principals, &owners).filter(|_| is_listed);
    let deaths = deaths(lineage);
    for sight in &lineage.sights {
        if sight.alive {
            let death = deaths.get(sight.key).filter(|(by, _)| *by <= sight.begin());
            verdict.ask(death.map(|(_, call)| resurrection(lineage, sight, call)));
            // The key that a revocation spares is that of its own session, so its whole session is left out there.
            let death = revoked.filter(|(by, _)| *by <= sight.begin());
            verdict.ask(death.map(|(_, call)| resurrection(lineage, sight, call)));
        } else if let Some((_, birth)) = lineage.born.get(sight.key).filter(|(by, _)| *by <= sight.begin()) {
            let explained = is_explained(lineage, sight, principals, &owners, &lives, tolerance);
            verdict.ask((!explained).then(|| loss(lineage, sight, birth)));
        }
    }
    let births: Vec<_> = lineage.creations().filter(|effect| effect.call.fate() == Fate::Happened).map(|effect| effect.call.id).collect();
    // No key is drawn twice here, so whoever creates it again does so while it lives, or after it ended.
    verdict.ask((births.len() > 1).then(|| {
        let text = format!("{} was made by {} creations; one can do that", lineage.root, births.len());
        Violation { law: Law::TwoBirths, of: lineage.root.to_owned(), text, calls: births.clone() }
    }));
    for (key, (_, birth)) in &lineage.born {
        let claims = claims(lineage, key);
        verdict.ask((claims.len() > 1).then(|| two_ends(lineage, key, birth, &claims)));
    }
}

/// When each key was certainly dead for the first time.
pub(super) fn deaths<'a>(lineage: &Lineage<'a>) -> HashMap<&'a str, Death<'a>> {
    let mut deaths: HashMap<&str, Death<'a>> = HashMap::new();
    let mut note = |key: &'a str, by: u64, call: &'a Call| {
        let first = deaths.entry(key).or_insert((by, call));
        if by < first.0 {
            *first = (by, call);
        }
    };
    for sight in &lineage.sights {
        let was_there = lineage.born.get(sight.key).is_some_and(|(by, _)| *by <= sight.begin());
        let has_ended = sight.call.answer == Some(Answer::Deleted(true));
        if (!sight.alive && was_there) || has_ended {
            note(sight.key, sight.end(), sight.call);
        }
    }
    for end in &lineage.ends {
        if let (Some(key), Some((by, call))) = (end.key(), end.target().and_then(|target| lineage.born.get(target))) {
            note(key, *by, call);
        }
    }
    deaths
}

/// The first revocation that the session cannot have survived.
fn revocation<'a>(lineage: &Lineage<'a>, principals: &Principals<'a>, owners: &Register<'a, Option<&'a str>>) -> Option<Death<'a>> {
    let born = lineage.born.values().map(|(by, _)| *by).min()?;
    let mut names: Vec<_> = owners.all().filter_map(|entry| entry.value).collect();
    names.sort_unstable();
    names.dedup();
    // What began after the session was seen last breaks nothing.
    let last = lineage.sights.last()?.begin();
    let all = names.into_iter().flat_map(|name| principals.revocations(name, last).iter().map(move |call| (name, *call)));
    let deadly = all.filter(|(name, call)| {
        let spares = matches!(&call.op, Op::Revoke { except: Some(except), .. } if lineage.has_key(except));
        // Whoever may have been somebody else's for a moment of the call may have lived through it.
        let certainly_theirs = || owners.possible(call.begin, call.end_or_never()).all(|entry| entry.value == Some(*name));
        call.fate() == Fate::Happened && born <= call.begin && !spares && certainly_theirs()
    });
    deadly.map(|(_, call)| (call.end_or_never(), call)).min_by_key(|(by, _)| *by)
}

/// Whether something that was asked can have ended the key by the time it was not there any more.
fn is_explained(
    lineage: &Lineage<'_>,
    sight: &Sight<'_>,
    principals: &Principals<'_>,
    owners: &Register<'_, Option<&str>>,
    lives: &Register<'_, u64>,
    tolerance: u64,
) -> bool {
    let ended = lineage.ends.iter().any(|call| call.id != sight.call.id && call.key() == Some(sight.key) && call.begin <= sight.end());
    ended || has_expired(sight, lives, tolerance) || is_revoked(sight, principals, owners)
}

/// Whether it can have been over by then.
pub(super) fn has_expired(sight: &Sight<'_>, lives: &Register<'_, u64>, tolerance: u64) -> bool {
    let others = lives.possible(sight.begin(), sight.end()).filter(|entry| entry.call.id != sight.call.id);
    others
        .map(|entry| entry.begin.saturating_add(entry.value * 1_000_000))
        .any(|earliest| earliest <= sight.end().saturating_add(tolerance))
}

fn is_revoked(sight: &Sight<'_>, principals: &Principals<'_>, owners: &Register<'_, Option<&str>>) -> bool {
    owners.all().filter_map(|entry| entry.value).any(|name| {
        principals.revocations(name, sight.end()).iter().rev().any(|call| {
            let spares = matches!(&call.op, Op::Revoke { except: Some(except), .. } if except == sight.key);
            let killed = call.answer != Some(Answer::Revoked(0));
            let may_be_theirs = || owners.possible(call.begin, call.settled()).any(|entry| entry.value == Some(name));
            killed && !spares && may_be_theirs()
        })
    })
}

/// The calls that each ended this key, by their own account or by what was seen of their targets.
fn claims<'a>(lineage: &Lineage<'a>, key: &str) -> Vec<&'a Call> {
    let of_key = lineage.ends.iter().copied().filter(|call| call.key() == Some(key));
    let certain = |call: &&Call| match call.target() {
        Some(target) => call.fate() == Fate::Happened || lineage.born.contains_key(target),
        None => call.answer == Some(Answer::Deleted(true)),
    };
    of_key.filter(certain).collect()
}

fn resurrection(lineage: &Lineage<'_>, sight: &Sight<'_>, death: &Call) -> Violation {
    let mut calls: Vec<_> = lineage.born.get(sight.key).map(|(_, call)| call.id).into_iter().collect();
    // A move proves itself by what is seen of its target.
    calls.extend(lineage.ends.iter().find(|call| call.target().is_some() && call.target() == death.key()).map(|call| call.id));
    calls.extend([death.id, sight.call.id]);
    calls.dedup();
    let text = format!("{} was over by then, and was seen alive", sight.key);
    Violation { law: Law::Resurrection, of: lineage.root.to_owned(), text, calls }
}

fn loss(lineage: &Lineage<'_>, sight: &Sight<'_>, birth: &Call) -> Violation {
    let text = format!("{} was there and is not; nothing that was asked by then ends it, and its deadline has not come", sight.key);
    Violation { law: Law::Loss, of: lineage.root.to_owned(), text, calls: vec![birth.id, sight.call.id] }
}

fn two_ends(lineage: &Lineage<'_>, key: &str, birth: &Call, claims: &[&Call]) -> Violation {
    let proofs = claims.iter().filter_map(|call| lineage.born.get(call.target()?)).map(|(_, proof)| proof.id);
    let mut calls: Vec<_> = [birth.id].into_iter().chain(claims.iter().map(|call| call.id)).chain(proofs).collect();
    calls.sort_unstable();
    calls.dedup();
    let text = format!("{key} was ended or moved away by {} calls; one can do that", claims.len());
    Violation { law: Law::TwoEnds, of: lineage.root.to_owned(), text, calls }
}
