//! Replies in words.

use std::{fmt::Write, time::Duration};

use cluster::control::{ReloadReply, Reply, SlotReply, StatusReply, StopReply, WorkerReply};
use serde::Serialize;
use serde_json::{Value, json};

/// A reply as lines for people.
pub(super) fn text(reply: &Reply) -> String {
    match reply {
        Reply::Status(status) => of_status(status),
        Reply::Reloaded(reloaded) => of_reload(reloaded),
        Reply::Upgraded { pid } => {
            format!("primary {pid} has taken over; the workers of the one that was asked leave\n")
        }
        Reply::Scaled { workers } => format!("scaled to {workers}\n"),
        Reply::Drained { id, cause } => format!("worker {id} has left: {}\n", name(cause)),
        Reply::Signalled { id } => format!("worker {id} was sent the signal\n"),
        Reply::Stopped(stopped) => of_stop(stopped),
        // Of a later build of the library.
        other => format!("{}\n", json!(other)),
    }
}

fn of_status(status: &StatusReply) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{} for {}, primary {}, cluster {}",
        name(&status.phase),
        seconds(status.uptime),
        status.pid,
        status.version
    );
    for (name, address) in &status.addresses {
        let _ = writeln!(text, "{name} on {address}");
    }
    let slot = |of: &SlotReply| {
        let state = match of.delay {
            Some(delay) => format!("{} {}", name(&of.state), humantime::format_duration(delay)),
            None => name(&of.state),
        };
        [
            of.slot.to_string(),
            state,
            or_none(of.worker),
            of.deaths.to_string(),
            or_none(of.last_exit.as_ref().map(name)),
        ]
    };
    text.push('\n');
    table(
        &mut text,
        ["SLOT", "STATE", "WORKER", "DEATHS", "LAST EXIT"],
        status.slots.iter().map(slot),
    );
    let worker = |of: &WorkerReply| {
        let beat = or_none(of.last_beat.map(|ago| format!("{} ago", seconds(ago))));
        let (requests, refused) = (of.requests.to_string(), of.refused_messages.to_string());
        [
            of.id.to_string(),
            of.slot.to_string(),
            of.pid.to_string(),
            name(&of.state),
            seconds(of.uptime),
            requests,
            beat,
            refused,
        ]
    };
    text.push('\n');
    let head =
        ["WORKER", "SLOT", "PID", "STATE", "UPTIME", "REQUESTS", "LAST BEAT", "REFUSED MESSAGES"];
    table(&mut text, head, status.workers.iter().map(worker));
    text
}

fn of_reload(reloaded: &ReloadReply) -> String {
    let mut text = format!(
        "replaced {} in {}\n",
        reloaded.replaced.len(),
        humantime::format_duration(reloaded.took)
    );
    for of in &reloaded.replaced {
        let _ = writeln!(
            text,
            "slot {}: worker {} in the place of {}",
            of.slot,
            of.new,
            or_none(of.old)
        );
    }
    text
}

fn of_stop(stopped: &StopReply) -> String {
    let mut text = format!(
        "stopped {} in {}\n",
        stopped.workers.len(),
        humantime::format_duration(stopped.took)
    );
    if let Some(pid) = stopped.successor {
        let _ = writeln!(text, "primary {pid} had taken over and serves on");
    }
    for id in &stopped.killed {
        let _ = writeln!(text, "worker {id} did not leave in time and was killed");
    }
    text
}

/// Columns as wide as what stands in them.
fn table<const N: usize>(
    text: &mut String,
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// The name of a state or a cause, as the protocol has it.
fn name(of: &impl Serialize) -> String {
    match json!(of) {
        Value::String(name) => name.replace('_', " "),
        Value::Object(named) => {
            named.iter().map(|(name, of)| format!("{name} {of}")).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

fn or_none(of: Option<impl ToString>) -> String {
    of.map_or_else(|| "-".to_owned(), |of| of.to_string())
}

fn seconds(time: Duration) -> String {
    humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_a_table() {
        let reply: Reply = serde_json::from_value(json!({ "status": {
            "phase": "running", "pid": 41, "uptime_ms": 7_384_999, "version": "0.1.0", "addresses": { "http": "127.0.0.1:3000" },
            "slots": [
                { "slot": 0, "state": "serving", "worker": 12, "deaths": 0, "last_exit": null },
                { "slot": 1, "state": "backing_off", "worker": null, "delay_ms": 1500, "deaths": 10, "last_exit": { "signalled": 9 } },
            ],
            "workers": [{ "id": 12, "slot": 0, "pid": 4711, "state": "serving", "uptime_ms": 999, "refused_messages": 0, "requests": 31, "last_beat_ms": 900 }],
        } }))
        .unwrap();
        let expected = "\
running for 2h 3m 4s, primary 41, cluster 0.1.0
http on 127.0.0.1:3000

SLOT  STATE                 WORKER  DEATHS  LAST EXIT
0     serving               12      0       -
1     backing off 1s 500ms  -       10      signalled 9

WORKER  SLOT  PID   STATE    UPTIME  REQUESTS  LAST BEAT  REFUSED MESSAGES
12      0     4711  serving  0s      31        0s ago     0
";
        assert_eq!(text(&reply), expected);
    }

    #[test]
    fn reports_name_who_was_replaced_and_who_was_killed() {
        let reloaded = json!({ "reloaded": { "replaced": [{ "slot": 0, "old": 1, "new": 3 }, { "slot": 1, "old": null, "new": 4 }], "took_ms": 20 } });
        let reloaded = text(&serde_json::from_value(reloaded).unwrap());
        assert_eq!(
            reloaded,
            "replaced 2 in 20ms\nslot 0: worker 3 in the place of 1\nslot 1: worker 4 in the place of -\n"
        );
        let stopped = json!({ "stopped": { "workers": [], "killed": [7], "took_ms": 1000 } });
        let stopped = text(&serde_json::from_value(stopped).unwrap());
        assert_eq!(stopped, "stopped 0 in 1s\nworker 7 did not leave in time and was killed\n");
    }
}
