//! Renders the replies of a server as text for a terminal.

use std::{fmt::Write, time::Duration};

use cluster::control::{ReloadReply, Reply, SlotReply, StatusReply, StopReply, WorkerReply};
use serde::Serialize;
use serde_json::{Value, json};

/// A reply as lines of text.
pub(super) fn text(reply: &Reply) -> String {
    match reply {
        Reply::Status(status) => status_text(status),
        Reply::Reloaded(reloaded) => reload_text(reloaded),
        Reply::Upgraded { pid } => {
            format!("primary {pid} has taken over; the workers of the old primary are stopping\n")
        }
        Reply::Scaled { workers } => format!("scaled to {workers}\n"),
        Reply::Drained { id, cause } => format!("worker {id} has exited: {}\n", name(cause)),
        Reply::Signalled { id } => format!("sent the signal to worker {id}\n"),
        Reply::Stopped(stopped) => stop_text(stopped),
        // A variant that a later version of the library added.
        other => format!("{}\n", json!(other)),
    }
}

fn status_text(status: &StatusReply) -> String {
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
    let slot_row = |slot: &SlotReply| {
        let state = match slot.delay {
            Some(delay) => format!("{} {}", name(&slot.state), humantime::format_duration(delay)),
            None => name(&slot.state),
        };
        [
            slot.slot.to_string(),
            state,
            or_dash(slot.worker),
            slot.deaths.to_string(),
            or_dash(slot.last_exit.as_ref().map(name)),
        ]
    };
    text.push('\n');
    table(
        &mut text,
        ["SLOT", "STATE", "WORKER", "DEATHS", "LAST EXIT"],
        status.slots.iter().map(slot_row),
    );
    let worker_row = |worker: &WorkerReply| {
        [
            worker.id.to_string(),
            worker.slot.to_string(),
            worker.pid.to_string(),
            name(&worker.state),
            seconds(worker.uptime),
            worker.requests.to_string(),
            or_dash(worker.last_beat.map(|age| format!("{} ago", seconds(age)))),
            worker.refused_messages.to_string(),
        ]
    };
    text.push('\n');
    let head =
        ["WORKER", "SLOT", "PID", "STATE", "UPTIME", "REQUESTS", "LAST BEAT", "REFUSED MESSAGES"];
    table(&mut text, head, status.workers.iter().map(worker_row));
    text
}

/// The line that says what happened to how many workers in which time.
fn workers_in(what: &str, count: usize, took: Duration) -> String {
    format!("{what} {count} in {}\n", humantime::format_duration(took))
}

fn reload_text(reloaded: &ReloadReply) -> String {
    let mut text = workers_in("replaced", reloaded.replaced.len(), reloaded.took);
    for replaced in &reloaded.replaced {
        let _ = writeln!(
            text,
            "slot {}: worker {} replaces {}",
            replaced.slot,
            replaced.new,
            or_dash(replaced.old)
        );
    }
    text
}

fn stop_text(stopped: &StopReply) -> String {
    let mut text = workers_in("stopped", stopped.workers.len(), stopped.took);
    if let Some(pid) = stopped.successor {
        let _ = writeln!(text, "primary {pid} has taken over and still serves");
    }
    for id in &stopped.killed {
        let _ = writeln!(text, "worker {id} did not stop within the drain time and was killed");
    }
    text
}

/// Writes a table whose columns are as wide as their widest cell.
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

/// The name of a state or a cause in the control protocol, with spaces for underscores.
fn name(value: &impl Serialize) -> String {
    match json!(value) {
        Value::String(name) => name.replace('_', " "),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect::<Vec<_>>()
            .join(" "),
        other => other.to_string(),
    }
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn seconds(time: Duration) -> String {
    humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_rendered_as_tables() {
        let reply: Reply = serde_json::from_value(json!({ "status": {
            "phase": "running", "pid": 41, "uptime_ms": 7_384_999, "version": "0.1.0",
            "addresses": { "http": "127.0.0.1:3000" },
            "slots": [
                { "slot": 0, "state": "serving", "worker": 12, "deaths": 0, "last_exit": null },
                {
                    "slot": 1, "state": "backing_off", "worker": null, "delay_ms": 1500,
                    "deaths": 10, "last_exit": { "signalled": 9 },
                },
            ],
            "workers": [{
                "id": 12, "slot": 0, "pid": 4711, "state": "serving", "uptime_ms": 999,
                "refused_messages": 0, "requests": 31, "last_beat_ms": 900,
            }],
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
    fn replies_name_replaced_and_killed_workers() {
        let reloaded = json!({ "reloaded": { "took_ms": 20, "replaced": [
            { "slot": 0, "old": 1, "new": 3 },
            { "slot": 1, "old": null, "new": 4 },
        ] } });
        let reloaded = text(&serde_json::from_value(reloaded).unwrap());
        assert_eq!(
            reloaded,
            "replaced 2 in 20ms\nslot 0: worker 3 replaces 1\nslot 1: worker 4 replaces -\n"
        );
        let stopped = json!({ "stopped": { "workers": [], "killed": [7], "took_ms": 1000 } });
        let stopped = text(&serde_json::from_value(stopped).unwrap());
        assert_eq!(
            stopped,
            "stopped 0 in 1s\nworker 7 did not stop within the drain time and was killed\n"
        );
    }
}
