//! The laws of secrets: a superseded secret is refused, one of several rotations wins, and answers
//! show the secret, the sign-in and the claim as they were written.

use std::collections::HashMap;

use super::{
    register::Register,
    session::{Effect, Observation, Session, SignedIn},
    times::overlap,
    violation::{Law, Verdict, Violation},
};
use crate::history::{Answer, Call, CallOutcome, LoadedSession, Op, Rotate};

/// The time by which a fact was certain, and the calls that prove it.
#[derive(Debug, Clone)]
struct Proof {
    by: u64,
    calls: Vec<u64>,
}

/// The secrets of one session.
#[derive(Debug)]
struct Secrets<'a, 'l> {
    session: &'l Session<'a>,
    /// The rotations that were not refused, the last one first.
    rotations: Vec<(&'l Effect<'a>, &'a Rotate)>,
    /// The writes that install each secret.
    installers: HashMap<&'a str, Vec<&'l Effect<'a>>>,
    /// The rotations that replace each secret.
    replacers: HashMap<&'a str, Vec<&'l Effect<'a>>>,
    /// For each secret: the time by which it had certainly been the current one.
    installed: HashMap<&'a str, Proof>,
    /// For each secret: the time by which it had certainly been replaced.
    superseded: HashMap<&'a str, Proof>,
}

pub(super) fn check(session: &Session<'_>, tolerance: u64, verdict: &mut Verdict) {
    let secrets = Secrets::of(session);
    let sign_ins = Register::new(session.sign_ins());
    secrets.check_rotations(verdict);
    for observation in &session.observations {
        if let Some(secret) = observation.secret {
            verdict.record(secrets.accepted_superseded(observation, secret));
        }
        if let Some(seen) = observation.seen {
            verdict.record(secrets.wrong_identity(observation, seen, &sign_ins, tolerance));
        }
        match (&observation.call.op, &observation.call.answer) {
            (Op::Commit { secret, .. }, Some(Answer::Superseded)) => {
                verdict.record(secrets.wrongly_superseded(observation, secret));
            }
            (Op::Delete { claim, .. }, Some(answer)) => {
                verdict.record(secrets.wrong_claim(observation, *claim, answer, &sign_ins));
            }
            _ => {}
        }
    }
}

impl<'a, 'l> Secrets<'a, 'l> {
    fn of(session: &'l Session<'a>) -> Self {
        let rotations =
            session.effects.iter().filter_map(|effect| Some((effect, effect.call.rotation()?)));
        let mut rotations: Vec<_> = rotations.collect();
        rotations.sort_by_key(|(effect, _)| std::cmp::Reverse(effect.call.begin));
        let (mut installers, mut replacers): (HashMap<_, Vec<_>>, HashMap<_, Vec<_>>) =
            (HashMap::new(), HashMap::new());
        for effect in &session.effects {
            if let Some(secret) = installs(effect.call) {
                installers.entry(secret).or_default().push(effect);
            }
            if let Some(secret) = effect.call.rotation().and(effect.call.secret()) {
                replacers.entry(secret).or_default().push(effect);
            }
        }
        let mut secrets = Self {
            session,
            rotations,
            installers,
            replacers,
            installed: HashMap::new(),
            superseded: HashMap::new(),
        };
        for observation in &session.observations {
            let former = observation
                .seen
                .and_then(|seen| seen.grace.as_ref())
                .map(|(former, _)| former.as_str());
            for secret in observation.secret.into_iter().chain(former) {
                keep_earliest(
                    &mut secrets.installed,
                    secret,
                    observation.end(),
                    vec![observation.call.id],
                );
            }
        }
        for (effect, rotation) in &secrets.rotations {
            if effect.call.outcome() == CallOutcome::Happened {
                keep_earliest(
                    &mut secrets.installed,
                    &rotation.secret,
                    effect.call.end_or_never(),
                    vec![effect.call.id],
                );
            }
        }
        // A client rotates a secret only after it began the rotation that installed it. The
        // rotations are sorted from last to first, so each secret is handled before the one that it
        // replaced.
        for (effect, rotation) in &secrets.rotations {
            let Some(former) = effect.call.secret() else { continue };
            let Some(Proof { by, mut calls }) =
                secrets.installed.get(rotation.secret.as_str()).cloned()
            else {
                continue;
            };
            calls.push(effect.call.id);
            keep_earliest(&mut secrets.installed, former, by, calls.clone());
            keep_earliest(&mut secrets.superseded, former, by, calls);
        }
        for observation in session
            .observations
            .iter()
            .filter(|observation| observation.call.answer == Some(Answer::Superseded))
        {
            let Some(secret) = observation.call.secret() else { continue };
            let installed =
                secrets.installed.get(secret).filter(|proof| proof.by <= observation.begin());
            if let Some(mut calls) = installed.map(|proof| proof.calls.clone()) {
                calls.push(observation.call.id);
                keep_earliest(&mut secrets.superseded, secret, observation.end(), calls);
            }
        }
        secrets
    }

