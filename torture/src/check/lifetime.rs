//! The laws of a session's lifetime: it stays ended, ends once, and ends only for a reason.

use std::collections::HashSet;

use super::{
    principals::Principals,
    register::Register,
    session::{Observation, Session, SignedIn, sessions},
    violation::{Law, Verdict, Violation},
};
use crate::history::{Answer, Call, CallOutcome, Op};

/// The time by which the session had certainly ended, and the call that proves it.
type ProvedEnd<'a> = (u64, &'a Call);

pub(super) fn check<'a>(
    session: &Session<'a>,
    principals: &Principals<'a>,
    is_listed: bool,
    tolerance: u64,
    verdict: &mut Verdict,
) {
    let owners = Register::new(session.sign_ins());
    let ttls = Register::new(session.ttls());
    // A revocation ends only the sessions that are in the list.
    let revoked = revocation(session, principals, &owners).filter(|_| is_listed);
    let first_end = first_end(session);
    for observation in &session.observations {
        if observation.alive {
            for (by, call) in first_end.iter().chain(&revoked) {
                verdict.record(
                    (*by <= observation.begin()).then(|| resurrection(session, observation, call)),
                );
            }
        } else if let Some((_, proof)) =
            session.alive_since.filter(|(by, _)| *by <= observation.begin())
        {
            let explained =
                is_explained(session, observation, principals, &owners, &ttls, tolerance);
            verdict.record((!explained).then(|| loss(session, observation, proof)));
        }
    }
    // Each key is drawn once, so a second creation changes a live session or revives an ended one.
    let creations: Vec<_> = session
        .creations()
        .filter(|effect| effect.call.outcome() == CallOutcome::Happened)
        .map(|effect| effect.call.id)
        .collect();
    verdict.record((creations.len() > 1).then(|| {
        broken(session, Law::CreatedTwice, "was created by more than one call", creations)
    }));
    let deletions =
        session.deletions.iter().filter(|call| call.answer == Some(Answer::Deleted(true)));
    let deletions: Vec<_> = session
        .alive_since
        .iter()
        .map(|(_, proof)| proof.id)
        .chain(deletions.map(|call| call.id))
        .collect();
    verdict.record((deletions.len() > 2).then(|| {
        broken(session, Law::DeletedTwice, "was ended by more than one deletion", deletions)
    }));
}

/// Returns the first time by which the session had certainly ended.
pub(super) fn first_end<'a>(session: &Session<'a>) -> Option<ProvedEnd<'a>> {
    let alive_since = session.alive_since.map_or(u64::MAX, |(by, _)| by);
    let ends = session.observations.iter().filter(|observation| {
        let was_there = !observation.alive && alive_since <= observation.begin();
        was_there || observation.call.answer == Some(Answer::Deleted(true))
    });
    ends.map(|observation| (observation.end(), observation.call)).min_by_key(|(by, _)| *by)
}

/// Returns the keys of the sessions that may be alive, and the keys of those that have certainly
/// ended. Both start with the oldest.
#[must_use]
pub fn open_and_ended_keys(calls: &[Call]) -> (Vec<&str>, Vec<&str>) {
    let sessions = sessions(calls);
    let over: HashSet<_> = sessions
        .iter()
        .filter(|session| first_end(session).is_some())
        .map(|session| session.key)
        .collect();
    let mut seen = HashSet::new();
    calls
        .iter()
        .filter_map(Call::key)
        .filter(|key| seen.insert(*key))
        .partition(|key| !over.contains(key))
}

/// Returns the first revocation that must have ended the session.
fn revocation<'a>(
    session: &Session<'a>,
    principals: &Principals<'a>,
    owners: &Register<'a, SignedIn<'a>>,
) -> Option<ProvedEnd<'a>> {
    let (alive_since, _) = session.alive_since?;
    let mut names: Vec<_> = owners.all().filter_map(|entry| entry.value.principal).collect();
    names.sort_unstable();
    names.dedup();
    // A revocation that began after the last observation cannot be contradicted.
    let last = session.observations.last()?.begin();
    let all = names
        .into_iter()
        .flat_map(|name| principals.revocations(name, last).iter().map(move |call| (name, *call)));
    let effective = all.filter(|(name, call)| {
        // If the session may have belonged to another user at some moment of the call, it may have
        // survived the revocation.
        let certainly_theirs = || {
            owners
                .possible(call.begin, call.end_or_never())
                .all(|entry| entry.value.principal == Some(*name))
        };
        call.outcome() == CallOutcome::Happened
            && alive_since <= call.begin
            && !spares(call, session)
            && certainly_theirs()
    });
    effective.map(|(_, call)| (call.end_or_never(), call)).min_by_key(|(by, _)| *by)
}

fn spares(revocation: &Call, session: &Session<'_>) -> bool {
    matches!(&revocation.op, Op::Revoke { except: Some(except), .. } if except == session.key)
}

/// Whether a call or the deadline may have ended the session before the observation.
fn is_explained(
    session: &Session<'_>,
    observation: &Observation<'_>,
    principals: &Principals<'_>,
    owners: &Register<'_, SignedIn<'_>>,
    ttls: &Register<'_, u64>,
    tolerance: u64,
) -> bool {
    let ended = session
        .deletions
        .iter()
        .any(|call| call.id != observation.call.id && call.begin <= observation.end());
    ended
        || has_expired(observation, ttls, tolerance)
        || is_revoked(session, observation, principals, owners)
}

/// Whether the deadline may have passed before the end of the observation.
pub(super) fn has_expired(
    observation: &Observation<'_>,
    ttls: &Register<'_, u64>,
    tolerance: u64,
) -> bool {
    let others = ttls
        .possible(observation.begin(), observation.end())
        .filter(|entry| entry.call.id != observation.call.id);
    others
        .map(|entry| entry.begin.saturating_add(entry.value * 1_000_000))
        .any(|earliest| earliest <= observation.end().saturating_add(tolerance))
}

fn is_revoked(
    session: &Session<'_>,
    observation: &Observation<'_>,
    principals: &Principals<'_>,
    owners: &Register<'_, SignedIn<'_>>,
) -> bool {
    owners.all().filter_map(|entry| entry.value.principal).any(|name| {
        principals.revocations(name, observation.end()).iter().rev().any(|call| {
            let killed = call.answer != Some(Answer::Revoked(0));
            let may_be_theirs = || {
                owners
                    .possible(call.begin, call.settled())
                    .any(|entry| entry.value.principal == Some(name))
            };
            killed && !spares(call, session) && may_be_theirs()
        })
    })
}

fn resurrection(session: &Session<'_>, observation: &Observation<'_>, end: &Call) -> Violation {
    let mut calls: Vec<_> = session
        .alive_since
        .iter()
        .map(|(_, call)| call.id)
        .chain([end.id, observation.call.id])
        .collect();
    calls.dedup();
    broken(session, Law::Resurrection, "had ended before this call, which shows it alive", calls)
}

fn loss(session: &Session<'_>, observation: &Observation<'_>, proof: &Call) -> Violation {
    let text = "existed and is missing; no earlier call ended it, and its deadline had not passed";
    broken(session, Law::LostSession, text, vec![proof.id, observation.call.id])
}

fn broken(session: &Session<'_>, law: Law, text: &str, calls: Vec<u64>) -> Violation {
    Violation { law, of: session.key.to_owned(), text: format!("{} {text}", session.key), calls }
}
