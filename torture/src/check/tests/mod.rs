//! Histories by hand: what breaks each law, and what only looks like it.

mod failovers;

use std::collections::BTreeMap;

use super::{Law, check, minimal};
use crate::history::{Answer, Call, Failover, Fault, History, Op, Seen, Shown, Write};

/// A millisecond in the history's clock.
const MS: u64 = 1_000_000;
/// A life that does not end within a test.
const LONG: u64 = 600_000;

/// Calls in the order in which they are told. Each takes half a millisecond, one after the other, unless it is told otherwise.
#[derive(Default)]
struct Tale(Vec<Call>);

impl Tale {
    /// A call from one millisecond to another.
    fn between(mut self, begin: u64, end: u64, op: Op, answer: Answer) -> Self {
        let id = self.0.len() as u64;
        self.0.push(Call { id, by: "t".to_owned(), begin: begin * MS, end: Some(end * MS), op, answer: Some(answer) });
        self
    }

    /// A call in the middle of the millisecond after the last.
    fn then(self, op: Op, answer: Answer) -> Self {
        let begin = self.0.iter().map(|call| call.end.unwrap_or(call.begin) / MS).max().unwrap_or_default() + 1;
        self.between(begin, begin + 1, op, answer)
    }

    /// The last call is never answered: its process was killed.
    fn killed(mut self) -> Self {
        if let Some(call) = self.0.last_mut() {
            (call.end, call.answer) = (None, None);
        }
        self
    }

    fn history(self) -> History {
        let (store, faults, failovers) = ("tale".to_owned(), Vec::new(), Vec::new());
        History { store, seed: 1, start: 0, tolerance: 5, unsynced: 0, faults, failovers, apart: false, calls: self.0 }
    }

