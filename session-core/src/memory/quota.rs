//! The limits of a store on sessions and bytes, and what is in use.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{Attributes, Principal, Rejection, SecretHash, StoreKey, principal::SessionKind};

/// The name of the store in errors.
pub(super) const STORE_NAME: &str = "memory";
/// The memory of a session besides key, principal and data: its slot, its entry among the
/// deadlines, the allocation headers. Measured by `examples/memory_footprint.rs` and rounded up.
const SESSION_OVERHEAD: usize = 352;
/// The memory of a principal besides its text: its allocation and its index entry.
const PRINCIPAL_OVERHEAD: usize = 104;
/// The memory of a value besides its name and text.
const VALUE_OVERHEAD: usize = 72;
/// The header and padding of one allocation.
const ALLOCATION_OVERHEAD: usize = 16;
/// The memory of a former secret: its hash and a time.
const FORMER_SECRET_BYTES: usize = ALLOCATION_OVERHEAD + SecretHash::BYTES + size_of::<u64>();
/// The memory of a text of the attributes besides its bytes: its allocation and two counters.
const SHARED_TEXT_OVERHEAD: usize = ALLOCATION_OVERHEAD + 2 * size_of::<usize>();

/// The sessions and bytes in use, over all shards.
///
/// Anonymous sessions may not use the reserved part, so that visitors cannot keep users from
/// signing in. A call reserves memory before a shard grows, so that the limits hold at every
/// moment. It releases memory under the lock of the shard that shrinks.
#[derive(Debug)]
pub(super) struct MemoryQuota {
    all: Quota,
    anonymous: Quota,
}

#[derive(Debug)]
struct Quota {
    sessions: BoundedCounter,
    bytes: BoundedCounter,
}

impl MemoryQuota {
    pub(super) fn new(max_sessions: usize, max_bytes: usize, reserved_percent: u8) -> Self {
        let percent = usize::from(reserved_percent.min(100));
        // In two steps, so that no limit overflows.
        let unreserved = |cap: usize| cap - cap / 100 * percent - cap % 100 * percent / 100;
        Self {
            all: Quota {
                sessions: BoundedCounter::new(max_sessions),
                bytes: BoundedCounter::new(max_bytes),
            },
            anonymous: Quota {
                sessions: BoundedCounter::new(unreserved(max_sessions)),
                bytes: BoundedCounter::new(unreserved(max_bytes)),
            },
        }
    }

    pub(super) fn sessions(&self) -> usize {
        self.all.sessions.held()
    }

    pub(super) fn bytes(&self) -> usize {
        self.all.bytes.held()
    }

    pub(super) fn reserve(
        &self,
        kind: SessionKind,
        sessions: usize,
        bytes: usize,
    ) -> Result<(), Rejection> {
        self.all.reserve(sessions, bytes, "")?;
        if kind == SessionKind::SignedIn {
            return Ok(());
        }
        let taken = self.anonymous.reserve(sessions, bytes, " for sessions without a principal");
        taken.inspect_err(|_| self.all.release(sessions, bytes))
    }

    /// Reserves even above the limits, for sessions that already live.
    pub(super) fn reserve_beyond(&self, kind: SessionKind, sessions: usize, bytes: usize) {
        self.all.reserve_beyond(sessions, bytes);
        if kind == SessionKind::Anonymous {
            self.anonymous.reserve_beyond(sessions, bytes);
        }
    }

    pub(super) fn release(&self, kind: SessionKind, sessions: usize, bytes: usize) {
        self.all.release(sessions, bytes);
        if kind == SessionKind::Anonymous {
            self.anonymous.release(sessions, bytes);
        }
    }

    /// Reserves for a session whose size or kind changes. A session that loses its principal may
    /// exceed the limit of anonymous sessions, because it already lives.
    pub(super) fn resize(
        &self,
        before: (SessionKind, usize),
        after: (SessionKind, usize),
    ) -> Result<(), Rejection> {
        let ((from, old), (to, new)) = (before, after);
        if from == to {
            self.reserve(to, 0, new.saturating_sub(old))?;
            self.release(from, 0, old.saturating_sub(new));
            return Ok(());
        }
        self.all.reserve(0, new.saturating_sub(old), "")?;
        self.all.release(0, old.saturating_sub(new));
        match to {
            SessionKind::SignedIn => self.anonymous.release(1, old),
            SessionKind::Anonymous => self.anonymous.reserve_beyond(1, new),
        }
        Ok(())
    }
}

impl Quota {
    fn reserve(&self, sessions: usize, bytes: usize, whose: &str) -> Result<(), Rejection> {
        self.sessions
            .reserve(sessions)
            .map_err(|cap| full(&format!("max_sessions{whose} = {cap}")))?;
        self.bytes.reserve(bytes).map_err(|cap| {
            self.sessions.release(sessions);
            full(&format!("max_bytes{whose} = {cap}"))
        })
    }

