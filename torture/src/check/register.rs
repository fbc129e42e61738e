//! The writes that a read may show, by real time.

use crate::history::Call;

/// The writes to one value, ordered by real time.
#[derive(Debug)]
pub(super) struct Register<'a, V> {
    /// The writes that certainly took effect, in the order of their beginnings.
    certain: Vec<Entry<'a, V>>,
    /// For each index of `certain`: the time at which all writes up to it are superseded.
    horizon: Vec<u64>,
    /// The writes that may take effect at any later time. No write supersedes them.
    pending: Vec<Entry<'a, V>>,
}

/// One write.
#[derive(Debug)]
pub(super) struct Entry<'a, V> {
    /// The call that made the write.
    pub(super) call: &'a Call,
    /// The write took effect after this time.
    pub(super) begin: u64,
    /// The write took effect before this time. `u64::MAX` if it may still take effect, or never.
    pub(super) end: u64,
    /// The written value.
    pub(super) value: V,
    /// The time by which a certainly later write had certainly taken effect.
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
        // The earliest end of the writes from each index on.
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

    /// Returns all writes, the pending ones last.
    pub(super) fn all(&self) -> impl Iterator<Item = &Entry<'a, V>> {
        self.certain.iter().chain(&self.pending)
    }

    /// Returns the writes that a read may show if it takes place at some moment from `begin` to
    /// `end`.
    pub(super) fn possible(&self, begin: u64, end: u64) -> impl Iterator<Item = &Entry<'a, V>> {
        let over = self.horizon.partition_point(|superseded| *superseded <= begin);
        let until = self.certain.partition_point(|entry| entry.begin <= end).max(over);
        let certain =
            self.certain[over..until].iter().filter(move |entry| entry.superseded > begin);
        certain.chain(self.pending.iter().filter(move |entry| entry.begin <= end))
    }

    /// Returns the write that proves that a read which starts at `begin` cannot show `of`.
    pub(super) fn successor(&self, of: &Entry<'a, V>, begin: u64) -> Option<&Entry<'a, V>> {
        self.certain.iter().find(|entry| entry.begin >= of.end && entry.end <= begin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Op;

    #[test]
    fn read_may_show_a_write_that_may_be_the_last() {
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
        assert_eq!(seen(30, 40), "bc", "a write without an answer may take effect at any time");
        let first = &register.certain[0];
        assert_eq!(register.successor(first, 30).map(|entry| entry.value), Some('b'));
        assert!(register.successor(first, 29).is_none());
    }
}
