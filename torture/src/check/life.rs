//! A session that ended stays so, ends once, and ends for a reason.

use super::{
    principals::Principals,
    register::Register,
    session::{Session, Sight, SignedIn},
    violation::{Law, Verdict, Violation},
};
use crate::history::{Answer, Call, Fate, Op};

/// The session was certainly dead by then, and the call that proves it.
type Death<'a> = (u64, &'a Call);

pub(super) fn check<'a>(
    session: &Session<'a>,
    principals: &Principals<'a>,
    is_listed: bool,
    tolerance: u64,
    verdict: &mut Verdict,
) {
    let owners = Register::new(session.sign_ins());
    let lives = Register::new(session.lives());
    // A revocation finds the sessions that are in the list.
    let revoked = revocation(session, principals, &owners).filter(|_| is_listed);
    let death = death(session);
    for sight in &session.sights {
        if sight.alive {
            for (by, call) in death.iter().chain(&revoked) {
                verdict.ask((*by <= sight.begin()).then(|| resurrection(session, sight, call)));
            }
        } else if let Some((_, birth)) = session.born.filter(|(by, _)| *by <= sight.begin()) {
            let explained = is_explained(session, sight, principals, &owners, &lives, tolerance);
            verdict.ask((!explained).then(|| loss(session, sight, birth)));
        }
    }
    // No client draws a key twice, so a second creation changes a live session or revives a dead
    // one.
    let births: Vec<_> = session
        .creations()
        .filter(|effect| effect.call.fate() == Fate::Happened)
        .map(|effect| effect.call.id)
        .collect();
    verdict
        .ask((births.len() > 1).then(|| {
            broken(session, Law::TwoBirths, "was made by more than one creation", births)
        }));
    let ends = session.ends.iter().filter(|call| call.answer == Some(Answer::Deleted(true)));
    let ends: Vec<_> =
        session.born.iter().map(|(_, birth)| birth.id).chain(ends.map(|call| call.id)).collect();
    verdict.ask(
        (ends.len() > 2)
            .then(|| broken(session, Law::TwoEnds, "was ended by more than one deletion", ends)),
    );
}

/// When the session was certainly dead for the first time.
pub(super) fn death<'a>(session: &Session<'a>) -> Option<Death<'a>> {
    let born = session.born.map_or(u64::MAX, |(by, _)| by);
    let dead = session.sights.iter().filter(|sight| {
        let was_there = !sight.alive && born <= sight.begin();
        was_there || sight.call.answer == Some(Answer::Deleted(true))
    });
    dead.map(|sight| (sight.end(), sight.call)).min_by_key(|(by, _)| *by)
}

/// The first revocation that the session cannot have survived.
fn revocation<'a>(
    session: &Session<'a>,
    principals: &Principals<'a>,
    owners: &Register<'a, SignedIn<'a>>,
) -> Option<Death<'a>> {
    let (born, _) = session.born?;
    let mut names: Vec<_> = owners.all().filter_map(|entry| entry.value.principal).collect();
    names.sort_unstable();
    names.dedup();
    // A revocation that began after the last sight breaks nothing.
    let last = session.sights.last()?.begin();
    let all = names
        .into_iter()
        .flat_map(|name| principals.revocations(name, last).iter().map(move |call| (name, *call)));
    let deadly = all.filter(|(name, call)| {
        // A session that may have been another user's for a moment of the call may have survived
        // it.
        let certainly_theirs = || {
            owners
                .possible(call.begin, call.end_or_never())
                .all(|entry| entry.value.principal == Some(*name))
        };
        call.fate() == Fate::Happened
            && born <= call.begin
            && !spares(call, session)
            && certainly_theirs()
    });
    deadly.map(|(_, call)| (call.end_or_never(), call)).min_by_key(|(by, _)| *by)
}

fn spares(revocation: &Call, session: &Session<'_>) -> bool {
    matches!(&revocation.op, Op::Revoke { except: Some(except), .. } if except == session.key)
}

/// Whether a call or the deadline can have ended the session by the time at which it was not there.
fn is_explained(
    session: &Session<'_>,
    sight: &Sight<'_>,
    principals: &Principals<'_>,
    owners: &Register<'_, SignedIn<'_>>,
    lives: &Register<'_, u64>,
    tolerance: u64,
) -> bool {
    let ended =
        session.ends.iter().any(|call| call.id != sight.call.id && call.begin <= sight.end());
    ended || has_expired(sight, lives, tolerance) || is_revoked(session, sight, principals, owners)
}

/// Whether the deadline can have come by then.
pub(super) fn has_expired(sight: &Sight<'_>, lives: &Register<'_, u64>, tolerance: u64) -> bool {
    let others =
        lives.possible(sight.begin(), sight.end()).filter(|entry| entry.call.id != sight.call.id);
    others
        .map(|entry| entry.begin.saturating_add(entry.value * 1_000_000))
        .any(|earliest| earliest <= sight.end().saturating_add(tolerance))
}

fn is_revoked(
    session: &Session<'_>,
    sight: &Sight<'_>,
    principals: &Principals<'_>,
    owners: &Register<'_, SignedIn<'_>>,
) -> bool {
    owners.all().filter_map(|entry| entry.value.principal).any(|name| {
        principals.revocations(name, sight.end()).iter().rev().any(|call| {
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

fn resurrection(session: &Session<'_>, sight: &Sight<'_>, death: &Call) -> Violation {
    let mut calls: Vec<_> =
        session.born.iter().map(|(_, call)| call.id).chain([death.id, sight.call.id]).collect();
    calls.dedup();
    broken(session, Law::Resurrection, "had ended by then, and was seen alive", calls)
}

fn loss(session: &Session<'_>, sight: &Sight<'_>, birth: &Call) -> Violation {
    let text = "was there and is not; no call that was made by then ends it, and its deadline has not come";
    broken(session, Law::Loss, text, vec![birth.id, sight.call.id])
}

fn broken(session: &Session<'_>, law: Law, text: &str, calls: Vec<u64>) -> Violation {
    Violation { law, of: session.key.to_owned(), text: format!("{} {text}", session.key), calls }
}
