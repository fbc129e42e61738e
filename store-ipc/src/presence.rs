//! Who is at an owner: its end waits for all of them, and a hand-over for those that can still
//! change something.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::watch;

/// The connections and listeners of an owner.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    /// How many there are.
    busy: watch::Sender<usize>,
    /// How many of them may still begin something: all but connections that only wait for their
    /// client to read.
    acting: watch::Sender<usize>,
    connections: AtomicUsize,
}

impl Presence {
    /// A place for one more connection, if there are fewer than `most`.
    pub(crate) fn enter_connection(self: &Arc<Self>, most: usize) -> Option<Place> {
        let taken = |count: usize| (count < most).then_some(count + 1);
        self.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).ok()?;
        Some(self.enter(Occupant::Connection))
    }

    /// A place for a connection that another owner admitted; no cap holds for it.
    pub(crate) fn enter_resumed(self: &Arc<Self>) -> Place {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.enter(Occupant::Connection)
    }

    /// A place for a listener.
    pub(crate) fn enter_listener(self: &Arc<Self>) -> Place {
        self.enter(Occupant::Listener)
    }

    fn enter(self: &Arc<Self>, occupant: Occupant) -> Place {
        self.busy.send_modify(|busy| *busy += 1);
        self.acting.send_modify(|acting| *acting += 1);
        Place { presence: Arc::clone(self), occupant, acts: true }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Waits until there is no connection and no listener.
    pub(crate) async fn idle(&self) {
        let _ = self.busy.subscribe().wait_for(|busy| *busy == 0).await;
    }

    /// Waits until there is no listener, and no connection but such as only wait for their client
    /// to read.
    pub(crate) async fn quiet(&self) {
        let _ = self.acting.subscribe().wait_for(|acting| *acting == 0).await;
    }
}

/// A connection's or listener's presence; dropping it ends that.
#[derive(Debug)]
pub(crate) struct Place {
    presence: Arc<Presence>,
    occupant: Occupant,
    acts: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occupant {
    /// One of the connections that are counted and capped.
    Connection,
    Listener,
}

impl Place {
    /// All calls have ended and none will begin; what is left is to be read by the client.
    pub(crate) fn settle(&mut self) {
        if std::mem::replace(&mut self.acts, false) {
            self.presence.acting.send_modify(|acting| *acting -= 1);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.settle();
        if self.occupant == Occupant::Connection {
            self.presence.connections.fetch_sub(1, Ordering::Relaxed);
        }
        self.presence.busy.send_modify(|busy| *busy -= 1);
    }
}
