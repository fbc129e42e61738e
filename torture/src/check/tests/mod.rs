//! Tests of the checker with small histories: what breaks each law, and what only looks like it.

mod failovers;

use std::collections::BTreeMap;

use super::{Law, check, minimal};
use crate::history::{
    Answer, Call, Failover, Fault, History, ListedSession, LoadedSession, Op, Rotate, Write,
};

/// A millisecond in the clock of the history.
const MS: u64 = 1_000_000;
/// A life that does not end within a test, in milliseconds.
const LONG: u64 = 600_000;

/// Builds a history call by call. By default each call takes a millisecond and follows the one
/// before.
#[derive(Default)]
struct HistoryBuilder(Vec<Call>);

impl HistoryBuilder {
    /// Adds a call from one millisecond to another.
    fn between(mut self, begin: u64, end: u64, op: Op, answer: Answer) -> Self {
        let id = self.0.len() as u64;
        self.0.push(Call {
            id,
            by: "t".to_owned(),
            begin: begin * MS,
            end: Some(end * MS),
            op,
            answer: Some(answer),
        });
        self
    }

    /// Adds a call after the last one.
    fn then(self, op: Op, answer: Answer) -> Self {
        let begin =
            self.0.iter().map(|call| call.end.unwrap_or(call.begin) / MS).max().unwrap_or_default()
                + 1;
        self.between(begin, begin + 1, op, answer)
    }

    /// Removes the answer of the last call, as if its process was killed.
    fn killed(mut self) -> Self {
        if let Some(call) = self.0.last_mut() {
            (call.end, call.answer) = (None, None);
        }
        self
    }

    fn history(self) -> History {
        let (store, faults, failovers) = ("test".to_owned(), Vec::new(), Vec::new());
        History {
            store,
            seed: 1,
            start: 0,
            tolerance: 5,
            unsynced: 0,
            faults,
            failovers,
            apart: false,
            calls: self.0,
        }
    }