    /// At most one of the rotations of one secret may take effect.
    fn check_rotations(&self, verdict: &mut Verdict) {
        let mut winners: HashMap<&str, Vec<u64>> = HashMap::new();
        for (effect, rotation) in self.rotations.iter().rev() {
            let (Some(former), Some(proof)) =
                (effect.call.secret(), self.installed.get(rotation.secret.as_str()))
            else {
                continue;
            };
            let calls = winners.entry(former).or_default();
            let is_second = !calls.is_empty();
            calls.push(effect.call.id);
            calls.extend(&proof.calls);
            verdict.record(is_second.then(|| {
                let text = format!("two rotations replaced the secret {former}");
                self.violation(Law::RotatedTwice, text, calls, None)
            }));
        }
    }

    /// The answer shows this secret as the current one. It must have been installed, and no other
    /// secret may have replaced it yet.
    fn accepted_superseded(
        &self,
        observation: &Observation<'a>,
        secret: &str,
    ) -> Option<Violation> {
        let mut installers = self.installers.get(secret).into_iter().flatten();
        if !installers.any(|effect| effect.call.begin <= observation.end()) {
            let text = format!("accepts {secret} as the current secret, but no call installed it");
            return Some(self.violation(Law::NeverWritten, text, &[], Some(observation.call)));
        }
        let proof = self.superseded.get(secret).filter(|proof| proof.by <= observation.begin())?;
        let text = format!(
            "accepts {secret} as the current secret, which had been replaced before this call began"
        );
        Some(self.violation(Law::SupersededAccepted, text, &proof.calls, Some(observation.call)))
    }

    /// A commit may be refused as superseded only if a rotation may have replaced its secret.
    fn wrongly_superseded(&self, observation: &Observation<'a>, secret: &str) -> Option<Violation> {
        let installed =
            self.installed.get(secret).filter(|proof| proof.by <= observation.begin())?;
        let mut replacers = self.replacers.get(secret).into_iter().flatten();
        if replacers.any(|effect| {
            effect.call.id != observation.call.id && effect.call.begin <= observation.end()
        }) {
            return None;
        }
        let text = format!(
            "refuses {secret} as superseded; it was installed, and no \
             rotation up to then replaces it"
        );
        Some(self.violation(Law::SupersededWrongly, text, &installed.calls, Some(observation.call)))
    }

    /// A read must show the principal, the generation and the grace as they were written.
    fn wrong_identity(
        &self,
        observation: &Observation<'a>,
        seen: &LoadedSession,
        sign_ins: &Register<'a, SignedIn<'a>>,
        tolerance: u64,
    ) -> Option<Violation> {
        let signed_in = SignedIn { principal: seen.principal.as_deref(), since: seen.since };
        let possible: Vec<_> = sign_ins.possible(observation.begin(), observation.end()).collect();
        if !possible.iter().any(|entry| entry.value == signed_in) {
            let text = format!(
                "shows {:?} signed in since generation {}, which fits no write",
                seen.principal, seen.since
            );
            let writes: Vec<_> = possible.iter().map(|entry| entry.call.id).collect();
            return Some(self.violation(Law::Identity, text, &writes, Some(observation.call)));
        }
        // `accepted_superseded` reports a secret that no call installed.
        let installers = self.installers.get(seen.secret.as_str())?;
        let reported: Option<Vec<_>> = installers
            .iter()
            .map(|effect| {
                difference(effect, observation, seen, tolerance).map(|text| (text, effect.call.id))
            })
            .collect();
        let (text, installer) = reported?.into_iter().next()?;
        Some(self.violation(Law::Identity, text, &[installer], Some(observation.call)))
    }

