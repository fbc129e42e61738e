//! The laws of lists: a list shows every live session of its principal once, and no other session.

use std::collections::{HashMap, HashSet};

use super::{
    lifetime::{first_end, has_expired},
    principals::Principals,
    register::Register,
    session::{Observation, Session, SignedIn},
    violation::{Law, Verdict, Violation},
};
use crate::history::{Answer, Call, Op};

/// The keys in each answered list, by the id of the list call.
pub(super) type ListedKeys<'a> = HashMap<u64, HashSet<&'a str>>;

pub(super) fn shown(calls: &[Call]) -> ListedKeys<'_> {
    let lists = calls.iter().filter_map(|call| match &call.answer {
        Some(Answer::Listed(shown)) => {
            Some((call.id, shown.iter().map(|one| one.key.as_str()).collect()))
        }
        _ => None,
    });
    lists.collect()
}

/// Reports keys that no call used, and sessions that one list shows twice.
pub(super) fn check_lists(calls: &[Call], keys: &HashSet<&str>, verdict: &mut Verdict) {
    for call in calls {
        let (Op::List { principal }, Some(Answer::Listed(shown))) = (&call.op, &call.answer) else {
            continue;
        };
        let broken =
            |law, text| Violation { law, of: principal.clone(), text, calls: vec![call.id] };
        let unknown = shown.iter().find(|one| !keys.contains(one.key.as_str()));
        verdict.record(unknown.map(|one| {
            broken(Law::ForeignInList, format!("shows {}, which no call created", one.key))
        }));
        let mut seen = HashSet::new();
        let twice = shown.iter().find(|one| !seen.insert(&one.key));
        verdict
            .record(twice.map(|one| broken(Law::ListedTwice, format!("shows {} twice", one.key))));
    }
}

pub(super) fn check<'a>(
    session: &Session<'a>,
    principals: &Principals<'a>,
    shown: &ListedKeys<'_>,
    is_listed: bool,
    tolerance: u64,
    verdict: &mut Verdict,
) {
    let owners = Register::new(session.sign_ins());
    let ttls = Register::new(session.ttls());
    let mut names: Vec<_> = owners.all().filter_map(|entry| entry.value.principal).collect();
    names.sort_unstable();
    names.dedup();
    let reads: Vec<_> =
        session.observations.iter().filter(|observation| observation.seen.is_some()).collect();
    for observation in session.observations.iter().filter(|observation| observation.alive) {
        // The list shows the session, so the session must belong to the principal.
        let Op::List { principal } = &observation.call.op else { continue };
        let mut theirs = owners
            .possible(observation.begin(), observation.end())
            .filter(|entry| entry.value.principal == Some(principal));
        let is_foreign = theirs.next().is_none()
            || between(&reads, observation).is_some_and(|owner| owner != Some(principal));
        verdict.record(is_foreign.then(|| {
            let signed_in: Vec<_> = owners
                .possible(observation.begin(), observation.end())
                .map(|entry| entry.call)
                .collect();
            broken(
                session,
                Law::ForeignInList,
                format!("{} is shown as a session of {principal}", session.key),
                &signed_in,
                observation.call,
            )
        }));
    }
    let Some((alive_since, proof)) = session.alive_since.filter(|_| is_listed) else { return };
    // Lists that began after the session was certainly alive and before it had certainly ended.
    let ended = first_end(session).map_or(u64::MAX, |(by, _)| by);
    for (name, list) in names.iter().flat_map(|name| {
        principals.lists(name, alive_since, ended).iter().map(move |list| (*name, *list))
    }) {
        if shown.get(&list.id).is_none_or(|shown| shown.contains(session.key)) {
            continue;
        }
        let observation = Observation::bare(list, false);
        let is_missing =
            certainly_theirs(session, &observation, name, principals, &owners, &ttls, tolerance)
                || between(&reads, &observation).is_some_and(|owner| owner == Some(name));
        let text = || format!("{} was a live session of {name} and is not shown", session.key);
        verdict.record(
            is_missing.then(|| broken(session, Law::MissingInList, text(), &[proof], list)),
        );
    }
}

/// Whether the session was alive and belonged to this principal during the whole call.
fn certainly_theirs(
    session: &Session<'_>,
    observation: &Observation<'_>,
    name: &str,
    principals: &Principals<'_>,
    owners: &Register<'_, SignedIn<'_>>,
    ttls: &Register<'_, u64>,
    tolerance: u64,
) -> bool {
    let may_be_over = session.deletions.iter().any(|call| call.begin <= observation.end());
    // Any possible revocation makes the proof impossible, so the exception of the call is ignored.
    let may_be_revoked = || {
        let names = owners.all().filter_map(|entry| entry.value.principal);
        names
            .flat_map(|name| principals.revocations(name, observation.end()))
            .any(|call| call.answer != Some(Answer::Revoked(0)))
    };
    let owned = || {
        owners
            .possible(observation.begin(), observation.end())
            .all(|entry| entry.value.principal == Some(name))
    };
    !may_be_over && !has_expired(observation, ttls, tolerance) && owned() && !may_be_revoked()
}

/// The principal of the session during the whole call. It is known if the reads before and after
/// the call found the same version, because then nothing changed in between.
#[expect(
    clippy::option_option,
    reason = "an unknown principal and a session without a user are two cases"
)]
fn between<'a>(
    reads: &[&Observation<'a>],
    observation: &Observation<'_>,
) -> Option<Option<&'a str>> {
    let (begun, later) =
        reads.split_at(reads.partition_point(|read| read.begin() < observation.end()));
    let after = later.first()?;
    // Versions only grow, so the last read that ended before the list began is enough.
    let before = begun.iter().rev().find(|read| read.end() <= observation.begin())?;
    (before.version == after.version)
        .then(|| before.seen.and_then(|seen| seen.principal.as_deref()))
}

fn broken(session: &Session<'_>, law: Law, text: String, others: &[&Call], at: &Call) -> Violation {
    let calls =
        others.iter().map(|call| call.id).filter(|id| *id != at.id).chain([at.id]).collect();
    Violation { law, of: session.key.to_owned(), text, calls }
}
