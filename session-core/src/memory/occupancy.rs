//! How much a store holds, and how much it may.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{Principal, Rejection, StoreKey};

/// The memory of a session besides key, principal and data: its slot, its place among the
/// deadlines, the heads of its allocations. Measured by `examples/memory_footprint.rs`, rounded up.
const SESSION_OVERHEAD: usize = 352;
/// The memory of a principal besides its text: its allocation and its place in the index.
const PRINCIPAL_OVERHEAD: usize = 104;
/// The memory of a value besides its name and text.
const VALUE_OVERHEAD: usize = 72;

/// Whose session takes the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occupant {
    Visitor,
    User,
}

impl Occupant {
    pub(super) fn of(principal: Option<&Principal>) -> Self {
        if principal.is_some() { Self::User } else { Self::Visitor }
    }
}

/// Sessions and bytes held, over all shards.
///
/// Sessions without a principal get all but the reserved room, so that visitors cannot keep users
/// from signing in. Room is taken before a shard grows, so that the caps hold at every moment; it
/// is given back under the lock of the shard that shrinks.
#[derive(Debug)]
pub(super) struct Occupancy {
    all: Room,
    visitors: Room,
}

#[derive(Debug)]
struct Room {
    sessions: Counter,
    bytes: Counter,
}

impl Occupancy {
    pub(super) fn new(max_sessions: usize, max_bytes: usize, reserved_percent: u8) -> Self {
        let percent = usize::from(reserved_percent.min(100));
        // In two parts, so that no cap overflows.
        let unreserved = |cap: usize| cap - cap / 100 * percent - cap % 100 * percent / 100;
        Self {
            all: Room { sessions: Counter::new(max_sessions), bytes: Counter::new(max_bytes) },
            visitors: Room {
                sessions: Counter::new(unreserved(max_sessions)),
                bytes: Counter::new(unreserved(max_bytes)),
            },
        }
    }

    pub(super) fn sessions(&self) -> usize {
        self.all.sessions.held()
    }

    pub(super) fn bytes(&self) -> usize {
        self.all.bytes.held()
    }

    pub(super) fn take(
        &self,
        occupant: Occupant,
        sessions: usize,
        bytes: usize,
    ) -> Result<(), Rejection> {
        self.all.take(sessions, bytes, "")?;
        if occupant == Occupant::User {
            return Ok(());
        }
        let taken = self.visitors.take(sessions, bytes, " for sessions without a principal");
        taken.inspect_err(|_| self.all.give_back(sessions, bytes))
    }

    /// Takes room also above the caps, for sessions that live already.
    pub(super) fn take_beyond(&self, occupant: Occupant, sessions: usize, bytes: usize) {
        self.all.take_beyond(sessions, bytes);
        if occupant == Occupant::Visitor {
            self.visitors.take_beyond(sessions, bytes);
        }
    }

    pub(super) fn give_back(&self, occupant: Occupant, sessions: usize, bytes: usize) {
        self.all.give_back(sessions, bytes);
        if occupant == Occupant::Visitor {
            self.visitors.give_back(sessions, bytes);
        }
    }

    /// Makes room for a session that becomes another size, or another occupant's. A session that
    /// loses its principal may exceed the room of visitors: it lives already.
    pub(super) fn exchange(
        &self,
        before: (Occupant, usize),
        after: (Occupant, usize),
    ) -> Result<(), Rejection> {
        let ((from, old), (to, new)) = (before, after);
        if from == to {
            self.take(to, 0, new.saturating_sub(old))?;
            self.give_back(from, 0, old.saturating_sub(new));
            return Ok(());
        }
        self.all.take(0, new.saturating_sub(old), "")?;
        self.all.give_back(0, old.saturating_sub(new));
        match to {
            Occupant::User => self.visitors.give_back(1, old),
            Occupant::Visitor => self.visitors.take_beyond(1, new),
        }
        Ok(())
    }
}

