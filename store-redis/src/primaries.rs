//! Who is the primary, as Sentinels say.
//!
//! A primary that was cut off or stood still goes on as one when it is back, until a Sentinel tells it otherwise after some eight seconds. Who is
//! still connected to it is served meanwhile, and all that is undone. So Sentinels are asked again and again, and a connection to who is the
//! primary no more is given up.

use std::{
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use redis::ConnectionAddr;

/// How often Sentinels are asked by who has calls to make.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// What was not asked for so long is too old to go on with.
const TOO_OLD: Duration = Duration::from_secs(2);

/// The primary that was named last.
#[derive(Debug)]
pub(crate) struct Primaries {
    begun: Instant,
    /// When Sentinels were asked last, in milliseconds since then.
    asked: AtomicU64,
    /// How often another primary was named.
    changes: AtomicU64,
    named: Mutex<Option<ConnectionAddr>>,
}

/// When to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Before anything is sent.
    First,
    /// Beside it.
    Beside,
}

impl Primaries {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), asked: AtomicU64::new(0), changes: AtomicU64::new(0), named: Mutex::new(None) }
    }

    /// Notes whom Sentinels name. Says how often that was another one than before.
    pub(crate) fn note(&self, primary: &ConnectionAddr) -> u64 {
        let mut named = self.named.lock();
        if named.as_ref() != Some(primary) {
            *named = Some(primary.clone());
            self.changes.fetch_add(1, SeqCst);
        }
        self.asked.store(self.now(), SeqCst);
        self.changes()
    }

    /// How often another primary was named.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(SeqCst)
    }

    /// Whether the caller is to ask. Others are told that it does.
    pub(crate) fn due(&self) -> Option<Ask> {
        let (now, asked) = (self.now(), self.asked.load(SeqCst));
        let age = Duration::from_millis(now.saturating_sub(asked));
        if age < ASK_EVERY || self.asked.compare_exchange(asked, now, SeqCst, SeqCst).is_err() {
            return None;
        }
        Some(if age > TOO_OLD { Ask::First } else { Ask::Beside })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_primary_is_a_change_and_the_same_is_none() {
        let primaries = Primaries::new();
        let (one, other) = (ConnectionAddr::Tcp("a".to_owned(), 1), ConnectionAddr::Tcp("a".to_owned(), 2));
        assert_eq!([&one, &one, &other, &one].map(|named| primaries.note(named)), [1, 1, 2, 3]);
    }

    #[test]
    fn one_asks_and_the_others_do_not() {
        let mut primaries = Primaries::new();
        assert_eq!(primaries.due(), None, "nothing is older than it is");
        primaries.begun -= ASK_EVERY + ASK_EVERY / 2;
        assert_eq!((primaries.due(), primaries.due()), (Some(Ask::Beside), None));
        primaries.begun -= TOO_OLD * 2;
        assert_eq!((primaries.due(), primaries.due()), (Some(Ask::First), None));
    }
}