    /// A deletion with a claim ends a session whose user signed in at the generation of the claim
    /// or before. It leaves other sessions alone.
    fn wrong_claim(
        &self,
        observation: &Observation<'a>,
        claim: Option<u32>,
        answer: &Answer,
        sign_ins: &Register<'a, SignedIn<'a>>,
    ) -> Option<Violation> {
        let mut sinces = sign_ins
            .possible(observation.begin(), observation.end())
            .map(|entry| entry.value.since);
        let reaches = |since: u32| claim.is_none_or(|generation| since <= generation);
        let text = match answer {
            Answer::Deleted(true) if !sinces.any(reaches) => {
                "ended a session that the claim does not reach"
            }
            Answer::Superseded if sinces.all(reaches) => {
                "did not end a session that the claim reaches"
            }
            _ => return None,
        };
        let writes: Vec<_> = sign_ins
            .possible(observation.begin(), observation.end())
            .map(|entry| entry.call.id)
            .collect();
        Some(self.violation(Law::Claim, text.to_owned(), &writes, Some(observation.call)))
    }

    fn violation(&self, law: Law, text: String, others: &[u64], at: Option<&Call>) -> Violation {
        let creations = self.session.creations().map(|effect| effect.call.id);
        let mut calls: Vec<_> = creations.chain(others.iter().copied()).collect();
        calls.sort_unstable();
        calls.dedup();
        if let Some(at) = at {
            calls.retain(|id| *id != at.id);
            calls.push(at.id);
        }
        Violation { law, of: self.session.key.to_owned(), text, calls }
    }
}

/// Records a proof, and keeps the earliest one.
fn keep_earliest<'a>(
    proofs: &mut HashMap<&'a str, Proof>,
    secret: &'a str,
    by: u64,
    calls: Vec<u64>,
) {
    let first = proofs.entry(secret).or_insert_with(|| Proof { by, calls: calls.clone() });
    if by < first.by {
        *first = Proof { by, calls };
    }
}

/// Returns the secret that a call installs.
fn installs(call: &Call) -> Option<&str> {
    match &call.op {
        Op::Create { secret, .. } => Some(secret),
        _ => call.rotation().map(|rotation| rotation.secret.as_str()),
    }
}

/// Returns how a read differs from the write that installed the secret.
fn difference(
    installer: &Effect<'_>,
    observation: &Observation<'_>,
    seen: &LoadedSession,
    tolerance: u64,
) -> Option<String> {
    let rotation = installer.call.rotation();
    let generation = rotation.map_or(0, |rotation| rotation.generation);
    if seen.generation != generation {
        return Some(format!(
            "shows generation {}; the secret was installed with {generation}",
            seen.generation
        ));
    }
    let grace = rotation.and_then(|rotation| rotation.grace).map(|grace| grace * 1_000_000);
    let until = |grace: u64| {
        (installer.call.begin.saturating_add(grace), installer.end.saturating_add(grace))
    };
    match (&seen.grace, grace) {
        (None, None) => None,
        (Some((former, left)), Some(grace)) => {
            let left = left * 1_000_000;
            let reported =
                (observation.begin().saturating_add(left), observation.end().saturating_add(left));
            let fits = installer.call.secret() == Some(former)
                && overlap(reported, until(grace), tolerance);
            (!fits).then(|| {
                format!(
                    "shows {former} as the former secret for {} ms, which fits no rotation",
                    left / 1_000_000
                )
            })
        }
        (None, Some(grace)) => {
            let is_over = until(grace).0 <= observation.end().saturating_add(tolerance);
            (!is_over)
                .then(|| "shows no former secret, although its grace has not ended".to_owned())
        }
        (Some((former, _)), None) => {
            Some(format!("shows {former} as the former secret after a rotation without a grace"))
        }
    }
}
