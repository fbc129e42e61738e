//! Spans of time in which answers may be undone by a failover.

use crate::history::{Call, Failover};

/// Spans of time that do not overlap, in order.
#[derive(Debug, Default)]
pub(super) struct Spans(Vec<(u64, u64)>);

impl Spans {
    pub(super) fn of(failovers: &[Failover]) -> Self {
        let mut all: Vec<_> =
            failovers.iter().flat_map(|failover| failover.spans.iter().copied()).collect();
        all.sort_unstable();
        let mut spans: Vec<(u64, u64)> = Vec::new();
        for (from, to) in all {
            match spans.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => spans.push((from, to)),
            }
        }
        Self(spans)
    }

    /// Whether the answer to the call may have come in one of the spans.
    pub(super) fn overlap(&self, call: &Call) -> bool {
        let at = self.0.partition_point(|(_, to)| *to < call.begin);
        self.0.get(at).is_some_and(|(from, _)| *from <= call.end_or_never())
    }
}
