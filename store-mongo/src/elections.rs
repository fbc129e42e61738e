//! Reads that make sure of a new primary.
//!
//! A primary that was just elected has all that a majority had acknowledged before, but does not
//! know yet that a majority has it. Until it has written something of its own, which it does at
//! once, and has heard that a majority has that, it answers reads that ask for a majority with what
//! it knew before: a session that was ended may still be there. A linearizable read waits for just
//! that. One is enough, and from then on this primary cannot be behind.
//!
//! Elections are heard of from the driver, which tells of them beside its calls. One that was lost
//! and won again between two looks at the server is not noticed; that takes a driver that was told
//! to poll.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use mongodb::{
    ServerType,
    event::{EventHandler, sdam::SdamEvent},
    options::ReadConcern,
};

/// The elections that a client has heard of, and the last of which a read has made sure.
#[derive(Debug, Default)]
pub(crate) struct Elections {
    heard: AtomicU64,
    sure: AtomicU64,
}

/// A read, from before it is sent until it is answered.
#[derive(Debug)]
pub(crate) struct Reading {
    elections: Option<Arc<Elections>>,
    /// The last election that was heard of when it began.
    election: u64,
    /// Whether it has to make sure of that.
    is_first: bool,
}

impl Elections {
    /// What the driver has to tell of.
    pub(crate) fn listener(self: &Arc<Self>) -> EventHandler<SdamEvent> {
        let elections = Arc::clone(self);
        EventHandler::callback(move |event| {
            // A lone server and a router are no primaries. One that was lost counts too: that is
            // heard before its successor can be, and this may come when the driver's calls have
            // gone to that one already.
            let SdamEvent::ServerDescriptionChanged(change) = event else { return };
            let [before, after] = [&change.previous_description, &change.new_description];
            if (before.server_type() == ServerType::RsPrimary)
                != (after.server_type() == ServerType::RsPrimary)
            {
                elections.heard.fetch_add(1, SeqCst);
            }
        })
    }
}

impl Reading {
    /// One over a client that hears of these elections, if it hears of any.
    pub(crate) fn begin(elections: Option<&Arc<Elections>>) -> Self {
        let election = elections.map_or(0, |elections| elections.heard.load(SeqCst));
        let is_first = elections.is_some_and(|elections| elections.sure.load(SeqCst) < election);
        Self { elections: elections.map(Arc::clone), election, is_first }
    }

    /// Whether its client makes sure of majorities itself, and has a replica set before it.
    pub(crate) fn is_of_a_set(&self) -> bool {
        self.election > 0
    }

    /// What it has to ask for, if not for what others do.
    pub(crate) fn concern(&self) -> Option<ReadConcern> {
        self.is_first.then(ReadConcern::linearizable)
    }

    /// Whether its answer counts. If somebody was elected meanwhile, it waited for that one and
    /// asked for too little, and is to be made again.
    pub(crate) fn counts(&self) -> bool {
        let Some(elections) = &self.elections else { return true };
        if elections.heard.load(SeqCst) != self.election {
            return false;
        }
        if self.is_first {
            elections.sure.fetch_max(self.election, SeqCst);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_read_makes_sure_of_the_elections_before_it() {
        let elections = Arc::new(Elections::default());
        let begin = || Reading::begin(Some(&elections));
        assert!(begin().concern().is_none(), "nobody was elected");
        let waits = begin();
        elections.heard.fetch_add(1, SeqCst);
        assert!(!waits.counts(), "it may have been answered by who was elected meanwhile");
        let first = begin();
        assert!(first.concern().is_some() && first.counts());
        assert!(begin().concern().is_none() && begin().counts());
    }

    #[test]
    fn without_elections_every_answer_counts() {
        let reading = Reading::begin(None);
        assert!(reading.concern().is_none() && reading.counts());
    }
}
