//! Lists show the live sessions of their principal, and no others.

use std::collections::{HashMap, HashSet};

use super::{
    life::{deaths, has_expired},
    lineage::{Keys, Lineage, Sight},
    principals::Principals,
    register::Register,
    violation::{Law, Verdict, Violation},
};
use crate::history::{Answer, Call, Op};

/// What each answered list shows, by the number of its call.
pub(super) type Shown<'a> = HashMap<u64, HashSet<&'a str>>;

pub(super) fn shown(calls: &[Call]) -> Shown<'_> {
    let lists = calls.iter().filter_map(|call| match &call.answer {
        Some(Answer::Listed(shown)) => Some((call.id, shown.iter().map(|one| one.key.as_str()).collect())),
        _ => None,
    });
    lists.collect()
}

/// Keys that nobody ever asked for.
pub(super) fn check_strangers(calls: &[Call], keys: &Keys<'_>, verdict: &mut Verdict) {
    for call in calls {
        let (Op::List { principal }, Some(Answer::Listed(shown))) = (&call.op, &call.answer) else { continue };
        let stranger = shown.iter().find(|one| keys.root(&one.key).is_none());
        verdict.ask(stranger.map(|one| {
            let text = format!("shows {}, which nobody made", one.key);
            Violation { law: Law::ForeignInList, of: principal.clone(), text, calls: vec![call.id] }
        }));
    }
}

pub(super) fn check<'a>(
    lineage: &Lineage<'a>,
    principals: &Principals<'a>,
    shown: &Shown<'_>,
    is_listed: bool,
    tolerance: u64,
    verdict: &mut Verdict,
) {
    let owners = Register::new(lineage.sign_ins());
    let lives = Register::new(lineage.lives());
    let mut names: Vec<_> = owners.all().filter_map(|entry| entry.value).collect();
    names.sort_unstable();
    names.dedup();
    let mut reads: Reads<'_, '_> = HashMap::new();
    for sight in lineage.sights.iter().filter(|sight| sight.seen.is_some()) {
        reads.entry(sight.key).or_default().push(sight);
    }
    for sight in lineage.sights.iter().filter(|sight| sight.alive) {
        // It is seen in a list: it may be the principal's.
        let Op::List { principal } = &sight.call.op else { continue };
        let mut theirs = owners.possible(sight.begin(), sight.end()).filter(|entry| entry.value == Some(principal));
        let is_foreign = theirs.next().is_none() || between(&reads, sight).is_some_and(|owner| owner != Some(principal));
        verdict.ask(is_foreign.then(|| {
            let signed_in: Vec<_> = owners.possible(sight.begin(), sight.end()).map(|entry| entry.call).collect();
            broken(lineage, Law::ForeignInList, format!("{} is shown as a session of {principal}", sight.key), &signed_in, sight.call)
        }));
    }
    if !is_listed {
        return;
    }
    let deaths = deaths(lineage);
    for (key, (born, birth)) in &lineage.born {
        // Lists that began when the key was certainly there, and not yet certainly dead.
        let dead = deaths.get(key).map_or(u64::MAX, |(by, _)| *by);
        for (name, list) in names.iter().flat_map(|name| principals.lists(name, *born, dead).iter().map(move |list| (*name, *list))) {
            if shown.get(&list.id).is_none_or(|shown| shown.contains(key)) {
                continue;
            }
            let sight = Sight { call: list, key, alive: false, version: None, ttl: None, age: None, seen: None };
            let is_missing = certainly_theirs(lineage, &sight, name, principals, &owners, &lives, tolerance)
                || between(&reads, &sight).is_some_and(|owner| owner == Some(name));
            verdict.ask(
                is_missing
                    .then(|| broken(lineage, Law::MissingInList, format!("{key} was alive, of {name}, and is not shown"), &[birth], list)),
            );
        }
    }
}

/// Whether a key was alive and this principal's through the whole call.
fn certainly_theirs(
    lineage: &Lineage<'_>,
    sight: &Sight<'_>,
    name: &str,
    principals: &Principals<'_>,
    owners: &Register<'_, Option<&str>>,
    lives: &Register<'_, u64>,
    tolerance: u64,
) -> bool {
    let may_be_over = lineage.ends.iter().any(|call| call.key() == Some(sight.key) && call.begin <= sight.end());
    // Whether it is the one that was spared does not matter: a session that may be revoked proves nothing.
    let may_be_revoked = || {
        let names = owners.all().filter_map(|entry| entry.value);
        names.flat_map(|name| principals.revocations(name, sight.end())).any(|call| call.answer != Some(Answer::Revoked(0)))
    };
    let owned = || owners.possible(sight.begin(), sight.end()).all(|entry| entry.value == Some(name));
    !may_be_over && !has_expired(sight, lives, tolerance) && owned() && !may_be_revoked()
}

/// The reads of each key, in the order of their beginnings.
type Reads<'a, 'l> = HashMap<&'a str, Vec<&'l Sight<'a>>>;

/// Who was signed in all the time, if reads before and after found this key with the same version: then nothing changed in between.
#[expect(clippy::option_option, reason = "the outer one is whether it is known, the inner one is nobody")]
fn between<'a>(reads: &Reads<'a, '_>, sight: &Sight<'_>) -> Option<Option<&'a str>> {
    let reads = reads.get(sight.key)?;
    let (begun, later) = reads.split_at(reads.partition_point(|read| read.begin() < sight.end()));
    let after = later.first()?;
    // The versions only grow, so the last that ended before is the one to compare with.
    let before = begun.iter().rev().find(|read| read.end() <= sight.begin())?;
    (before.version == after.version).then(|| before.seen.and_then(|seen| seen.principal.as_deref()))
}

fn broken(lineage: &Lineage<'_>, law: Law, text: String, others: &[&Call], at: &Call) -> Violation {
    let calls = others.iter().map(|call| call.id).filter(|id| *id != at.id).chain([at.id]).collect();
    Violation { law, of: lineage.root.to_owned(), text, calls }
}
