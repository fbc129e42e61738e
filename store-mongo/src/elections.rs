//! Reads that make sure of a new primary.
//!
//! A primary that was just elected has all that a majority had acknowledged before, but does not know yet that a majority has it. Until it has
//! written something of its own, which it does at once, and has heard that a majority has that, it answers reads that ask for a majority
//! with what it knew before: a session that was ended may still be there. A linearizable read waits for just that. One is enough, and from
//! then on this primary cannot be behind.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use mongodb::{
    ServerType,
    event::{EventHandler, sdam::SdamEvent},
};

/// The elections that a client has heard of, and the last of which a read has made sure.
#[derive(Debug, Default)]
pub(crate) struct Elections {
    heard: AtomicU64,
    sure: AtomicU64,
}

/// An election of which no read has made sure.
#[derive(Debug)]
pub(crate) struct Unsure {
    elections: Arc<Elections>,
    election: u64,
}

impl Elections {
    /// What the driver has to tell of.
    pub(crate) fn listener(self: &Arc<Self>) -> EventHandler<SdamEvent> {
        let elections = Arc::clone(self);
        EventHandler::callback(move |event| {
            // A lone server and a router are no primaries.
            if let SdamEvent::ServerDescriptionChanged(change) = event
                && change.new_description.server_type() == ServerType::RsPrimary
                && change.previous_description.server_type() != ServerType::RsPrimary
            {
                elections.heard.fetch_add(1, SeqCst);
            }
        })
    }

    /// The last election, if a read still has to make sure of it.
    pub(crate) fn unsure(self: &Arc<Self>) -> Option<Unsure> {
        let election = self.heard.load(SeqCst);
        (self.sure.load(SeqCst) < election).then(|| Unsure { elections: Arc::clone(self), election })
    }
}

impl Unsure {
    /// A linearizable read that began afterwards was answered.
    pub(crate) fn made_sure(self) {
        self.elections.sure.fetch_max(self.election, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_read_makes_sure_of_the_elections_before_it() {
        let elections = Arc::new(Elections::default());
        assert!(elections.unsure().is_none(), "nobody was elected");
        elections.heard.fetch_add(1, SeqCst);
        let read = elections.unsure().unwrap();
        elections.heard.fetch_add(1, SeqCst);
        read.made_sure();
        let next = elections.unsure().expect("the second was heard of meanwhile");
        next.made_sure();
        assert!(elections.unsure().is_none());
    }
}
