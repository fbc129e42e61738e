//! The metrics of the primary about its workers.

use std::time::Duration;

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

/// Describes the metrics, and creates every series with its first value.
pub(super) fn describe() {
    describe_gauge!(WORKERS, "Running worker processes.");
    describe_gauge!(SLOTS, "Worker slots, by state.");
    describe_counter!(EXITS, "Workers that have exited, by cause.");
    describe_counter!(RESTARTS, "Announced replacements of workers that had exited.");
    describe_counter!(RELOADS, "Finished reloads, by outcome.");
    describe_gauge!(
        SCRAPE_FAILED,
        "Workers that did not return their metrics within a second; their last snapshot is used."
    );
    describe_gauge!(UPTIME, "Seconds since the start of the primary.");
    describe_gauge!(BUILD, "1, with the version of the primary as a label.");
    for cause in CAUSES {
        counter!(EXITS, "cause" => cause).increment(0);
    }
    for outcome in ["done", "failed"] {
        counter!(RELOADS, "outcome" => outcome).increment(0);
    }
    counter!(RESTARTS).increment(0);
    gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1);
}

/// Counts an event.
pub(super) fn count_event(event: &Event) {
    match event {
        Event::Exited { cause, .. } => counter!(EXITS, "cause" => cause_name(*cause)).increment(1),
        Event::Respawning { .. } => counter!(RESTARTS).increment(1),
        Event::Reloaded(outcome) => {
            counter!(RELOADS, "outcome" => if outcome.is_ok() { "done" } else { "failed" })
                .increment(1);
        }
        _ => {}
    }
}

/// Sets the gauges to the current state. `failed_scrapes` is the number of workers that did not
/// answer.
pub(super) fn update_gauges(cluster: &ClusterHandle, failed_scrapes: u32, uptime: Duration) {
    let slots = cluster.status().slots;
    for state in STATES {
        let count = slots.iter().filter(|slot| state_name(slot.state) == state).count();
        gauge!(SLOTS, "state" => state).set(gauge_value(count));
    }
    gauge!(WORKERS).set(gauge_value(cluster.workers().len()));
    gauge!(SCRAPE_FAILED).set(failed_scrapes);
    gauge!(UPTIME).set(uptime);
}

fn gauge_value(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn state_name(state: SlotState) -> &'static str {
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

fn cause_name(cause: ExitCause) -> &'static str {
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
