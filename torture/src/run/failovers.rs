//! Finds the failovers in the samples of Redis nodes, and the answers that they may have undone.
//!
//! A Redis node reports the id of its replication history and its offset in it. A replica that is
//! promoted starts a new replication history, and reports the offset up to which it shares the
//! former one. So everything that the former primary had executed at such an offset is kept. What
//! it served after that may be undone.

use super::{downtime::Downtime, error::BoxError};
use crate::history::Failover;

/// What a node reported at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReplicationSample {
    pub(super) port: u16,
    /// The report is not older than this time.
    pub(super) from: u64,
    /// The report is not newer than this time.
    pub(super) to: u64,
    /// The id of the process. It changes with a restart.
    pub(super) run_id: String,
    /// The id of the replication history that the node holds (`master_replid`).
    pub(super) replication_id: String,
    /// The id of the replication history before that one (`master_replid2`).
    pub(super) former_replication_id: String,
    /// The first offset that the former replication history does not have (`second_repl_offset`).
    pub(super) diverged_at: i64,
    /// The offset in the replication history.
    pub(super) offset: i64,
    /// Whether the node reports that it is a primary.
    pub(super) is_primary: bool,
    /// The number of session commands that the node has executed.
    pub(super) session_commands: u64,
}

impl ReplicationSample {
    /// Whether both samples differ at most in their times.
    pub(super) fn has_same_state(&self, other: &Self) -> bool {
        let at = |sample: &Self| Self { from: 0, to: 0, ..sample.clone() };
        at(self) == at(other)
    }
}

/// Returns the failovers in the order of their ends. The workers made no call after `over`.
///
/// # Errors
/// If a server has no sample after `over`, or if a promoted server has no sample as a replica.
/// Without these, everything that the former primary served would count as undone, and the check
/// would prove nothing.
pub(super) fn find_failovers(
    samples: &[ReplicationSample],
    downtimes: &[Downtime],
    servers: &[u16],
    over: u64,
) -> Result<Vec<Failover>, BoxError> {
    let mut samples: Vec<&ReplicationSample> = samples.iter().collect();
    samples.sort_by_key(|sample| (sample.port, sample.from));
    let of = |port: u16| samples.iter().copied().filter(move |sample| sample.port == port);
    if let Some(port) =
        servers.iter().copied().find(|port| of(*port).all(|sample| sample.from < over))
    {
        return Err(too_few_samples(port, "it did not answer at the end of the run"));
    }
    let mut found: Vec<Failover> = Vec::new();
    let mut replication_ids: Vec<&str> = Vec::new();
    for new in samples
        .iter()
        .filter(|new| new.is_primary && !new.former_replication_id.trim_matches('0').is_empty())
    {
        if replication_ids.contains(&new.replication_id.as_str()) {
            continue;
        }
        replication_ids.push(&new.replication_id);
        // Until this sample the server was a replica, which answers no client.
        let until = of(new.port)
            .filter(|sample| sample.from < new.from && !sample.is_primary)
            .map(|sample| sample.from)
            .next_back();
        let until = until.ok_or_else(|| {
            too_few_samples(new.port, "it took over without an earlier sample as a replica")
        })?;
        let mut spans = Vec::new();
        let mut ports: Vec<_> = samples
            .iter()
            .filter(|old| old.is_primary && old.replication_id == new.former_replication_id)
            .map(|old| old.port)
            .collect();
        ports.dedup();
        for port in ports.iter().copied().filter(|port| *port != new.port) {
            let history: Vec<_> = of(port).collect();
            // After its last sample the server received no call.
            for (old, next) in history.iter().zip(history.iter().skip(1)) {
                spans.extend(
                    undone(old, next, new, until)
                        .into_iter()
                        .flat_map(|span| without_downtimes(span, port, downtimes)),
                );
            }
        }
        spans.sort_unstable();
        let from: Vec<_> = ports.iter().map(u16::to_string).collect();
        let what = format!(
            "the server on port {} took over from the one on port {}",
            new.port,
            from.join(", ")
        );
        found.push(Failover { until, spans, what });
    }
    found.sort_by_key(|failover| failover.until);
    Ok(found)
}

fn too_few_samples(port: u16, why: &str) -> BoxError {
    format!("too few samples of the server on port {port}: {why}").into()
}

/// Returns the span from one sample of a former primary to its next one, if it may have served in
/// it what its successor does not have.
fn undone(
    old: &ReplicationSample,
    next: &ReplicationSample,
    new: &ReplicationSample,
    until: u64,
) -> Option<(u64, u64)> {
    if !old.is_primary || old.replication_id != new.former_replication_id {
        return None;
    }
    let is_same = next.run_id == old.run_id;
    if is_same && next.session_commands == old.session_commands {
        return None;
    }
    let is_kept = is_same
        && next.is_primary
        && next.replication_id == old.replication_id
        && next.offset < new.diverged_at
        && next.to <= until;
    (!is_kept).then_some((old.from, next.to))
}

