//! Who took over from whom, and which answers that may have undone.
//!
//! Redis' nodes name the replication_id of changes that they hold, and how far they are in it. A replica that
//! takes over begins a replication_id, and says up to which place it has the former one. So what had been
//! executed when the former primary was at such a place is kept, for certain. What it session_commands
//! afterwards may be undone.

use super::{downtime::Downtime, error::BoxError};
use crate::history::Failover;

/// What a node said at some moment of a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReplicationSample {
    pub(super) port: u16,
    /// It said so not before this,
    pub(super) from: u64,
    /// and not after this.
    pub(super) to: u64,
    /// The run_id; another one after a restart.
    pub(super) run_id: String,
    /// The replication_id of changes that it holds.
    pub(super) replication_id: String,
    /// The replication_id that this one came from.
    pub(super) former_replication_id: String,
    /// The first place of this replication_id that the former one does not have.
    pub(super) diverged_at: i64,
    /// How far it is.
    pub(super) offset: i64,
    /// Whether it takes itself for a primary.
    pub(super) is_primary: bool,
    /// How many commands about sessions it has session_commands.
    pub(super) session_commands: u64,
}

impl ReplicationSample {
    /// Whether it says nothing that another one did not say.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        let at = |sample: &Self| Self { from: 0, to: 0, ..sample.clone() };
        at(self) == at(other)
    }
}

/// The failovers that these tell of, in the order in which they were over. No call was made after
/// `over`.
///
/// # Errors
/// If one of the servers was not seen after that, or one that took over was not seen before: all
/// that its predecessor session_commands would count as undone, and nothing be proved.
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
        return Err(too_little(port, "it did not answer when all was over"));
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
        // Until then it was a replica, which answers nobody.
        let until = of(new.port)
            .filter(|sample| sample.from < new.from && !sample.is_primary)
            .map(|sample| sample.from)
            .next_back();
        let until = until.ok_or_else(|| {
            too_little(new.port, "it took over, and was not seen as a replica before")
        })?;
        let mut spans = Vec::new();
        let mut ports: Vec<_> = samples
            .iter()
            .filter(|old| old.is_primary && old.replication_id == new.former_replication_id)
            .map(|old| old.port)
            .collect();
        ports.dedup();
        for port in ports.iter().copied().filter(|port| *port != new.port) {
            let events: Vec<_> = of(port).collect();
            // After its last word nobody asked anything.
            for (old, next) in events.iter().zip(events.iter().skip(1)) {
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

fn too_little(port: u16, why: &str) -> BoxError {
    format!("the watch saw too little of the server on port {port}: {why}").into()
}

/// The time from one word of a former primary to its next, if it may have session_commands meanwhile what its
/// successor does not have.
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

/// What is left of a span without the times in which the server cannot have answered.
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

    /// A word of a primary of replication_id `a` at port 1, with so much done and session_commands.
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

    /// A word of port 2, which has replication_id `a` up to place 20.
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

    /// What these tell when the calls were over at some time.
    fn told(
        samples: &[ReplicationSample],
        downtimes: &[Downtime],
        over: u64,
    ) -> Result<Vec<Failover>, String> {
        find_failovers(samples, downtimes, &[1, 2], over).map_err(|error| error.to_string())
    }

    #[test]
    fn what_was_served_after_the_last_place_that_was_kept_is_undone() {
        let killed = [Downtime { port: 1, from: 33, until: 90 }];
        // When it is there again it is another run_id, and answers nobody as what it was.
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
        let found = told(&samples, &killed, 94).unwrap();
        assert_eq!(
            (found.len(), found[0].until, found[0].spans.as_slice()),
            (1, 35, [(20, 31), (30, 33), (90, 96)].as_slice())
        );
    }

    #[test]
    fn who_comes_back_and_serves_nobody_undoes_nothing() {
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
        assert_eq!(told(&quiet, &frozen, 94).unwrap()[0].spans, []);
        let session_commands = [
            samples.as_slice(),
            &[old(92, 24, 11), ReplicationSample { session_commands: 11, ..demoted }],
        ]
        .concat();
        assert_eq!(told(&session_commands, &frozen, 94).unwrap()[0].spans, [(90, 93)]);
    }

    #[test]
    fn a_handover_that_lost_nothing_undoes_nothing() {
        let samples = [old(10, 10, 5), old(20, 20, 9), new(35, false), new(50, true)];
        assert_eq!(told(&samples[..3], &[], 0), Ok(Vec::new()));
        let demoted = ReplicationSample { is_primary: false, ..old(25, 20, 9) };
        assert_eq!(told(&[samples.as_slice(), &[demoted]].concat(), &[], 0).unwrap()[0].spans, []);
    }

    #[test]
    fn who_still_takes_itself_for_a_primary_when_all_is_over_undoes_what_it_served_and_no_more() {
        let samples = [
            old(20, 20, 9),
            old(30, 25, 12),
            new(35, false),
            new(50, true),
            old(95, 25, 12),
            new(95, true),
        ];
        assert_eq!(told(&samples, &[], 94).unwrap()[0].spans, [(20, 31)]);
    }

    #[test]
    fn a_former_primary_that_says_nothing_at_the_end_is_too_little() {
        let samples =
            [old(20, 20, 9), old(30, 25, 12), new(35, false), new(50, true), new(95, true)];
        assert!(
            told(&samples, &[], 94).unwrap_err().contains("too little of the server on port 1")
        );
        // Nor is it enough that nothing at all was heard of a server.
        assert!(
            told(&samples[..2], &[], 0).unwrap_err().contains("too little of the server on port 2")
        );
    }

    #[test]
    fn who_took_over_unseen_is_too_little() {
        let samples = [old(20, 20, 9), new(50, true), old(95, 20, 9), new(95, true)];
        assert!(
            told(&samples, &[], 94).unwrap_err().contains("too little of the server on port 2")
        );
    }
}
