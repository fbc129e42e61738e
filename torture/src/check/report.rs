//! The report of a violation, as text.

use std::{collections::BTreeMap, fmt::Display};

use super::{minimal::minimal, violation::Violation};
use crate::history::{Answer, Call, History, LoadedSession, Op, Rotate, Write};

/// The number of calls that a report shows.
const SHOWN: usize = 40;

/// Describes a violation: the law, and the calls that prove it. Times are in milliseconds since the
/// start of the run.
#[must_use]
pub fn describe(history: &History, violation: &Violation) -> String {
    render(history, violation, "VIOLATION", &minimal(history, violation).calls)
}

/// Describes an acknowledged write that a failover lost, in the same form.
#[must_use]
pub fn describe_undone(history: &History, violation: &Violation) -> String {
    let calls: Vec<_> =
        history.calls.iter().filter(|call| violation.calls.contains(&call.id)).cloned().collect();
    render(history, violation, "documented, lost in a failover,", &calls)
}

fn render(history: &History, violation: &Violation, what: &str, proof: &[Call]) -> String {
    let mut text = format!(
        "{what} {}: {}\n  session {}, seed {}, store {}\n",
        violation.law, violation.text, violation.of, history.seed, history.store
    );
    let hidden = proof.len().saturating_sub(SHOWN);
    // The call that shows the violation comes last. The calls before it explain the most, so the
    // report leaves out calls after the first two.
    for (at, call) in proof.iter().enumerate() {
        if (2..2 + hidden).contains(&at) {
            if at == 2 {
                text.push_str("  …\n");
            }
            continue;
        }
        text.push_str(&line(history, call));
    }
    for fault in faults_beside(history, proof) {
        text.push_str(&fault);
    }
    text
}

fn line(history: &History, call: &Call) -> String {
    let end = call.end.map_or_else(|| "never".to_owned(), |end| since(history, end));
    let answer = call
        .answer
        .as_ref()
        .map_or_else(|| "no answer, the process was killed".to_owned(), answered);
    format!(
        "  {:>12} to {end:>12}  #{} {}: {} -> {answer}\n",
        since(history, call.begin),
        call.id,
        call.by,
        asked(&call.op)
    )
}

fn faults_beside(history: &History, proof: &[Call]) -> Vec<String> {
    let begin = proof.iter().map(|call| call.begin).min().unwrap_or_default();
    let end = proof.iter().filter_map(|call| call.end).max().unwrap_or_default();
    let beside = history.faults.iter().filter(|fault| fault.begin <= end && begin <= fault.end);
    let faults = beside.map(|fault| {
        format!(
            "  {:>12} to {:>12}  fault: {}\n",
            since(history, fault.begin),
            since(history, fault.end),
            fault.what
        )
    });
    let spans = history
        .failovers
        .iter()
        .flat_map(|failover| failover.spans.iter().map(move |span| (failover, span)));
    let undone = spans.filter(|(_, (from, to))| *from <= end && begin <= *to).map(
        |(failover, (from, to))| {
            let to = if *to == u64::MAX { "the end".to_owned() } else { since(history, *to) };
            format!(
                "  {:>12} to {to:>12}  may be undone: {}\n",
                since(history, *from),
                failover.what
            )
        },
    );
    faults.chain(undone).collect()
}

#[expect(clippy::cast_precision_loss, reason = "the microseconds of a run fit into the mantissa")]
fn since(history: &History, at: u64) -> String {
    format!("{:.3} ms", at.saturating_sub(history.start) as f64 / 1e6)
}

fn asked(op: &Op) -> String {
    match op {
        Op::Create { key, secret, write } => {
            format!("create {key} with {secret}{}", written(write))
        }
        Op::Load { key } => format!("load {key}"),
        Op::Commit { key, secret, guard, write, rotate } => {
            let guard = guard.map(|guard| format!(" if version {guard}")).unwrap_or_default();
            let rotate = rotate.as_ref().map(rotated).unwrap_or_default();
            format!("commit {key} with {secret}{guard}{}{rotate}", written(write))
        }
        Op::Delete { key, claim: None } => format!("delete {key}"),
        Op::Delete { key, claim: Some(generation) } => {
            format!("delete {key} as of generation {generation}")
        }
        Op::List { principal } => format!("list {principal}"),
        Op::Revoke { principal, except: None } => format!("revoke {principal}"),
        Op::Revoke { principal, except: Some(except) } => {
            format!("revoke {principal} except {except}")
        }
    }
}

fn rotated(rotate: &Rotate) -> String {
    let grace = rotate.grace.map(|grace| format!(" grace {grace} ms")).unwrap_or_default();
    format!(" rotate to {} generation {}{grace}", rotate.secret, rotate.generation)
}

fn written(write: &Write) -> String {
    let set = write.set.iter().map(|(name, value)| format!(" {name}={value}"));
    let removed = write.remove.iter().map(|name| format!(" -{name}"));
    let added = write.add.iter().map(|(name, by)| format!(" {name}+={by}"));
    let principal = write.principal.iter().map(|whose| {
        whose.as_ref().map_or(" sign out".to_owned(), |name| format!(" sign in {name}"))
    });
    let ttl = write.ttl.iter().map(|ttl| format!(" ttl {ttl} ms"));
    set.chain(removed).chain(added).chain(principal).chain(ttl).collect()
}

fn answered(answer: &Answer) -> String {
    match answer {
        Answer::New => "new".to_owned(),
        Answer::Taken => "taken".to_owned(),
        Answer::Found(seen) => {
            let values = pairs(&seen.values);
            let whose =
                seen.principal.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
            let LoadedSession { version, secret, generation, since, age, ttl, .. } = seen;
            let grace = seen
                .grace
                .as_ref()
                .map(|(former, left)| format!(", {former} reads for {left} ms"))
                .unwrap_or_default();
            format!(
                "version {version}{values}{whose}, secret {secret} \
                 generation {generation} since {since}{grace}, \
                 {age} ms old, lives for {ttl} ms"
            )
        }
        Answer::Absent => "absent".to_owned(),
        Answer::Done { version, added, ttl, .. } => {
            let added = pairs(added);
            format!("done, version {version}{added}, lives for {ttl} ms")
        }
        Answer::Conflict => "conflict".to_owned(),
        Answer::Superseded => "superseded".to_owned(),
        Answer::Gone => "gone".to_owned(),
        Answer::Deleted(there) => if *there { "deleted" } else { "nothing there" }.to_owned(),
        Answer::Listed(shown) => {
            format!("{:?}", shown.iter().map(|one| one.key.as_str()).collect::<Vec<_>>())
        }
        Answer::Revoked(count) => format!("{count} ended"),
        Answer::Rejected(text) => format!("rejected: {text}"),
        Answer::Corrupt(text) => format!("corrupt: {text}"),
        Answer::Unknown(text) => format!("unknown: {text}"),
    }
}

fn pairs<T: Display>(of: &BTreeMap<String, T>) -> String {
    of.iter()
        .flat_map(|(name, value)| [" ".to_owned(), name.clone(), "=".to_owned(), value.to_string()])
        .collect()
}