/// Returns the parts of a span in which the server can have answered.
fn without_downtimes(span: (u64, u64), port: u16, downtimes: &[Downtime]) -> Vec<(u64, u64)> {
    let mut left = vec![span];
    for downtime in downtimes.iter().filter(|downtime| downtime.port == port) {
        left = left
            .into_iter()
            .flat_map(|(from, to)| [(from, to.min(downtime.from)), (from.max(downtime.until), to)])
            .collect();
        left.retain(|(from, to)| from <= to);
        left.dedup();
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample of a primary on port 1 with replication id `a`.
    fn old(at: u64, offset: i64, session_commands: u64) -> ReplicationSample {
        let text = str::to_owned;
        ReplicationSample {
            port: 1,
            from: at,
            to: at + 1,
            run_id: text("p"),
            replication_id: text("a"),
            former_replication_id: text("0000"),
            diverged_at: -1,
            offset,
            is_primary: true,
            session_commands,
        }
    }

    /// A sample of the server on port 2, which has replication history `a` up to offset 20.
    fn new(at: u64, is_primary: bool) -> ReplicationSample {
        let replication_id = if is_primary { "b" } else { "a" }.to_owned();
        let former_replication_id = if is_primary { "a" } else { "0000" }.to_owned();
        ReplicationSample {
            port: 2,
            run_id: "q".to_owned(),
            replication_id,
            former_replication_id,
            diverged_at: 21,
            is_primary,
            ..old(at, 20, 0)
        }
    }

    /// Runs the search with samples of two servers, and returns the error as text.
    fn find(
        samples: &[ReplicationSample],
        downtimes: &[Downtime],
        over: u64,
    ) -> Result<Vec<Failover>, String> {
        find_failovers(samples, downtimes, &[1, 2], over).map_err(|error| error.to_string())
    }

    #[test]
    fn commands_after_the_last_shared_offset_are_undone() {
        let killed = [Downtime { port: 1, from: 33, until: 90 }];
        // After the restart it is another process, and answers as a replica.
        let back = ReplicationSample {
            run_id: "r".to_owned(),
            is_primary: false,
            replication_id: "b".to_owned(),
            ..old(95, 30, 0)
        };
        let samples = [
            old(0, 0, 0),
            old(10, 10, 5),
            old(20, 20, 9),
            old(30, 25, 12),
            new(35, false),
            new(50, true),
            back,
            new(95, true),
        ];
        let found = find(&samples, &killed, 94).unwrap();
        assert_eq!(
            (found.len(), found[0].until, found[0].spans.as_slice()),
            (1, 35, [(20, 31), (30, 33), (90, 96)].as_slice())
        );
    }

    #[test]
    fn returned_primary_without_commands_undoes_nothing() {
        let frozen = [Downtime { port: 1, from: 22, until: 80 }];
        let samples = [
            old(10, 10, 5),
            old(20, 20, 9),
            new(35, false),
            new(50, true),
            old(81, 20, 9),
            old(90, 20, 9),
            new(95, true),
        ];
        let demoted = ReplicationSample {
            is_primary: false,
            replication_id: "b".to_owned(),
            ..old(95, 30, 9)
        };
        let quiet = [samples.as_slice(), std::slice::from_ref(&demoted)].concat();
        assert_eq!(find(&quiet, &frozen, 94).unwrap()[0].spans, []);
        let active = [
            samples.as_slice(),
            &[old(92, 24, 11), ReplicationSample { session_commands: 11, ..demoted }],
        ]
        .concat();
        assert_eq!(find(&active, &frozen, 94).unwrap()[0].spans, [(90, 93)]);
    }

    #[test]
    fn failover_without_lost_writes_undoes_nothing() {
        let samples = [old(10, 10, 5), old(20, 20, 9), new(35, false), new(50, true)];
        assert_eq!(find(&samples[..3], &[], 0), Ok(Vec::new()));
        let demoted = ReplicationSample { is_primary: false, ..old(25, 20, 9) };
        assert_eq!(find(&[samples.as_slice(), &[demoted]].concat(), &[], 0).unwrap()[0].spans, []);
    }

    #[test]
    fn stale_primary_undoes_only_the_commands_that_it_executed() {
        let samples = [
            old(20, 20, 9),
            old(30, 25, 12),
            new(35, false),
            new(50, true),
            old(95, 25, 12),
            new(95, true),
        ];
        assert_eq!(find(&samples, &[], 94).unwrap()[0].spans, [(20, 31)]);
    }

    #[test]
    fn former_primary_without_a_last_sample_is_an_error() {
        let samples =
            [old(20, 20, 9), old(30, 25, 12), new(35, false), new(50, true), new(95, true)];
        assert!(
            find(&samples, &[], 94)
                .unwrap_err()
                .contains("too few samples of the server on port 1")
        );
        // A server without any sample is an error, too.
        assert!(
            find(&samples[..2], &[], 0)
                .unwrap_err()
                .contains("too few samples of the server on port 2")
        );
    }

    #[test]
    fn new_primary_without_a_replica_sample_is_an_error() {
        let samples = [old(20, 20, 9), new(50, true), old(95, 20, 9), new(95, true)];
        assert!(
            find(&samples, &[], 94)
                .unwrap_err()
                .contains("too few samples of the server on port 2")
        );
    }
}
