//! What the primary counts of its workers.

use cluster::{ClusterHandle, Event, ExitCause, SlotState};
use metrics::{counter, describe_counter, describe_gauge, gauge};

const WORKERS: &str = "cluster_workers";
const SLOTS: &str = "cluster_slots";
const EXITS: &str = "cluster_worker_exits_total";
const RESTARTS: &str = "cluster_worker_restarts_total";
const RELOADS: &str = "cluster_reloads_total";
const SCRAPE_FAILED: &str = "cluster_worker_scrape_failed";
const UPTIME: &str = "cluster_uptime_seconds";
const BUILD: &str = "demo_server_build_info";

const STATES: [&str; 6] = ["starting", "serving", "draining", "backing_off", "gave_up", "stopped"];
const CAUSES: [&str; 8] = [
    "requested",
    "boot_failed",
    "crashed",
    "signalled",
    "hung",
    "deadline_killed",
    "abandoned",
    "other",
];

/// Tells what the names mean, and starts every series that there can be.
pub(super) fn describe() {
    describe_gauge!(WORKERS, "Worker processes that live.");
    describe_gauge!(SLOTS, "Places for workers, by what they do.");
    describe_counter!(EXITS, "Workers that have ended, by cause.");
    describe_counter!(RESTARTS, "Times that a slot whose worker had ended announced another one.");
    describe_counter!(RELOADS, "Reloads of all workers that have ended, by outcome.");
    describe_gauge!(
        SCRAPE_FAILED,
        "Workers that did not say their numbers within a second, so that those they said last stand in."
    );
    describe_gauge!(UPTIME, "Seconds since the primary began.");
    describe_gauge!(BUILD, "1, for the version that the primary is.");
    for cause in CAUSES {
        counter!(EXITS, "cause" => cause).increment(0);
    }
    for outcome in ["done", "failed"] {
        counter!(RELOADS, "outcome" => outcome).increment(0);
    }
    counter!(RESTARTS).increment(0);
    gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1);
}

/// Counts what happened.
pub(super) fn count(event: &Event) {
    match event {
        Event::Exited { cause, .. } => counter!(EXITS, "cause" => name(*cause)).increment(1),
        Event::Respawning { .. } => counter!(RESTARTS).increment(1),
        Event::Reloaded(outcome) => {
            counter!(RELOADS, "outcome" => if outcome.is_ok() { "done" } else { "failed" })
                .increment(1);
        }
        _ => {}
    }
}

/// Notes how things stand.
pub(super) fn measure(cluster: &ClusterHandle, unanswered: u32, uptime: std::time::Duration) {
    let slots = cluster.status().slots;
    for state in STATES {
        let count = slots.iter().filter(|slot| state_of(slot.state) == state).count();
        gauge!(SLOTS, "state" => state).set(amount(count));
    }
    gauge!(WORKERS).set(amount(cluster.workers().len()));
    gauge!(SCRAPE_FAILED).set(unanswered);
    gauge!(UPTIME).set(uptime);
}

fn amount(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn state_of(state: SlotState) -> &'static str {
    match state {
        SlotState::Starting(_) => "starting",
        SlotState::Serving(_) => "serving",
        SlotState::Draining(_) => "draining",
        SlotState::BackingOff(_) => "backing_off",
        SlotState::GaveUp => "gave_up",
        SlotState::Stopped => "stopped",
        _ => "other",
    }
}

fn name(cause: ExitCause) -> &'static str {
    match cause {
        ExitCause::Requested => "requested",
        ExitCause::BootFailed => "boot_failed",
        ExitCause::Crashed => "crashed",
        ExitCause::Signalled(_) => "signalled",
        ExitCause::Hung => "hung",
        ExitCause::DeadlineKilled => "deadline_killed",
        ExitCause::Abandoned => "abandoned",
        _ => "other",
    }
}
