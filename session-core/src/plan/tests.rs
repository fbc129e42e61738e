use super::*;
use crate::{Json, Name, Principal};

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
    Recorded { sign_in: Some(principal(who).into()), ..Recorded::default() }
}

const SECRET: SecretHash = SecretHash::from_bytes([7; SecretHash::BYTES]);

/// Bob's session.
fn record() -> Record {
    Record {
        data: [(name("n"), Json::integer(1))].into_iter().collect(),
        version: 1,
        secret: SECRET,
        generation: 1,
        since: 1,
        grace: None,
        age: Duration::ZERO,
        rotated: Duration::ZERO,
        authenticated: Some(Duration::ZERO),
        ttl: HOUR / 2,
        principal: Some(principal("bob")),
        attributes: Attributes::default(),
    }
}

/// An anonymous session.
fn anonymous() -> Record {
    Record { generation: 0, since: 0, authenticated: None, principal: None, ..record() }
}

fn known(record: Record) -> SessionKnowledge {
    SessionKnowledge::Loaded(Box::new(record))
}

fn loaded() -> SessionKnowledge {
    known(record())
}

fn plan(known: &SessionKnowledge, recorded: &Recorded) -> NextStoreCall {
    super::plan(known, SECRET, Duration::ZERO, recorded, &Policy::default())
}

#[test]
fn h02_no_changes_create_no_record() {
    assert_eq!(plan(&SessionKnowledge::Absent, &Recorded::default()), NextStoreCall::None);
    assert_eq!(plan(&SessionKnowledge::Unloaded, &Recorded::default()), NextStoreCall::None);
    assert_eq!(plan(&loaded(), &Recorded::default()), NextStoreCall::None);
}

#[test]
fn removing_renewing_and_clearing_start_no_session() {
    let nothing = Recorded { clears: 1, renew: true, ..recorded([(name("n"), Change::Remove)]) };
    assert_eq!(plan(&SessionKnowledge::Absent, &nothing), NextStoreCall::None);
}

#[test]
fn h03_first_insert_creates_once() {
    let NextStoreCall::Create(new) =
        plan(&SessionKnowledge::Absent, &recorded([set("n", 1), (name("m"), Change::Remove)]))
    else {
        panic!("no create")
    };
    assert_eq!((new.data.len(), new.ttl, new.principal), (1, HOUR / 2, None));
}

#[test]
fn h04_equal_values_are_not_written() {
    assert_eq!(
        plan(&loaded(), &recorded([set("n", 1), (name("absent"), Change::Remove)])),
        NextStoreCall::None
    );
    let NextStoreCall::Commit(commit, Rotate::Keep) =
        plan(&loaded(), &recorded([set("n", 1), set("m", 2)]))
    else {
        panic!("no commit")
    };
    assert_eq!(commit.changes, [set("m", 2)].into());
}

#[test]
fn insert_without_a_load_needs_no_load() {
    let NextStoreCall::Commit(commit, Rotate::Keep) =
        plan(&SessionKnowledge::Unloaded, &recorded([set("n", 1)]))
    else {
        panic!("no commit")
    };
    assert_eq!(
        (commit.changes, commit.ttl, commit.guard),
        ([set("n", 1)].into(), None, crate::Guard::Any)
    );
}

#[test]
fn h10_sign_in_rotates_and_keeps_data_of_an_anonymous_session() {
    assert_eq!(plan(&SessionKnowledge::Unloaded, &sign_in("bob")), NextStoreCall::Load);
    let anonymous = known(anonymous());
    let NextStoreCall::Commit(commit, Rotate::WithoutGrace) = plan(&anonymous, &sign_in("bob"))
    else {
        panic!("no rotation")
    };
    assert!(!commit.clear);
    assert_eq!(commit.principal, PrincipalChange::Set(principal("bob")));
}

#[test]
fn h10_second_sign_in_rotates_and_another_user_gets_no_data() {
    let NextStoreCall::Commit(commit, Rotate::WithoutGrace) = plan(&loaded(), &sign_in("bob"))
    else {
        panic!("no rotation")
    };
    assert!(!commit.clear);
    let alice = Recorded { changes: [set("theirs", 1)].into(), ..sign_in("alice") };
    assert_eq!(plan(&loaded(), &alice), NextStoreCall::EndForOtherUser);
}

#[test]
fn h11_renewal_does_not_extend_the_absolute_deadline() {
    let renew = Recorded { renew: true, ..Recorded::default() };
    let old = known(Record {
        authenticated: Some(Policy::default().absolute_timeout.saturating_sub(HOUR / 4)),
        age: 9 * HOUR,
        ttl: HOUR / 8,
        ..record()
    });
    let NextStoreCall::Commit(commit, Rotate::WithGrace) = plan(&old, &renew) else {
        panic!("no rotation")
    };
    assert_eq!(commit.ttl, Some(HOUR / 4));
    assert!(!commit.is_change());
}