    fn reserve_beyond(&self, sessions: usize, bytes: usize) {
        self.sessions.held.fetch_add(sessions, Ordering::Relaxed);
        self.bytes.held.fetch_add(bytes, Ordering::Relaxed);
    }

    fn release(&self, sessions: usize, bytes: usize) {
        self.sessions.release(sessions);
        self.bytes.release(bytes);
    }
}

/// A sum that stays at or below a limit. Imported sessions may lift it above.
#[derive(Debug)]
struct BoundedCounter {
    held: AtomicUsize,
    cap: usize,
}

impl BoundedCounter {
    fn new(cap: usize) -> Self {
        Self { held: AtomicUsize::new(0), cap }
    }

    fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// The counter guards no other memory, so relaxed ordering is sufficient.
    fn reserve(&self, amount: usize) -> Result<(), usize> {
        if amount == 0 {
            return Ok(());
        }
        let within = |held: usize| held.checked_add(amount).filter(|sum| *sum <= self.cap);
        self.held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, within)
            .map(drop)
            .map_err(|_| self.cap)
    }

    fn release(&self, amount: usize) {
        if amount > 0 {
            self.held.fetch_sub(amount, Ordering::Relaxed);
        }
    }
}

/// The parts of a session that occupy memory.
pub(super) struct Parts<'a> {
    pub(super) key: &'a StoreKey,
    pub(super) principal: Option<&'a Principal>,
    pub(super) data_bytes: usize,
    pub(super) values: usize,
    /// `None` if they are the default.
    pub(super) attributes: Option<&'a Attributes>,
    pub(super) has_former_secret: bool,
}

/// About how many bytes of memory a session occupies.
pub(super) fn memory_bytes(parts: &Parts<'_>) -> usize {
    let Parts { key, principal, data_bytes, values, attributes, has_former_secret } = *parts;
    let principal = principal.map_or(0, |principal| PRINCIPAL_OVERHEAD + principal.as_str().len());
    let attributes = attributes.map_or(0, |attributes| {
        let texts = [&attributes.acr, &attributes.label].into_iter().flatten();
        let texts: usize = texts.map(|text| SHARED_TEXT_OVERHEAD + text.as_str().len()).sum();
        size_of::<Attributes>() + ALLOCATION_OVERHEAD + texts + attributes.replaced.memory_bytes()
    });
    let former = if has_former_secret { FORMER_SECRET_BYTES } else { 0 };
    SESSION_OVERHEAD
        + key.as_str().len()
        + principal
        + data_bytes
        + values * VALUE_OVERHEAD
        + attributes
        + former
}

fn full(what: &str) -> Rejection {
    Rejection::Full { store: STORE_NAME.into(), what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SessionKind::{Anonymous, SignedIn};

    #[test]
    fn refused_take_takes_nothing() {
        let quota = MemoryQuota::new(2, 100, 0);
        quota.reserve(Anonymous, 1, 60).unwrap();
        assert_eq!(quota.reserve(SignedIn, 1, 60), Err(full("max_bytes = 100")));
        assert_eq!((quota.sessions(), quota.bytes()), (1, 60));
        quota.reserve(SignedIn, 1, 40).unwrap();
        assert_eq!(quota.reserve(SignedIn, 1, 0), Err(full("max_sessions = 2")));
        quota.release(Anonymous, 1, 60);
        quota.release(SignedIn, 1, 40);
        assert_eq!((quota.sessions(), quota.bytes()), (0, 0));
    }

    #[test]
    fn c50_visitors_do_not_get_the_reserved_room() {
        let quota = MemoryQuota::new(100, 1_000, 20);
        quota.reserve(Anonymous, 1, 800).unwrap();
        assert_eq!(
            quota.reserve(Anonymous, 0, 1),
            Err(full("max_bytes for sessions without a principal = 800"))
        );
        quota.reserve(SignedIn, 1, 200).unwrap();
        assert!(quota.reserve(SignedIn, 0, 1).is_err());
        quota.resize((SignedIn, 200), (Anonymous, 150)).unwrap();
        assert_eq!((quota.bytes(), quota.anonymous.bytes.held()), (950, 950));
        quota.resize((Anonymous, 800), (SignedIn, 850)).unwrap();
        assert_eq!(
            (quota.bytes(), quota.anonymous.bytes.held(), quota.anonymous.sessions.held()),
            (1_000, 150, 1)
        );
        assert!(quota.resize((SignedIn, 850), (SignedIn, 851)).is_err());
    }
}
