use super::*;
use crate::{Json, Name};

const HOUR: Duration = Duration::from_secs(3_600);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn set(name_text: &str, value: i64) -> (Name, Change) {
    (name(name_text), Change::Set(Json::integer(value)))
}

fn recorded<const N: usize>(changes: [(Name, Change); N]) -> Recorded {
    Recorded { changes: changes.into(), ..Recorded::default() }
}

fn principal(text: &str) -> Principal {
    Principal::new(text).unwrap()
}

fn sign_in(who: &str) -> Recorded {
    Recorded { principal: Some(principal(who)), ..Recorded::default() }
}

fn record() -> Record {
    let data = [(name("n"), Json::integer(1))].into_iter().collect();
    Record { data, version: 1, age: Duration::ZERO, ttl: HOUR / 2, principal: Some(principal("bob")), lifetime: Lifetime::default() }
}

fn loaded() -> Known {
    Known::Loaded(record())
}

fn plan(known: &Known, recorded: &Recorded) -> Step {
    super::plan(known, Duration::ZERO, recorded, &Policy::default())
}

#[test]
fn h02_nothing_recorded_makes_no_record() {
    assert_eq!(plan(&Known::Absent, &Recorded::default()), Step::Nothing);
    assert_eq!(plan(&Known::Presented, &Recorded::default()), Step::Nothing);
    assert_eq!(plan(&loaded(), &Recorded::default()), Step::Nothing);
}

#[test]
fn removing_renewing_and_clearing_need_no_new_session() {
    let nothing = Recorded { clears: 1, renew: true, ..recorded([(name("n"), Change::Remove)]) };
    assert_eq!(plan(&Known::Absent, &nothing), Step::Nothing);
}

#[test]
fn h03_the_first_insert_creates_once() {
    let Step::Create(new) = plan(&Known::Absent, &recorded([set("n", 1), (name("m"), Change::Remove)])) else { panic!("no create") };
    assert_eq!((new.data.len(), new.ttl, new.principal), (1, HOUR / 2, None));
}

#[test]
fn h04_equal_values_are_no_write() {
    assert_eq!(plan(&loaded(), &recorded([set("n", 1), (name("absent"), Change::Remove)])), Step::Nothing);
    let Step::Commit(commit, Rotate::SameId) = plan(&loaded(), &recorded([set("n", 1), set("m", 2)])) else { panic!("no commit") };
    assert_eq!(commit.changes, [set("m", 2)].into());
}

#[test]
fn a_blind_insert_needs_no_load() {
    let Step::Commit(commit, Rotate::SameId) = plan(&Known::Presented, &recorded([set("n", 1)])) else { panic!("no commit") };
    assert_eq!((commit.changes, commit.ttl, commit.guard), ([set("n", 1)].into(), None, crate::Guard::Any));
}

#[test]
fn h10_sign_in_rotates_and_keeps_the_data_of_an_anonymous_session() {
    assert_eq!(plan(&Known::Presented, &sign_in("bob")), Step::Load);
    let anonymous = Known::Loaded(Record { principal: None, ..record() });
    let Step::Commit(commit, Rotate::NewId) = plan(&anonymous, &sign_in("bob")) else { panic!("no rotation") };
    assert!(!commit.clear);
    assert_eq!(commit.principal, PrincipalChange::Set(principal("bob")));
}

#[test]
fn h10_signing_in_again_rotates_and_another_user_inherits_nothing() {
    let Step::Commit(commit, Rotate::NewId) = plan(&loaded(), &sign_in("bob")) else { panic!("no rotation") };
    assert!(!commit.clear);
    let alice = Recorded { changes: [set("theirs", 1)].into(), ..sign_in("alice") };
    let Step::Commit(commit, Rotate::NewId) = plan(&loaded(), &alice) else { panic!("no rotation") };
    assert!(commit.clear);
    assert_eq!(commit.changes, [set("theirs", 1)].into());
}

#[test]
fn h11_renewal_rotates_without_extending_the_absolute_deadline() {
    let renew = Recorded { renew: true, ..Recorded::default() };
    let old = Known::Loaded(Record { age: Policy::default().absolute_timeout.saturating_sub(HOUR / 4), ttl: HOUR / 8, ..record() });
    let Step::Commit(commit, Rotate::NewId) = plan(&old, &renew) else { panic!("no rotation") };
    assert_eq!(commit.ttl, Some(HOUR / 4));
    assert!(!commit.is_change());
}

#[test]
fn h13_changes_of_a_session_that_has_gone_are_lost() {
    assert_eq!(plan(&Known::Gone, &recorded([set("n", 2)])), Step::Lost);
    assert_eq!(plan(&Known::Gone, &Recorded::default()), Step::Nothing);
}

#[test]
fn h16_a_due_touch_is_folded_into_the_commit() {
    let due = Known::Loaded(Record { ttl: HOUR / 4, ..record() });
    let Step::Commit(commit, Rotate::SameId) = plan(&due, &recorded([set("n", 2)])) else { panic!("no commit") };
    assert_eq!((commit.ttl, commit.changes.len()), (Some(HOUR / 2), 1));
    let Step::Commit(touch, Rotate::SameId) = plan(&due, &Recorded::default()) else { panic!("no touch") };
    assert!(!touch.is_change());
}

#[test]
fn a_session_with_a_lifetime_of_its_own_is_touched_by_that() {
    let lifetime = Lifetime { idle_timeout: Some(48 * HOUR), absolute_timeout: Some(480 * HOUR), persistence: None };
    let alive = Known::Alive { age: HOUR, ttl: 40 * HOUR, lifetime };
    assert_eq!(plan(&alive, &Recorded::default()), Step::Nothing);
    let due = Known::Alive { age: HOUR, ttl: 30 * HOUR, lifetime };
    let Step::Commit(touch, Rotate::SameId) = plan(&due, &Recorded::default()) else { panic!("no touch") };
    assert_eq!(touch.ttl, Some(48 * HOUR));
}

#[test]
fn a_record_beyond_its_absolute_timeout_is_ended() {
    let over = Known::Loaded(Record { age: 9 * HOUR, ..record() });
    assert_eq!(plan(&over, &recorded([set("n", 2)])), Step::Expire);
}

#[test]
fn what_is_recorded_during_a_commit_stays_recorded() {
    let done = recorded([set("a", 1), set("b", 1)]);
    let mut now = recorded([set("a", 1), set("b", 2), set("c", 3)]);
    now.forget(&done);
    assert_eq!(now, recorded([set("b", 2), set("c", 3)]));
    now.forget(&now.clone());
    assert!(now.is_empty());
}

#[test]
fn h16_the_time_since_the_store_answered_counts() {
    let old = Known::Loaded(Record { age: Policy::default().absolute_timeout.saturating_sub(HOUR / 4), ttl: HOUR / 4, ..record() });
    let renew = Recorded { renew: true, ..Recorded::default() };
    let Step::Commit(commit, Rotate::NewId) = super::plan(&old, HOUR / 6, &renew, &Policy::default()) else { panic!("no rotation") };
    assert_eq!(commit.ttl, Some(HOUR / 12), "a long request does not live beyond the absolute deadline");
    assert_eq!(super::plan(&old, HOUR / 2, &renew, &Policy::default()), Step::Expire);
}