impl Room {
    fn take(&self, sessions: usize, bytes: usize, whose: &str) -> Result<(), Rejection> {
        self.sessions
            .take(sessions)
            .map_err(|cap| full(&format!("max_sessions{whose} = {cap}")))?;
        self.bytes.take(bytes).map_err(|cap| {
            self.sessions.give_back(sessions);
            full(&format!("max_bytes{whose} = {cap}"))
        })
    }

    fn take_beyond(&self, sessions: usize, bytes: usize) {
        self.sessions.held.fetch_add(sessions, Ordering::Relaxed);
        self.bytes.held.fetch_add(bytes, Ordering::Relaxed);
    }

    fn give_back(&self, sessions: usize, bytes: usize) {
        self.sessions.give_back(sessions);
        self.bytes.give_back(bytes);
    }
}

/// A sum that stays at or below a cap, unless what was taken over lifted it above.
#[derive(Debug)]
struct Counter {
    held: AtomicUsize,
    cap: usize,
}

impl Counter {
    fn new(cap: usize) -> Self {
        Self { held: AtomicUsize::new(0), cap }
    }

    fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// The counters guard no other memory, so no ordering beyond their own is needed.
    fn take(&self, amount: usize) -> Result<(), usize> {
        if amount == 0 {
            return Ok(());
        }
        let within = |held: usize| held.checked_add(amount).filter(|sum| *sum <= self.cap);
        self.held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, within)
            .map(drop)
            .map_err(|_| self.cap)
    }

    fn give_back(&self, amount: usize) {
        if amount > 0 {
            self.held.fetch_sub(amount, Ordering::Relaxed);
        }
    }
}

/// About how many bytes of memory a session takes.
pub(super) fn weight(
    key: &StoreKey,
    principal: Option<&Principal>,
    data_bytes: usize,
    values: usize,
) -> usize {
    let principal = principal.map_or(0, |principal| PRINCIPAL_OVERHEAD + principal.as_str().len());
    SESSION_OVERHEAD + key.as_str().len() + principal + data_bytes + values * VALUE_OVERHEAD
}

fn full(what: &str) -> Rejection {
    Rejection::Full { store: super::STORE.into(), what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Occupant::{User, Visitor};

    #[test]
    fn refused_take_takes_nothing() {
        let occupancy = Occupancy::new(2, 100, 0);
        occupancy.take(Visitor, 1, 60).unwrap();
        assert_eq!(occupancy.take(User, 1, 60), Err(full("max_bytes = 100")));
        assert_eq!((occupancy.sessions(), occupancy.bytes()), (1, 60));
        occupancy.take(User, 1, 40).unwrap();
        assert_eq!(occupancy.take(User, 1, 0), Err(full("max_sessions = 2")));
        occupancy.give_back(Visitor, 1, 60);
        occupancy.give_back(User, 1, 40);
        assert_eq!((occupancy.sessions(), occupancy.bytes()), (0, 0));
    }

    #[test]
    fn c50_visitors_do_not_get_the_reserved_room() {
        let occupancy = Occupancy::new(100, 1_000, 20);
        occupancy.take(Visitor, 1, 800).unwrap();
        assert_eq!(
            occupancy.take(Visitor, 0, 1),
            Err(full("max_bytes for sessions without a principal = 800"))
        );
        occupancy.take(User, 1, 200).unwrap();
        assert!(occupancy.take(User, 0, 1).is_err());
        occupancy.exchange((User, 200), (Visitor, 150)).unwrap();
        assert_eq!((occupancy.bytes(), occupancy.visitors.bytes.held()), (950, 950));
        occupancy.exchange((Visitor, 800), (User, 850)).unwrap();
        assert_eq!(
            (
                occupancy.bytes(),
                occupancy.visitors.bytes.held(),
                occupancy.visitors.sessions.held()
            ),
            (1_000, 150, 1)
        );
        assert!(occupancy.exchange((User, 850), (User, 851)).is_err());
    }
}
