//! Linearizable reads after an election.
//!
//! A new primary has every write that a majority acknowledged before, but it does not know yet that
//! a majority has them. Right after its election it writes an entry to the replication log. Until a
//! majority has that entry, the primary answers reads with read concern `majority` from an older
//! state, in which an ended session may still exist. A linearizable read waits for that majority.
//! After one such read this primary cannot return an older state.
//!
//! The driver reports elections in its monitoring events. It does not report a primary that lost an
//! election and won the next one between two polls. That requires a driver that polls
//! (`serverMonitoringMode=poll`).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use mongodb::{ServerType, event::sdam::SdamEvent, options::ReadConcern};

/// Counts the elections that one client of the driver reports.
#[derive(Debug, Default)]
pub(crate) struct Elections {
    /// How many changes of the primary the driver has reported.
    reported: AtomicU64,
    /// The value of `reported` up to which a linearizable read has succeeded.
    confirmed: AtomicU64,
}

/// One attempt to read. It starts before the command is sent and ends with the response.
#[derive(Debug)]
pub(crate) struct ReadAttempt {
    elections: Option<Arc<Elections>>,
    /// The last election that was reported before the attempt started.
    election: u64,
    /// Whether this read has to be linearizable.
    must_confirm: bool,
}

impl Elections {
    /// Counts the change of the primary that an event reports.
    pub(crate) fn record(&self, event: &SdamEvent) {
        // A standalone server and a router are not primaries. A lost primary counts too: the driver
        // reports the loss before it can report the successor, and it may report the successor
        // after it has sent calls there.
        let SdamEvent::ServerDescriptionChanged(change) = event else { return };
        let [before, after] = [&change.previous_description, &change.new_description];
        if (before.server_type() == ServerType::RsPrimary)
            != (after.server_type() == ServerType::RsPrimary)
        {
            self.reported.fetch_add(1, SeqCst);
        }
    }
}

impl ReadAttempt {
    /// Starts a read. `elections` is `None` for a client that does not report elections.
    pub(crate) fn start(elections: Option<&Arc<Elections>>) -> Self {
        let election = elections.map_or(0, |elections| elections.reported.load(SeqCst));
        let must_confirm =
            elections.is_some_and(|elections| elections.confirmed.load(SeqCst) < election);
        Self { elections: elections.map(Arc::clone), election, must_confirm }
    }

    /// Whether the store chooses the read concern itself and the server is a replica set.
    pub(crate) fn is_replica_set(&self) -> bool {
        self.election > 0
    }

    /// The read concern of this read. `None` for that of the collection.
    pub(crate) fn concern(&self) -> Option<ReadConcern> {
        self.must_confirm.then(ReadConcern::linearizable)
    }

    /// Ends the attempt: whether its response is valid. If an election happened meanwhile, the read
    /// had too weak a read concern and has to be repeated.
    pub(crate) fn is_valid(&self) -> bool {
        let Some(elections) = &self.elections else { return true };
        if elections.reported.load(SeqCst) != self.election {
            return false;
        }
        if self.must_confirm {
            elections.confirmed.fetch_max(self.election, SeqCst);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_linearizable_read_confirms_an_election() {
        let elections = Arc::new(Elections::default());
        let start = || ReadAttempt::start(Some(&elections));
        assert!(start().concern().is_none(), "no election happened");
        let interrupted = start();
        elections.reported.fetch_add(1, SeqCst);
        assert!(!interrupted.is_valid(), "an election interrupts the read");
        let first = start();
        assert!(first.concern().is_some() && first.is_valid());
        assert!(start().concern().is_none() && start().is_valid());
    }

    #[test]
    fn reads_without_elections_are_valid() {
        let attempt = ReadAttempt::start(None);
        assert!(attempt.concern().is_none() && attempt.is_valid());
    }
}
