//! Tests of what a failover explains, and what it does not explain.

use super::*;

/// Checks the history with one failover: answers from 10 to 20 ms may be undone, and until 30 ms
/// only the former primary answered.
fn verdict(calls: HistoryBuilder, apart: bool) -> (Vec<Law>, Vec<Law>) {
    let failover =
        Failover { until: 30 * MS, spans: vec![(10 * MS, 20 * MS)], what: "a failover".to_owned() };
    let verdict = check(&History { failovers: vec![failover], apart, ..calls.history() });
    let laws = |found: &[super::super::Violation]| found.iter().map(|found| found.law).collect();
    (laws(&verdict.violations), laws(&verdict.undone))
}

/// Adds to a counter in a given span. The last read does not show the addition.
fn lost_at(begin: u64, end: u64) -> (Vec<Law>, Vec<Law>) {
    let added = created().between(begin, end, commit("k", sum("n0", 3)), summed(2, begin, "n0", 3));
    verdict_after_a_read(added)
}

/// Checks the history with one failover and with a read at its end, which shows a session without
/// values.
fn verdict_after_a_read(calls: HistoryBuilder) -> (Vec<Law>, Vec<Law>) {
    verdict(calls.between(60, 61, load("k"), seen(1, 59, &[])), false)
}

#[test]
fn answer_in_the_span_may_be_undone() {
    let (violations, undone) = lost_at(12, 13);
    assert_eq!(violations, []);
    assert!(undone.contains(&Law::LostAdd), "{undone:?}");
    // The request or the answer may lie in the span.
    assert_eq!((lost_at(8, 11).0, lost_at(19, 40).0), (vec![], vec![]));
}

#[test]
fn answer_outside_the_span_is_kept() {
    assert!(lost_at(8, 9).0.contains(&Law::LostAdd));
    assert!(lost_at(21, 22).0.contains(&Law::LostAdd));
    let deleted = |begin| {
        let calls = created().between(begin, begin + 1, delete("k"), Answer::Deleted(true));
        verdict_after_a_read(calls)
    };
    assert_eq!(deleted(5).0, [Law::Resurrection]);
    assert_eq!(deleted(12), (vec![], vec![Law::Resurrection]));
}

#[test]
fn former_primary_keeps_the_laws_until_the_failover() {
    let wrote = || created().between(12, 13, commit("k", write(&[("v0", "1")])), done(2, 12));
    // The former primary must see its own writes, so the failover does not explain this read.
    let (violations, _) = verdict(wrote().between(14, 15, load("k"), seen(1, 14, &[])), false);
    assert!(violations.contains(&Law::LostWrite), "{violations:?}");
    assert_eq!(
        verdict(wrote().between(14, 15, load("k"), seen(2, 14, &[("v0", "1")])), false),
        (vec![], vec![])
    );
}

#[test]
fn failover_does_not_explain_unwritten_values_or_refusals() {
    let (violations, undone) =
        verdict(created().between(12, 13, load("k"), seen(1, 12, &[("v0", "1")])), false);
    assert_eq!((violations, undone), (vec![Law::NeverWritten], vec![]));
    assert_eq!(
        verdict(created().between(12, 13, load("k"), Answer::Corrupt("no JSON".to_owned())), false)
            .0,
        [Law::Refused]
    );
}

#[test]
fn rotation_in_the_span_may_be_undone() {
    let rotated = |begin| {
        let calls = created().between(begin, begin + 1, rotate("s0", "s1"), done(1, begin));
        verdict_after_a_read(calls)
    };
    assert_eq!(rotated(5).0, [Law::SupersededAccepted]);
    assert_eq!(rotated(12), (vec![], vec![Law::SupersededAccepted]));
}

#[test]
fn list_on_another_server_may_lose_a_session() {
    let signed_in = |begin| {
        let read = |at: u64| Answer::Found(signed_in("p", 2, at, at - begin));
        let calls = created().between(
            begin,
            begin + 1,
            rotate_and("s0", "s1", None, of("p")),
            done_of(2, begin, 0),
        );
        let calls =
            calls.between(40, 41, load("k"), read(40)).between(42, 43, list("p"), shown(&[]));
        calls.between(44, 45, load("k"), read(44))
    };
    assert_eq!(verdict(signed_in(12), true), (vec![], vec![Law::MissingInList]));
    assert_eq!(verdict(signed_in(5), true).0, [Law::MissingInList]);
    // On one server the session and its list are lost together or not at all.
    assert_eq!(verdict(signed_in(12), false).0, [Law::MissingInList]);
}