    /// Returns the broken laws, each with the id of the call that shows it.
    fn broken(self) -> Vec<(Law, u64)> {
        let mut found: Vec<_> = check(&self.history())
            .violations
            .iter()
            .map(|found| (found.law, *found.calls.last().unwrap()))
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn write(set: &[(&str, &str)]) -> Write {
    Write {
        set: set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..Write::default()
    }
}

fn sum(name: &str, by: i64) -> Write {
    Write { add: [(name.to_owned(), by)].into(), ..Write::default() }
}

fn create(key: &str, write: Write) -> Op {
    let write = Write { ttl: write.ttl.or(Some(LONG)), ..write };
    Op::Create { key: key.to_owned(), secret: "s0".to_owned(), write }
}

/// A commit with the first secret.
fn commit(key: &str, write: Write) -> Op {
    commit_with("s0", key, write)
}

fn commit_with(secret: &str, key: &str, write: Write) -> Op {
    Op::Commit { key: key.to_owned(), secret: secret.to_owned(), guard: None, write, rotate: None }
}

fn guarded(guard: u64, write: Write) -> Op {
    Op::Commit {
        key: "k".to_owned(),
        secret: "s0".to_owned(),
        guard: Some(guard),
        write,
        rotate: None,
    }
}

/// The digit in the name of a secret is its generation: `s1`, `s1b`.
fn generation(secret: &str) -> u32 {
    secret[1..2].parse().unwrap()
}

fn rotate(from: &str, to: &str) -> Op {
    rotate_and(from, to, None, Write::default())
}

fn rotate_and(from: &str, to: &str, grace: Option<u64>, write: Write) -> Op {
    let rotate = Some(Rotate { secret: to.to_owned(), generation: generation(to), grace });
    Op::Commit { key: "k".to_owned(), secret: from.to_owned(), guard: None, write, rotate }
}

fn load(key: &str) -> Op {
    Op::Load { key: key.to_owned() }
}

fn delete(key: &str) -> Op {
    Op::Delete { key: key.to_owned(), claim: None }
}

fn claim(generation: u32) -> Op {
    Op::Delete { key: "k".to_owned(), claim: Some(generation) }
}

fn list(principal: &str) -> Op {
    Op::List { principal: principal.to_owned() }
}

fn revoke(principal: &str) -> Op {
    Op::Revoke { principal: principal.to_owned(), except: None }
}

fn of(principal: &str) -> Write {
    Write { principal: Some(Some(principal.to_owned())), ..Write::default() }
}

/// An answer with times that fit a session created at the first millisecond.
fn done(version: u64, at: u64) -> Answer {
    Answer::Done { version, added: BTreeMap::new(), age: at, authenticated: None, ttl: LONG - at }
}

/// The answer to a commit of a session whose user signed in `authenticated` milliseconds ago.
fn done_of(version: u64, at: u64, authenticated: u64) -> Answer {
    Answer::Done {
        version,
        added: BTreeMap::new(),
        age: at,
        authenticated: Some(authenticated),
        ttl: LONG - at,
    }
}

fn summed(version: u64, at: u64, name: &str, sum: i64) -> Answer {
    Answer::Done {
        version,
        added: [(name.to_owned(), sum)].into(),
        age: at,
        authenticated: None,
        ttl: LONG - at,
    }
}

/// An anonymous session with its first secret.
fn record(version: u64, at: u64) -> LoadedSession {
    LoadedSession {
        values: BTreeMap::new(),
        version,
        secret: "s0".to_owned(),
        generation: 0,
        since: 0,
        grace: None,
        principal: None,
        age: at,
        rotated: at,
        authenticated: None,
        ttl: LONG - at,
    }
}

fn seen(version: u64, at: u64, values: &[(&str, &str)]) -> Answer {
    let values =
        values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Answer::Found(LoadedSession { values, ..record(version, at) })
}

/// A session that was rotated `rotated` milliseconds ago.
fn rotated(secret: &str, version: u64, at: u64, rotated: u64) -> LoadedSession {
    LoadedSession {
        secret: secret.to_owned(),
        generation: generation(secret),
        rotated,
        ..record(version, at)
    }
}

/// A session that was created for this user.
fn seen_of(principal: &str, version: u64, at: u64) -> Answer {
    Answer::Found(LoadedSession {
        principal: Some(principal.to_owned()),
        authenticated: Some(at),
        ..record(version, at)
    })
}

/// A session whose user signed in with secret `s1` `ago` milliseconds ago.
fn signed_in(principal: &str, version: u64, at: u64, ago: u64) -> LoadedSession {
    LoadedSession {
        principal: Some(principal.to_owned()),
        authenticated: Some(ago),
        since: 1,
        ..rotated("s1", version, at, ago)
    }
}

fn shown(keys: &[&str]) -> Answer {
    Answer::Listed(
        keys.iter()
            .map(|key| ListedSession { key: (*key).to_owned(), authenticated: 0, ttl: LONG })
            .collect(),
    )
}

fn unknown() -> Answer {
    Answer::Unknown("a timeout".to_owned())
}

fn created() -> HistoryBuilder {
    HistoryBuilder::default().then(create("k", Write::default()), Answer::New)
}

#[test]
fn plain_lifetime_breaks_no_law() {
    let calls = created()
        .then(commit("k", write(&[("v0", "1")])), done(2, 2))
        .then(commit("k", sum("n0", 3)), summed(3, 4, "n0", 3))
        .then(load("k"), seen(3, 6, &[("v0", "1"), ("n0", "3")]))
        .then(rotate_and("s0", "s1", Some(100), Write::default()), done(3, 8))
        .then(commit("k", sum("n0", 3)), Answer::Superseded)
        .then(rotate_and("s1", "s2", None, of("p")), done_of(4, 12, 0))
        .then(load("k"), {
            let values =
                [("v0".to_owned(), "1".to_owned()), ("n0".to_owned(), "3".to_owned())].into();
            let seen = LoadedSession {
                values,
                since: 2,
                principal: Some("p".to_owned()),
                authenticated: Some(2),
                ..rotated("s2", 4, 14, 2)
            };
            Answer::Found(seen)
        })
        .then(claim(1), Answer::Superseded)
        .then(claim(2), Answer::Deleted(true))
        .then(load("k"), Answer::Absent);
    assert_eq!(calls.broken(), []);
}

#[test]
fn deleted_session_stays_deleted() {
    let calls = || created().then(delete("k"), Answer::Deleted(true));
    assert_eq!(calls().then(load("k"), seen(1, 4, &[])).broken(), [(Law::Resurrection, 2)]);
    assert_eq!(
        created()
            .between(3, 9, delete("k"), Answer::Deleted(true))
            .between(4, 5, load("k"), seen(1, 4, &[]))
            .broken(),
        []
    );
    // A deletion without an answer may take effect at any time, but only once.
    let late = created()
        .then(delete("k"), unknown())
        .then(load("k"), seen(1, 4, &[]))
        .then(load("k"), Answer::Absent);
    assert_eq!(late.then(load("k"), seen(1, 8, &[])).broken(), [(Law::Resurrection, 4)]);
}

#[test]
fn commit_on_a_deleted_session_is_a_violation() {
    let calls = created()
        .then(delete("k"), Answer::Deleted(true))
        .then(commit("k", write(&[("v0", "1")])), done(2, 4));
    assert_eq!(calls.broken(), [(Law::Resurrection, 2)]);
}

#[test]
fn one_of_two_rotations_wins() {
    let twice = |second| {
        created().between(3, 6, rotate("s0", "s1"), done(1, 3)).between(
            3,
            6,
            rotate("s0", "s1b"),
            second,
        )
    };
    assert_eq!(twice(done(1, 3)).broken(), [(Law::RotatedTwice, 2)]);
    assert_eq!(twice(Answer::Superseded).broken(), []);
    // A rotation without an answer took effect if a read shows its secret.
    let lost = |second| twice(unknown()).then(load("k"), second);
    assert_eq!(lost(Answer::Found(rotated("s1", 1, 7, 3))).broken(), []);
    assert_eq!(lost(Answer::Found(rotated("s1b", 1, 7, 3))).broken(), [(Law::RotatedTwice, 3)]);
}

#[test]
fn superseded_secret_is_refused() {
    let replaced = || created().then(rotate("s0", "s1"), done(1, 2));
    let late = commit("k", write(&[("v0", "1")]));
    assert_eq!(replaced().then(late.clone(), Answer::Superseded).broken(), []);
    assert_eq!(replaced().then(late.clone(), done(2, 4)).broken(), [(Law::SupersededAccepted, 2)]);
    assert_eq!(
        replaced().then(load("k"), seen(1, 4, &[])).broken(),
        [(Law::SupersededAccepted, 2)]
    );
    assert_eq!(
        replaced().then(rotate("s0", "s1b"), done(1, 4)).broken(),
        [(Law::RotatedTwice, 2), (Law::SupersededAccepted, 2)]
    );
    // The store compares the secret before the guard, so a conflict accepts the secret.
    assert_eq!(
        replaced().then(guarded(9, Write::default()), Answer::Conflict).broken(),
        [(Law::SupersededAccepted, 2)]
    );
    // Concurrent with the rotation, both orders are possible.
    let beside = created().between(3, 6, rotate("s0", "s1"), done(1, 3)).between(
        4,
        5,
        late.clone(),
        done(2, 4),
    );
    assert_eq!(beside.broken(), []);
    // A rotation without an answer replaced the secret if the new secret or a later one is seen, or
    // if the old one is refused.
    let open = || created().then(rotate("s0", "s1"), unknown());
    assert_eq!(open().then(late.clone(), done(2, 4)).broken(), []);
    let seen_new = open().then(load("k"), Answer::Found(rotated("s1", 1, 4, 2)));
    assert_eq!(seen_new.then(late.clone(), done(2, 6)).broken(), [(Law::SupersededAccepted, 3)]);
    let seen_next = open().then(rotate("s1", "s2"), done(1, 4));
    assert_eq!(seen_next.then(late.clone(), done(2, 6)).broken(), [(Law::SupersededAccepted, 3)]);
    let refused = open().then(late.clone(), Answer::Superseded);
    assert_eq!(refused.then(late, done(2, 6)).broken(), [(Law::SupersededAccepted, 3)]);
}

#[test]
fn superseded_commit_needs_a_rotation() {
    let late = || commit("k", write(&[("v0", "1")]));
    assert_eq!(created().then(late(), Answer::Superseded).broken(), [(Law::SupersededWrongly, 1)]);
    assert_eq!(
        created().then(rotate("s0", "s1"), Answer::Superseded).broken(),
        [(Law::SupersededWrongly, 1)]
    );
    assert_eq!(
        created().then(rotate("s0", "s1"), unknown()).then(late(), Answer::Superseded).broken(),
        []
    );
    // The store must refuse a secret that no call installed.
    assert_eq!(
        created().then(commit_with("s7", "k", Write::default()), Answer::Superseded).broken(),
        []
    );
    assert_eq!(
        created().then(commit_with("s7", "k", Write::default()), done(1, 2)).broken(),
        [(Law::NeverWritten, 1)]
    );
    // The answer `Superseded` shows that the session is alive.
    let ended =
        created().then(delete("k"), Answer::Deleted(true)).then(rotate("s0", "s1"), unknown());
    assert_eq!(ended.then(late(), Answer::Superseded).broken(), [(Law::Resurrection, 3)]);
}

#[test]
fn rotation_keeps_values_and_version() {
    let both =
        |sum, version| {
            let calls = created()
                .between(3, 6, commit("k", sum_of(3)), summed(2, 3, "n0", 3))
                .between(3, 6, rotate("s0", "s1"), done(version, 3));
            calls
                .then(
                    load("k"),
                    Answer::Found(LoadedSession {
                        values: [("n0".to_owned(), sum)].into(),
                        ..rotated("s1", 2, 7, 3)
                    }),
                )
                .broken()
        };
    assert_eq!(both("3".to_owned(), 2), []);
    assert_eq!(both("0".to_owned(), 2), [(Law::LostAdd, 3)]);
    // A rotation alone does not make a version.
    assert_eq!(created().then(rotate("s0", "s1"), done(2, 2)).broken(), [(Law::Version, 1)]);
}

fn sum_of(by: i64) -> Write {
    sum("n0", by)
}

#[test]
fn read_shows_the_written_identity() {
    let calls = |seen| {
        let calls = created().then(rotate_and("s0", "s1", None, of("p")), done_of(2, 2, 0));
        calls.between(60, 61, load("k"), Answer::Found(seen)).broken()
    };
    let right = || signed_in("p", 2, 59, 57);
    assert_eq!(calls(right()), []);
    assert_eq!(calls(LoadedSession { generation: 0, ..right() }), [(Law::Identity, 2)]);
    assert_eq!(calls(LoadedSession { since: 0, ..right() }), [(Law::Identity, 2)]);
    assert_eq!(
        calls(LoadedSession { principal: Some("q".to_owned()), ..right() }),
        [(Law::Identity, 2)]
    );
    assert_eq!(
        calls(LoadedSession { grace: Some(("s0".to_owned(), 50)), ..right() }),
        [(Law::Identity, 2)]
    );
    assert_eq!(calls(LoadedSession { authenticated: Some(20), ..right() }), [(Law::WrongTime, 2)]);
    assert_eq!(calls(LoadedSession { rotated: 20, ..right() }), [(Law::WrongTime, 2)]);
}

#[test]
fn grace_lasts_for_its_duration() {
    let calls = |at, grace: Option<(&str, u64)>| {
        let grace = grace.map(|(former, left)| (former.to_owned(), left));
        let rotation = rotate_and("s0", "s1", Some(100), Write::default());
        let calls = created().then(rotation, done(1, 2));
        calls
            .between(
                at,
                at + 1,
                load("k"),
                Answer::Found(LoadedSession { grace, ..rotated("s1", 1, at - 1, at - 3) }),
            )
            .broken()
    };
    assert_eq!(calls(50, Some(("s0", 53))), []);
    assert_eq!(calls(50, None), [(Law::Identity, 2)]);
    assert_eq!(calls(50, Some(("s7", 53))), [(Law::Identity, 2)]);
    assert_eq!(calls(50, Some(("s0", 80))), [(Law::Identity, 2)]);
    assert_eq!(calls(120, Some(("s0", 1))), [(Law::Identity, 2)]);
    assert_eq!(calls(120, None), []);
}

#[test]
fn claim_ends_only_sessions_that_it_reaches() {
    let later = || created().then(rotate_and("s0", "s1", None, of("p")), done_of(2, 2, 0));
    assert_eq!(later().then(claim(1), Answer::Deleted(true)).broken(), []);
    assert_eq!(later().then(claim(0), Answer::Superseded).broken(), []);
    assert_eq!(later().then(claim(0), Answer::Deleted(true)).broken(), [(Law::Claim, 2)]);
    assert_eq!(later().then(claim(1), Answer::Superseded).broken(), [(Law::Claim, 2)]);
    assert_eq!(created().then(claim(0), Answer::Superseded).broken(), [(Law::Claim, 1)]);
    // Concurrent with the sign-in, both answers are possible.
    let beside = |answer| {
        created().between(3, 6, rotate_and("s0", "s1", None, of("p")), unknown()).between(
            3,
            6,
            claim(0),
            answer,
        )
    };
    assert_eq!(
        (beside(Answer::Superseded).broken(), beside(Answer::Deleted(true)).broken()),
        (vec![], vec![])
    );
}

#[test]
fn revocation_ends_all_sessions_of_the_user() {
    let made = || HistoryBuilder::default().then(create("k", of("p")), Answer::New);
    let revoked = || made().then(revoke("p"), Answer::Revoked(1));
    assert_eq!(revoked().then(load("k"), Answer::Absent).broken(), []);
    assert_eq!(revoked().then(load("k"), seen_of("p", 1, 4)).broken(), [(Law::Resurrection, 2)]);
    // A rotation does not save the session from the revocation.
    let rotating = made().between(3, 9, revoke("p"), Answer::Revoked(0)).between(
        4,
        5,
        rotate("s0", "s1"),
        done_of(1, 4, 4),
    );
    let read = LoadedSession {
        principal: Some("p".to_owned()),
        authenticated: Some(9),
        ..rotated("s1", 1, 9, 5)
    };
    assert_eq!(rotating.then(load("k"), Answer::Found(read)).broken(), [(Law::Resurrection, 3)]);
    // A concurrent sign-in may come after the revocation.
    let sign_in = rotate_and("s0", "s1", None, of("p"));
    let racing = created().between(3, 6, sign_in, done_of(2, 3, 0)).between(
        3,
        6,
        revoke("p"),
        Answer::Revoked(0),
    );
    assert_eq!(racing.then(load("k"), Answer::Found(signed_in("p", 2, 7, 3))).broken(), []);
}

#[test]
fn missing_session_needs_a_reason() {
    assert_eq!(created().then(load("k"), Answer::Absent).broken(), [(Law::LostSession, 1)]);
    assert_eq!(
        created().then(commit("k", sum("n0", 1)), Answer::Gone).broken(),
        [(Law::LostSession, 1)]
    );
    assert_eq!(
        created().then(delete("k"), unknown()).killed().then(load("k"), Answer::Absent).broken(),
        []
    );
    assert_eq!(
        created().then(revoke("p"), Answer::Revoked(0)).then(load("k"), Answer::Absent).broken(),
        [(Law::LostSession, 2)]
    );
    // A revocation without an answer may take effect at any time, also after a later sign-in.
    let late = HistoryBuilder::default()
        .then(revoke("p"), unknown())
        .then(create("k", of("p")), Answer::New);
    assert_eq!(late.then(load("k"), Answer::Absent).broken(), []);
    // No answer showed the session, so it may never have existed.
    assert_eq!(
        HistoryBuilder::default()
            .then(create("k", Write::default()), unknown())
            .then(load("k"), Answer::Absent)
            .broken(),
        []
    );
}

#[test]
fn read_shows_the_last_write() {
    let twice = || {
        created()
            .then(commit("k", write(&[("v0", "1")])), done(2, 2))
            .then(commit("k", write(&[("v0", "2")])), done(3, 4))
    };
    assert_eq!(twice().then(load("k"), seen(3, 6, &[("v0", "2")])).broken(), []);
    assert_eq!(twice().then(load("k"), seen(3, 6, &[("v0", "1")])).broken(), [(Law::LostWrite, 3)]);
    assert_eq!(twice().then(load("k"), seen(3, 6, &[])).broken(), [(Law::LostWrite, 3)]);
    // The law also holds if the read shows the version of the older value.
    assert_eq!(
        twice().then(load("k"), seen(2, 6, &[("v0", "1")])).broken(),
        [(Law::LostWrite, 3), (Law::Version, 3)]
    );
    // A write without an answer may come after one with an answer. If a read showed it before that,
    // it may not.
    let open = || created().then(commit("k", write(&[("v0", "1")])), unknown());
    let second = |calls: HistoryBuilder, version| {
        calls.then(commit("k", write(&[("v0", "2")])), done(version, 6))
    };
    assert_eq!(second(open(), 2).then(load("k"), seen(3, 8, &[("v0", "1")])).broken(), []);
    let known = second(open().then(load("k"), seen(2, 4, &[("v0", "1")])), 3);
    assert_eq!(known.then(load("k"), seen(3, 8, &[("v0", "1")])).broken(), [(Law::LostWrite, 4)]);
}

#[test]
fn removal_is_a_write() {
    let removal = Write { remove: vec!["v0".to_owned()], ..Write::default() };
    let calls = || {
        created()
            .then(commit("k", write(&[("v0", "1")])), done(2, 2))
            .then(commit("k", removal.clone()), done(3, 4))
    };
    assert_eq!(calls().then(load("k"), seen(3, 6, &[])).broken(), []);
    assert_eq!(calls().then(load("k"), seen(3, 6, &[("v0", "1")])).broken(), [(Law::LostWrite, 3)]);
}

#[test]
fn refused_write_is_not_shown() {
    let guarded = guarded(9, write(&[("v0", "1")]));
    let calls =
        created().then(guarded, Answer::Conflict).then(load("k"), seen(1, 4, &[("v0", "1")]));
    assert_eq!(calls.broken(), [(Law::NeverWritten, 2)]);
    assert_eq!(
        created().then(load("k"), seen(1, 2, &[("v9", "1")])).broken(),
        [(Law::NeverWritten, 1)]
    );
}

#[test]
fn counter_holds_the_sum_of_additions() {
    let two = || {
        created()
            .then(commit("k", sum("n0", 3)), summed(2, 2, "n0", 3))
            .then(commit("k", sum("n0", 4)), summed(3, 4, "n0", 7))
    };
    assert_eq!(two().then(load("k"), seen(3, 6, &[("n0", "7")])).broken(), []);
    assert_eq!(two().then(load("k"), seen(3, 6, &[("n0", "3")])).broken(), [(Law::LostAdd, 3)]);
    assert_eq!(two().then(load("k"), seen(3, 6, &[("n0", "11")])).broken(), [(Law::SurplusAdd, 3)]);
    // An addition without an answer counts once or not at all.
    let open = |total: &str, version| {
        two()
            .then(commit("k", sum("n0", 5)), unknown())
            .then(load("k"), seen(version, 8, &[("n0", total)]))
    };
    assert_eq!(open("7", 3).broken(), []);
    assert_eq!(open("12", 4).broken(), []);
    assert_eq!(open("17", 4).broken(), [(Law::SurplusAdd, 4)]);
    // Two concurrent additions must both count.
    let lost = created().between(3, 6, commit("k", sum("n0", 3)), summed(2, 3, "n0", 3)).between(
        3,
        6,
        commit("k", sum("n0", 4)),
        summed(3, 3, "n0", 4),
    );
    assert_eq!(lost.broken(), [(Law::LostAdd, 2)]);
}

#[test]
fn commit_is_atomic() {
    let both = Write { add: sum("n0", 3).add, ..write(&[("v0", "1")]) };
    let half =
        created().then(commit("k", both), unknown()).then(load("k"), seen(2, 4, &[("v0", "1")]));
    assert_eq!(half.broken(), [(Law::LostAdd, 2)]);
}

#[test]
fn versions_count_changes() {
    let two = || created().then(commit("k", write(&[("v0", "1")])), done(2, 2));
    assert_eq!(
        two().then(commit("k", write(&[("v1", "2")])), done(2, 4)).broken(),
        [(Law::Version, 2)]
    );
    assert_eq!(two().then(load("k"), seen(5, 4, &[("v0", "1")])).broken(), [(Law::Version, 2)]);
    // A change of another client, whose answer was lost, had made this version.
    let open = created()
        .then(commit("k", write(&[("v0", "1")])), unknown())
        .then(load("k"), seen(2, 4, &[("v0", "1")]));
    assert!(
        open.then(commit("k", write(&[("v1", "2")])), done(2, 6))
            .broken()
            .contains(&(Law::Version, 3))
    );
    let older = two().then(load("k"), seen(2, 4, &[("v0", "1")])).then(load("k"), seen(1, 6, &[]));
    assert!(older.broken().contains(&(Law::Version, 3)));
}

#[test]
fn guard_compares_the_version() {
    let guarded = |guard| guarded(guard, write(&[("v1", "2")]));
    let two = || created().then(commit("k", write(&[("v0", "1")])), done(2, 2));
    assert_eq!(two().then(guarded(2), done(3, 4)).broken(), []);
    assert_eq!(two().then(guarded(1), done(3, 4)).broken(), [(Law::Guard, 2)]);
    assert_eq!(two().then(guarded(1), Answer::Conflict).broken(), []);
    let held = two()
        .then(load("k"), seen(2, 4, &[("v0", "1")]))
        .then(guarded(2), Answer::Conflict)
        .then(load("k"), seen(2, 8, &[("v0", "1")]));
    assert_eq!(held.broken(), [(Law::Guard, 3)]);
}

#[test]
fn session_ends_at_its_deadline_and_not_before() {
    let brief = || {
        HistoryBuilder::default()
            .then(create("k", Write { ttl: Some(100), ..Write::default() }), Answer::New)
    };
    let told = |age, ttl| Answer::Found(LoadedSession { ttl, ..record(1, age) });
    assert_eq!(brief().between(50, 51, load("k"), told(49, 52)).broken(), []);
    assert_eq!(
        brief().between(50, 51, load("k"), Answer::Absent).broken(),
        [(Law::LostSession, 1)]
    );
    assert_eq!(brief().between(104, 105, load("k"), Answer::Absent).broken(), []);
    assert_eq!(
        brief().between(130, 131, load("k"), told(129, 1)).broken(),
        [(Law::AfterDeadline, 1), (Law::WrongTime, 1)]
    );
    assert_eq!(brief().between(50, 51, load("k"), told(49, 80)).broken(), [(Law::WrongTime, 1)]);
    assert_eq!(brief().between(50, 51, load("k"), told(10, 52)).broken(), [(Law::WrongTime, 1)]);
    // The commit without an answer may have extended the life.
    let longer = Write { ttl: Some(300), ..Write::default() };
    assert_eq!(
        brief()
            .then(commit("k", longer), unknown())
            .between(130, 131, load("k"), told(129, 173))
            .broken(),
        []
    );
}

#[test]
fn list_shows_the_live_sessions_of_its_principal() {
    let signed_in = || HistoryBuilder::default().then(create("k", of("p")), Answer::New);
    assert_eq!(signed_in().then(list("p"), shown(&["k"])).broken(), []);
    assert_eq!(signed_in().then(list("p"), shown(&["k", "k"])).broken(), [(Law::ListedTwice, 1)]);
    assert_eq!(signed_in().then(list("p"), shown(&[])).broken(), [(Law::MissingInList, 1)]);
    assert_eq!(signed_in().then(list("q"), shown(&["k"])).broken(), [(Law::ForeignInList, 1)]);
    assert_eq!(signed_in().then(list("p"), shown(&["k", "x"])).broken(), [(Law::ForeignInList, 1)]);
    // The commit without an answer may have signed the user out. Equal reads before and after the
    // list prove that it did not.
    let out = Write { principal: Some(None), ..Write::default() };
    let maybe = || signed_in().then(commit("k", out.clone()), unknown());
    assert_eq!(maybe().then(list("p"), shown(&[])).broken(), []);
    let certain = maybe()
        .then(load("k"), seen_of("p", 1, 4))
        .then(list("p"), shown(&[]))
        .then(load("k"), seen_of("p", 1, 8));
    assert_eq!(certain.broken(), [(Law::MissingInList, 3)]);
}

#[test]
fn crash_takes_back_only_unacknowledged_writes() {
    let shown = |answer| {
        created()
            .then(commit("k", write(&[("v0", "1")])), answer)
            .then(load("k"), seen(2, 4, &[("v0", "1")]))
    };
    let crashed = |calls: HistoryBuilder, unsynced| {
        let fault = Fault {
            begin: 10 * MS,
            end: 20 * MS,
            crash: true,
            what: "the store was killed".to_owned(),
        };
        let history = calls.between(30, 31, load("k"), seen(1, 29, &[])).history();
        let verdict = check(&History { unsynced, faults: vec![fault], ..history });
        (verdict.violations.len(), verdict.taken_back)
    };
    assert_eq!(crashed(shown(unknown()), 8), (0, 2));
    assert_eq!(crashed(shown(unknown()), 0), (2, 0));
    assert_eq!(
        crashed(shown(unknown()), 1),
        (2, 0),
        "the read came more than 1 ms before the crash"
    );
    assert_eq!(crashed(shown(done(2, 2)), 8), (2, 0));
}

#[test]
fn session_is_created_once() {
    let twins = HistoryBuilder::default().between(1, 3, create("k", Write::default()), Answer::New);
    assert_eq!(
        twins.between(1, 3, create("k", Write::default()), Answer::New).broken(),
        [(Law::CreatedTwice, 1)]
    );
}

#[test]
fn refusal_and_overdue_call_are_reported() {
    assert_eq!(
        created().then(load("k"), Answer::Corrupt("no JSON".to_owned())).broken(),
        [(Law::Refused, 1)]
    );
    assert_eq!(created().between(10, 15_000, load("k"), unknown()).broken(), [(Law::Overdue, 1)]);
}

#[test]
fn minimal_proof_omits_unneeded_calls() {
    let mut calls = created();
    for n in 0..20 {
        calls = calls.then(commit("k", write(&[("v1", &format!("{n}"))])), done(n + 2, 2 * n + 2));
    }
    let history = calls
        .then(delete("k"), Answer::Deleted(true))
        .then(load("k"), seen(21, 44, &[("v1", "19")]))
        .history();
    let found = check(&history).violations;
    let proof = minimal(&history, &found[0]);
    assert_eq!(
        (found.len(), proof.calls.iter().map(|call| call.id).collect::<Vec<_>>()),
        (1, vec![21, 22])
    );
    assert!(super::describe(&history, &found[0]).contains("delete k -> deleted"));
}