#[test]
fn h13_changes_of_an_ended_session_are_lost() {
    assert_eq!(plan(&SessionKnowledge::Gone, &recorded([set("n", 2)])), NextStoreCall::Gone);
    assert_eq!(plan(&SessionKnowledge::Gone, &Recorded::default()), NextStoreCall::None);
}

#[test]
fn h16_due_ttl_extension_is_part_of_the_commit() {
    let due = known(Record { ttl: HOUR / 4, ..record() });
    let NextStoreCall::Commit(commit, Rotate::Keep) = plan(&due, &recorded([set("n", 2)])) else {
        panic!("no commit")
    };
    assert_eq!((commit.ttl, commit.changes.len()), (Some(HOUR / 2), 1));
    let NextStoreCall::Commit(touch, Rotate::Keep) = plan(&due, &Recorded::default()) else {
        panic!("no touch")
    };
    assert!(!touch.is_change());
}

#[test]
fn session_with_its_own_timeouts_is_extended_by_them() {
    let attributes = Attributes {
        idle_timeout: Some(48 * HOUR),
        absolute_timeout: Some(480 * HOUR),
        ..Attributes::default()
    };
    let alive = |ttl| {
        SessionKnowledge::Alive(Alive {
            age: HOUR,
            authenticated: None,
            ttl,
            attributes: attributes.clone(),
        })
    };
    let alive_for_long = alive(40 * HOUR);
    assert_eq!(plan(&alive_for_long, &Recorded::default()), NextStoreCall::None);
    let due = alive(30 * HOUR);
    let NextStoreCall::Commit(touch, Rotate::Keep) = plan(&due, &Recorded::default()) else {
        panic!("no touch")
    };
    assert_eq!(touch.ttl, Some(48 * HOUR));
}

#[test]
fn record_beyond_its_absolute_timeout_is_deleted() {
    let over = known(Record { authenticated: Some(9 * HOUR), age: 9 * HOUR, ..record() });
    assert_eq!(plan(&over, &recorded([set("n", 2)])), NextStoreCall::Expire);
}

#[test]
fn changes_recorded_during_a_commit_stay_recorded() {
    let done = recorded([set("a", 1), set("b", 1)]);
    let mut now = recorded([set("a", 1), set("b", 2), set("c", 3)]);
    now.forget(&done);
    assert_eq!(now, recorded([set("b", 2), set("c", 3)]));
    now.forget(&now.clone());
    assert!(now.is_empty());
}

#[test]
fn equal_value_set_after_a_clear_stays_recorded() {
    let done = recorded([set("n", 5)]);
    let mut now = Recorded { clears: 1, ..done.clone() };
    now.forget(&done);
    assert_eq!(now, Recorded { clears: 1, ..done });
    let done = Recorded { clears: 1, ..recorded([set("n", 5)]) };
    let mut now = Recorded { clears: 2, ..done.clone() };
    now.forget(&done);
    assert_eq!(now, done);
    let mut now = Recorded { clears: 1, ..recorded([set("n", 5), set("m", 6)]) };
    now.forget(&done);
    assert_eq!(now, recorded([set("m", 6)]));
}

#[test]
fn h16_time_since_the_store_answered_counts() {
    let old = known(Record {
        authenticated: Some(Policy::default().absolute_timeout.saturating_sub(HOUR / 4)),
        age: 9 * HOUR,
        ttl: HOUR / 5,
        ..record()
    });
    let renew = Recorded { renew: true, ..Recorded::default() };
    let NextStoreCall::Commit(commit, Rotate::WithGrace) =
        super::plan(&old, SECRET, HOUR / 6, &renew, &Policy::default())
    else {
        panic!("no rotation")
    };
    assert_eq!(
        commit.ttl,
        Some(HOUR / 12),
        "a long request does not extend the session beyond the absolute deadline"
    );
    assert_eq!(
        super::plan(&old, SECRET, HOUR / 2, &renew, &Policy::default()),
        NextStoreCall::Expire
    );
}

#[test]
fn c48_absolute_timeout_of_a_user_counts_from_the_sign_in() {
    let old = Record { age: 100 * HOUR, authenticated: Some(HOUR), ttl: HOUR / 8, ..record() };
    let NextStoreCall::Commit(touch, Rotate::Keep) =
        plan(&known(old.clone()), &Recorded::default())
    else {
        panic!("no touch")
    };
    assert_eq!(touch.ttl, Some(HOUR / 2));
    let visitor = Record { age: 100 * HOUR, ..anonymous() };
    assert_eq!(plan(&known(visitor), &recorded([set("n", 2)])), NextStoreCall::Expire);
    let blind = SessionKnowledge::Alive(Alive {
        age: 100 * HOUR,
        authenticated: Some(HOUR),
        ttl: HOUR / 2,
        attributes: Attributes::default(),
    });
    assert_eq!(plan(&blind, &Recorded::default()), NextStoreCall::None);
}