    /// The laws that are broken, each with the call where it shows last.
    fn broken(self) -> Vec<(Law, u64)> {
        let mut found: Vec<_> = check(&self.history()).violations.iter().map(|found| (found.law, *found.calls.last().unwrap())).collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn write(set: &[(&str, &str)]) -> Write {
    Write { set: set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(), ..Write::default() }
}

fn sum(name: &str, by: i64) -> Write {
    Write { add: [(name.to_owned(), by)].into(), ..Write::default() }
}

fn create(key: &str, write: Write) -> Op {
    Op::Create { key: key.to_owned(), write: Write { ttl: write.ttl.or(Some(LONG)), ..write } }
}

fn commit(key: &str, write: Write) -> Op {
    Op::Commit { key: key.to_owned(), guard: None, write, to: None }
}

fn rotate(key: &str, to: &str) -> Op {
    Op::Commit { key: key.to_owned(), guard: None, write: Write::default(), to: Some(to.to_owned()) }
}

fn load(key: &str) -> Op {
    Op::Load { key: key.to_owned() }
}

fn delete(key: &str) -> Op {
    Op::Delete { key: key.to_owned() }
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

/// Times that fit a session which was made at the first millisecond.
fn done(version: u64, at: u64) -> Answer {
    Answer::Done { version, added: BTreeMap::new(), age: at, ttl: LONG - at }
}

fn summed(version: u64, at: u64, name: &str, sum: i64) -> Answer {
    Answer::Done { version, added: [(name.to_owned(), sum)].into(), age: at, ttl: LONG - at }
}

fn seen(version: u64, at: u64, values: &[(&str, &str)]) -> Answer {
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Answer::Found(Seen { values, version, principal: None, age: at, ttl: LONG - at })
}

fn seen_of(principal: &str, version: u64, at: u64) -> Answer {
    Answer::Found(Seen { values: BTreeMap::new(), version, principal: Some(principal.to_owned()), age: at, ttl: LONG - at })
}

fn shown(keys: &[&str]) -> Answer {
    Answer::Listed(keys.iter().map(|key| Shown { key: (*key).to_owned(), ttl: LONG }).collect())
}

fn unknown() -> Answer {
    Answer::Unknown("a timeout".to_owned())
}

fn born() -> Tale {
    Tale::default().then(create("k", Write::default()), Answer::New)
}

#[test]
fn a_plain_life_breaks_nothing() {
    let tale = born()
        .then(commit("k", write(&[("v0", "1")])), done(2, 2))
        .then(commit("k", sum("n0", 3)), summed(3, 4, "n0", 3))
        .then(load("k"), seen(3, 6, &[("v0", "1"), ("n0", "3")]))
        .then(rotate("k", "k2"), done(3, 8))
        .then(load("k"), Answer::Absent)
        .then(load("k2"), seen(3, 12, &[("v0", "1"), ("n0", "3")]))
        .then(delete("k2"), Answer::Deleted(true))
        .then(load("k2"), Answer::Absent);
    assert_eq!(tale.broken(), []);
}

#[test]
fn who_was_deleted_stays_so() {
    let tale = || born().then(delete("k"), Answer::Deleted(true));
    assert_eq!(tale().then(load("k"), seen(1, 4, &[])).broken(), [(Law::Resurrection, 2)]);
    assert_eq!(born().between(3, 9, delete("k"), Answer::Deleted(true)).between(4, 5, load("k"), seen(1, 4, &[])).broken(), []);
    // A deletion that nobody saw the end of may come at any time, but only once.
    let late = born().then(delete("k"), unknown()).then(load("k"), seen(1, 4, &[])).then(load("k"), Answer::Absent);
    assert_eq!(late.then(load("k"), seen(1, 8, &[])).broken(), [(Law::Resurrection, 4)]);
}

#[test]
fn a_commit_on_what_was_deleted_is_no_success() {
    let tale = born().then(delete("k"), Answer::Deleted(true)).then(commit("k", write(&[("v0", "1")])), done(2, 4));
    assert_eq!(tale.broken(), [(Law::Resurrection, 2)]);
}

#[test]
fn one_rotation_wins_and_the_old_key_is_dead() {
    let twice = born().between(3, 6, rotate("k", "k2"), done(1, 3)).between(3, 6, rotate("k", "k3"), done(1, 3));
    assert_eq!(twice.broken(), [(Law::TwoEnds, 2)]);
    assert_eq!(born().then(rotate("k", "k2"), done(1, 2)).then(load("k"), seen(1, 4, &[])).broken(), [(Law::Resurrection, 2)]);
    // One whose answer was lost has won if its key lives.
    let lost = || born().then(rotate("k", "k2"), unknown()).then(load("k2"), seen(1, 4, &[]));
    assert_eq!(lost().broken(), []);
    assert_eq!(lost().then(load("k"), seen(1, 6, &[])).broken(), [(Law::Resurrection, 3)]);
    assert_eq!(lost().then(rotate("k", "k3"), done(1, 6)).broken(), [(Law::Resurrection, 3), (Law::TwoEnds, 3)]);
}

#[test]
fn a_revocation_takes_all_that_were_there() {
    let signed_in = || Tale::default().then(create("k", of("p")), Answer::New);
    let revoked = || signed_in().then(revoke("p"), Answer::Revoked(1));
    assert_eq!(revoked().then(load("k"), Answer::Absent).broken(), []);
    assert_eq!(revoked().then(load("k"), seen_of("p", 1, 4)).broken(), [(Law::Resurrection, 2)]);
    // Moving does not save it.
    let moved = signed_in().between(3, 9, revoke("p"), Answer::Revoked(0)).between(4, 5, rotate("k", "k2"), done(1, 4));
    assert_eq!(moved.then(load("k2"), seen_of("p", 1, 9)).broken(), [(Law::Resurrection, 3)]);
    // Who signs in beside it may be too late for it.
    let racing = born().between(3, 6, commit("k", of("p")), done(2, 3)).between(3, 6, revoke("p"), Answer::Revoked(0));
    assert_eq!(racing.then(load("k"), seen_of("p", 2, 7)).broken(), []);
}

#[test]
fn what_is_gone_is_gone_for_a_reason() {
    assert_eq!(born().then(load("k"), Answer::Absent).broken(), [(Law::Loss, 1)]);
    assert_eq!(born().then(commit("k", sum("n0", 1)), Answer::Gone).broken(), [(Law::Loss, 1)]);
    assert_eq!(born().then(delete("k"), unknown()).killed().then(load("k"), Answer::Absent).broken(), []);
    assert_eq!(born().then(revoke("p"), Answer::Revoked(0)).then(load("k"), Answer::Absent).broken(), [(Law::Loss, 2)]);
    // A revocation without an answer may come at any time, also for who signed in later.
    let late = Tale::default().then(revoke("p"), unknown()).then(create("k", of("p")), Answer::New);
    assert_eq!(late.then(load("k"), Answer::Absent).broken(), []);
    // Nobody saw it, so it may never have been there.
    assert_eq!(Tale::default().then(create("k", Write::default()), unknown()).then(load("k"), Answer::Absent).broken(), []);
}

#[test]
fn a_read_shows_the_last_write() {
    let twice = || born().then(commit("k", write(&[("v0", "1")])), done(2, 2)).then(commit("k", write(&[("v0", "2")])), done(3, 4));
    assert_eq!(twice().then(load("k"), seen(3, 6, &[("v0", "2")])).broken(), []);
    assert_eq!(twice().then(load("k"), seen(3, 6, &[("v0", "1")])).broken(), [(Law::LostWrite, 3)]);
    assert_eq!(twice().then(load("k"), seen(3, 6, &[])).broken(), [(Law::LostWrite, 3)]);
    // Even if it tells the version that it shows.
    assert_eq!(twice().then(load("k"), seen(2, 6, &[("v0", "1")])).broken(), [(Law::LostWrite, 3), (Law::Version, 3)]);
    // A write without an answer may come behind one that has one; one that was seen before it may not.
    let open = || born().then(commit("k", write(&[("v0", "1")])), unknown());
    let second = |tale: Tale, version| tale.then(commit("k", write(&[("v0", "2")])), done(version, 6));
    assert_eq!(second(open(), 2).then(load("k"), seen(3, 8, &[("v0", "1")])).broken(), []);
    let known = second(open().then(load("k"), seen(2, 4, &[("v0", "1")])), 3);
    assert_eq!(known.then(load("k"), seen(3, 8, &[("v0", "1")])).broken(), [(Law::LostWrite, 4)]);
}

#[test]
fn a_removal_is_a_write() {
    let removal = Write { remove: vec!["v0".to_owned()], ..Write::default() };
    let tale = || born().then(commit("k", write(&[("v0", "1")])), done(2, 2)).then(commit("k", removal.clone()), done(3, 4));
    assert_eq!(tale().then(load("k"), seen(3, 6, &[])).broken(), []);
    assert_eq!(tale().then(load("k"), seen(3, 6, &[("v0", "1")])).broken(), [(Law::LostWrite, 3)]);
}

#[test]
fn what_was_refused_is_not_seen() {
    let guarded = Op::Commit { key: "k".to_owned(), guard: Some(9), write: write(&[("v0", "1")]), to: None };
    let tale = born().then(guarded, Answer::Conflict).then(load("k"), seen(1, 4, &[("v0", "1")]));
    assert_eq!(tale.broken(), [(Law::NeverWritten, 2)]);
    assert_eq!(born().then(load("k"), seen(1, 2, &[("v9", "1")])).broken(), [(Law::NeverWritten, 1)]);
}

#[test]
fn a_counter_holds_what_was_added() {
    let two = || born().then(commit("k", sum("n0", 3)), summed(2, 2, "n0", 3)).then(commit("k", sum("n0", 4)), summed(3, 4, "n0", 7));
    assert_eq!(two().then(load("k"), seen(3, 6, &[("n0", "7")])).broken(), []);
    assert_eq!(two().then(load("k"), seen(3, 6, &[("n0", "3")])).broken(), [(Law::LostAdd, 3)]);
    assert_eq!(two().then(load("k"), seen(3, 6, &[("n0", "11")])).broken(), [(Law::SurplusAdd, 3)]);
    // An addition without an answer counts once or not at all.
    let open = |total: &str, version| two().then(commit("k", sum("n0", 5)), unknown()).then(load("k"), seen(version, 8, &[("n0", total)]));
    assert_eq!(open("7", 3).broken(), []);
    assert_eq!(open("12", 4).broken(), []);
    assert_eq!(open("17", 4).broken(), [(Law::SurplusAdd, 4)]);
    // Two that were done at once do not come to the same.
    let lost = born().between(3, 6, commit("k", sum("n0", 3)), summed(2, 3, "n0", 3)).between(
        3,
        6,
        commit("k", sum("n0", 4)),
        summed(3, 3, "n0", 4),
    );
    assert_eq!(lost.broken(), [(Law::LostAdd, 2)]);
}

#[test]
fn a_commit_is_seen_whole() {
    let both = Write { add: sum("n0", 3).add, ..write(&[("v0", "1")]) };
    let half = born().then(commit("k", both), unknown()).then(load("k"), seen(2, 4, &[("v0", "1")]));
    assert_eq!(half.broken(), [(Law::LostAdd, 2)]);
}

#[test]
fn versions_count_changes() {
    let two = || born().then(commit("k", write(&[("v0", "1")])), done(2, 2));
    assert_eq!(two().then(commit("k", write(&[("v1", "2")])), done(2, 4)).broken(), [(Law::Version, 2)]);
    assert_eq!(two().then(load("k"), seen(5, 4, &[("v0", "1")])).broken(), [(Law::Version, 2)]);
    // Somebody else's change, whose answer was lost, had made it.
    let open = born().then(commit("k", write(&[("v0", "1")])), unknown()).then(load("k"), seen(2, 4, &[("v0", "1")]));
    assert!(open.then(commit("k", write(&[("v1", "2")])), done(2, 6)).broken().contains(&(Law::Version, 3)));
    let older = two().then(load("k"), seen(2, 4, &[("v0", "1")])).then(load("k"), seen(1, 6, &[]));
    assert!(older.broken().contains(&(Law::Version, 3)));
}

#[test]
fn a_guard_holds() {
    let guarded = |guard| Op::Commit { key: "k".to_owned(), guard: Some(guard), write: write(&[("v1", "2")]), to: None };
    let two = || born().then(commit("k", write(&[("v0", "1")])), done(2, 2));
    assert_eq!(two().then(guarded(2), done(3, 4)).broken(), []);
    assert_eq!(two().then(guarded(1), done(3, 4)).broken(), [(Law::Guard, 2)]);
    assert_eq!(two().then(guarded(1), Answer::Conflict).broken(), []);
    let held =
        two().then(load("k"), seen(2, 4, &[("v0", "1")])).then(guarded(2), Answer::Conflict).then(load("k"), seen(2, 8, &[("v0", "1")]));
    assert_eq!(held.broken(), [(Law::Guard, 3)]);
}

#[test]
fn a_session_dies_at_its_deadline_and_not_before() {
    let brief = || Tale::default().then(create("k", Write { ttl: Some(100), ..Write::default() }), Answer::New);
    let told = |age, ttl| Answer::Found(Seen { values: BTreeMap::new(), version: 1, principal: None, age, ttl });
    assert_eq!(brief().between(50, 51, load("k"), told(49, 52)).broken(), []);
    assert_eq!(brief().between(50, 51, load("k"), Answer::Absent).broken(), [(Law::Loss, 1)]);
    assert_eq!(brief().between(104, 105, load("k"), Answer::Absent).broken(), []);
    assert_eq!(brief().between(130, 131, load("k"), told(129, 1)).broken(), [(Law::AfterDeadline, 1), (Law::ToldTime, 1)]);
    assert_eq!(brief().between(50, 51, load("k"), told(49, 80)).broken(), [(Law::ToldTime, 1)]);
    assert_eq!(brief().between(50, 51, load("k"), told(10, 52)).broken(), [(Law::ToldTime, 1)]);
    // Its life was made longer, maybe.
    let longer = Write { ttl: Some(300), ..Write::default() };
    assert_eq!(brief().then(commit("k", longer), unknown()).between(130, 131, load("k"), told(129, 173)).broken(), []);
}

#[test]
fn a_list_shows_the_live_sessions_of_its_principal() {
    let signed_in = || Tale::default().then(create("k", of("p")), Answer::New);
    assert_eq!(signed_in().then(list("p"), shown(&["k"])).broken(), []);
    assert_eq!(signed_in().then(list("p"), shown(&[])).broken(), [(Law::MissingInList, 1)]);
    assert_eq!(signed_in().then(list("q"), shown(&["k"])).broken(), [(Law::ForeignInList, 1)]);
    assert_eq!(signed_in().then(list("p"), shown(&["k", "x"])).broken(), [(Law::ForeignInList, 1)]);
    // Somebody may have signed out, and what was read before and after tells that nobody did.
    let out = Write { principal: Some(None), ..Write::default() };
    let maybe = || signed_in().then(commit("k", out.clone()), unknown());
    assert_eq!(maybe().then(list("p"), shown(&[])).broken(), []);
    let certain = maybe().then(load("k"), seen_of("p", 1, 4)).then(list("p"), shown(&[])).then(load("k"), seen_of("p", 1, 8));
    assert_eq!(certain.broken(), [(Law::MissingInList, 3)]);
}

#[test]
fn what_was_shown_before_a_crash_may_be_taken_back_unless_it_was_acknowledged() {
    let shown = |answer| born().then(commit("k", write(&[("v0", "1")])), answer).then(load("k"), seen(2, 4, &[("v0", "1")]));
    let crashed = |tale: Tale, unsynced| {
        let fault = Fault { begin: 10 * MS, end: 20 * MS, crash: true, what: "the store was killed".to_owned() };
        let history = tale.between(30, 31, load("k"), seen(1, 29, &[])).history();
        let verdict = check(&History { unsynced, faults: vec![fault], ..history });
        (verdict.violations.len(), verdict.taken_back)
    };
    assert_eq!(crashed(shown(unknown()), 8), (0, 2));
    assert_eq!(crashed(shown(unknown()), 0), (2, 0));
    assert_eq!(crashed(shown(unknown()), 1), (2, 0), "long enough before");
    assert_eq!(crashed(shown(done(2, 2)), 8), (2, 0));
}

#[test]
fn nobody_is_made_twice() {
    let twins = Tale::default().between(1, 3, create("k", Write::default()), Answer::New);
    assert_eq!(twins.between(1, 3, create("k", Write::default()), Answer::New).broken(), [(Law::TwoBirths, 1)]);
}

#[test]
fn refusals_and_long_waits_are_told() {
    assert_eq!(born().then(load("k"), Answer::Corrupt("no JSON".to_owned())).broken(), [(Law::Refused, 1)]);
    assert_eq!(born().between(10, 15_000, load("k"), unknown()).broken(), [(Law::Overdue, 1)]);
}

#[test]
fn the_proof_leaves_out_what_it_does_not_take() {
    let mut tale = born();
    for n in 0..20 {
        tale = tale.then(commit("k", write(&[("v1", &format!("{n}"))])), done(n + 2, 2 * n + 2));
    }
    let history = tale.then(delete("k"), Answer::Deleted(true)).then(load("k"), seen(21, 44, &[("v1", "19")])).history();
    let found = check(&history).violations;
    let proof = minimal(&history, &found[0]);
    assert_eq!((found.len(), proof.calls.iter().map(|call| call.id).collect::<Vec<_>>()), (1, vec![21, 22]));
    assert!(super::describe(&history, &found[0]).contains("delete k -> deleted"));
}
