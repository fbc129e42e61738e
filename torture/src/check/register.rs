//! Which of several writes a read may show, by real time.

use crate::history::Call;

/// The writes to one thing.
#[derive(Debug)]
pub(super) struct Register<'a, V> {
    /// Those that certainly took effect, in the order of their beginnings.
    certain: Vec<Entry<'a, V>>,
    /// For each place in `certain`, when the last of the writes up to there was superseded.
    horizon: Vec<u64>,
    /// Those that may come yet; nothing supersedes them.
    pending: Vec<Entry<'a, V>>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Entry<'a, V> {
    /// The call that made it.
    pub(super) call: &'a Call,
    /// It took effect after this,
    pub(super) begin: u64,
    /// and before this; `u64::MAX` if it never may have, or may yet.
    pub(super) end: u64,
    /// What was written.
    pub(super) value: V,
    /// When a write that certainly came later had certainly taken effect.
    superseded: u64,
}

impl<'a, V> Register<'a, V> {
    pub(super) fn new(writes: impl IntoIterator<Item = (&'a Call, u64, u64, V)>) -> Self {
        let entries = writes.into_iter().map(|(call, begin, end, value)| Entry {
            call,
            begin,
            end,
            value,
            superseded: u64::MAX,
        });
        let (mut certain, pending): (Vec<_>, Vec<_>) =
            entries.partition(|entry| entry.end < u64::MAX);
        certain.sort_by_key(|entry| entry.begin);
        // The earliest end among the writes from here on.
        let mut earliest = vec![u64::MAX; certain.len() + 1];
        for at in (0..certain.len()).rev() {
            earliest[at] = earliest[at + 1].min(certain[at].end);
        }
        let mut horizon = Vec::with_capacity(certain.len());
        for at in 0..certain.len() {
            let later = certain.partition_point(|entry| entry.begin < certain[at].end);
            certain[at].superseded = earliest[later];
            horizon.push(earliest[later].max(horizon.last().copied().unwrap_or_default()));
        }
        Self { certain, horizon, pending }
    }

    /// All writes, those that may come yet behind the others.
    pub(super) fn all(&self) -> impl Iterator<Item = &Entry<'a, V>> {
        self.certain.iter().chain(&self.pending)
    }

    /// The writes that somebody may see who looks at some moment between these.
    pub(super) fn possible(&self, begin: u64, end: u64) -> impl Iterator<Item = &Entry<'a, V>> {
        let over = self.horizon.partition_point(|superseded| *superseded <= begin);
        let until = self.certain.partition_point(|entry| entry.begin <= end).max(over);
        let certain =
            self.certain[over..until].iter().filter(move |entry| entry.superseded > begin);
        certain.chain(self.pending.iter().filter(move |entry| entry.begin <= end))
    }

    /// The write that proves that this one cannot be seen any more by who looks from `begin` on.
    pub(super) fn successor(&self, of: &Entry<'a, V>, begin: u64) -> Option<&Entry<'a, V>> {
        self.certain.iter().find(|entry| entry.begin >= of.end && entry.end <= begin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Op;

    #[test]
    fn a_read_may_show_what_was_not_certainly_overwritten() {
        let call = Call {
            id: 0,
            by: String::new(),
            begin: 0,
            end: None,
            op: Op::Load { key: String::new() },
            answer: None,
        };
        let register =
            Register::new([(&call, 0, 10, 'a'), (&call, 20, 30, 'b'), (&call, 25, u64::MAX, 'c')]);
        let seen =
            |begin, end| register.possible(begin, end).map(|entry| entry.value).collect::<String>();
        assert_eq!(seen(5, 15), "a");
        assert_eq!(seen(15, 22), "ab");
        assert_eq!(seen(29, 30), "abc");
        assert_eq!(seen(30, 40), "bc", "an unknown write may come at any time");
        let first = &register.certain[0];
        assert_eq!(register.successor(first, 30).map(|entry| entry.value), Some('b'));
        assert!(register.successor(first, 29).is_none());
    }
}