#[test]
fn c48_sign_in_restarts_the_lifetime_and_a_renewal_does_not() {
    let near_the_end =
        Record { age: 8 * HOUR, authenticated: Some(31 * HOUR / 4), ttl: HOUR / 4, ..record() };
    let renew = Recorded { renew: true, ..Recorded::default() };
    let NextStoreCall::Commit(renewal, Rotate::WithGrace) =
        plan(&known(near_the_end.clone()), &renew)
    else {
        panic!("no rotation")
    };
    assert_eq!((renewal.ttl, renewal.authenticated), (None, false));
    let NextStoreCall::Commit(again, Rotate::WithoutGrace) =
        plan(&known(near_the_end.clone()), &sign_in("bob"))
    else {
        panic!("no rotation")
    };
    assert_eq!(again.ttl, Some(HOUR / 2));
    let proves =
        Recorded { reauthenticated: Some(Reauthentication { acr: None }), ..Recorded::default() };
    let NextStoreCall::Commit(proof, Rotate::WithoutGrace) = plan(&known(near_the_end), &proves)
    else {
        panic!("no rotation")
    };
    assert_eq!((proof.ttl, proof.authenticated), (Some(HOUR / 2), true));
}

#[test]
fn h31_reauthentication_of_a_visitor_only_rotates() {
    let acr = Some(ShortText::new("mfa").unwrap());
    let proves =
        Recorded { reauthenticated: Some(Reauthentication { acr }), ..Recorded::default() };
    let NextStoreCall::Commit(commit, Rotate::WithoutGrace) = plan(&known(anonymous()), &proves)
    else {
        panic!("no rotation")
    };
    assert_eq!((commit.authenticated, commit.attributes, commit.ttl), (false, None, None));
}

#[test]
fn s28_sign_in_keeps_no_former_attributes() {
    let day = Duration::from_secs(86_400);
    let remembered = SignIn::new(principal("bob"))
        .remember(30 * day)
        .acr("mfa")
        .unwrap()
        .label("Firefox")
        .unwrap()
        .attributes;
    let held = Record { ttl: 30 * day, attributes: remembered, ..record() };
    let NextStoreCall::Commit(commit, Rotate::WithoutGrace) = plan(&known(held), &sign_in("bob"))
    else {
        panic!("no rotation")
    };
    assert_eq!((commit.attributes, commit.ttl), (Some(Attributes::default()), Some(HOUR / 2)));
}

#[test]
fn h27_only_a_sign_in_works_with_a_superseded_id() {
    for known in [SessionKnowledge::Superseded, SessionKnowledge::Grace(Box::new(record()))] {
        assert_eq!(plan(&known, &Recorded::default()), NextStoreCall::None);
        assert_eq!(plan(&known, &recorded([set("n", 2)])), NextStoreCall::Superseded);
        assert_eq!(
            plan(&known, &Recorded { renew: true, ..Recorded::default() }),
            NextStoreCall::Superseded
        );
        let NextStoreCall::Create(new) = plan(&known, &sign_in("bob")) else {
            panic!("no new session")
        };
        assert_eq!((new.data.len(), new.principal), (0, Some(principal("bob"))));
    }
    assert!(matches!(plan(&SessionKnowledge::Gone, &sign_in("bob")), NextStoreCall::Create(_)));
}

#[test]
fn c50_anonymous_timeout_applies_to_visitors() {
    let policy = Policy::default().anonymous_idle_timeout(HOUR / 12);
    let new = |recorded: &Recorded| match super::plan(
        &SessionKnowledge::Absent,
        SECRET,
        Duration::ZERO,
        recorded,
        &policy,
    ) {
        NextStoreCall::Create(new) => new.ttl,
        other => panic!("expected a creation, got {other:?}"),
    };
    assert_eq!((new(&recorded([set("n", 1)])), new(&sign_in("bob"))), (HOUR / 12, HOUR / 2));
    let visitor = known(Record { ttl: HOUR / 12, ..anonymous() });
    assert_eq!(
        super::plan(&visitor, SECRET, Duration::ZERO, &Recorded::default(), &policy),
        NextStoreCall::None
    );
    let NextStoreCall::Commit(commit, _) =
        super::plan(&visitor, SECRET, Duration::ZERO, &sign_in("bob"), &policy)
    else {
        panic!("no rotation")
    };
    assert_eq!(commit.ttl, Some(HOUR / 2));
}
