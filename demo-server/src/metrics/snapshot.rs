//! A snapshot of the metrics of one process, and the sums over processes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The upper bounds of the buckets of a histogram, in seconds. They range from less than a round
/// trip on one machine to more than the deadline of a store call.
pub(super) const BOUNDS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0,
];

/// The metrics of one process since its start, at one moment. The names of the serialized fields
/// and variants are fixed, because a primary and its workers can be of different builds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Snapshot {
    /// A later snapshot of the same process has a higher number.
    pub(super) sequence: u64,
    pub(super) series: Vec<(Series, Value)>,
}

/// The name and the labels of a series.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) labels: Vec<(String, String)>,
}

/// The value of a series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Value {
    Counter(u64),
    Gauge(f64),
    Histogram(Distribution),
}

/// The distribution of measured times.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Distribution {
    /// The number of times in each bucket of [`BOUNDS`]. The last bucket is for longer times.
    pub(super) buckets: Vec<u64>,
    /// The sum of the times, in whole nanoseconds, so that sums over processes are exact and never
    /// decrease.
    pub(super) nanoseconds: u64,
}

/// Sums over processes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Totals(pub(super) BTreeMap<Series, Value>);

impl Totals {
    /// Adds the snapshot of a process.
    pub(super) fn add(&mut self, snapshot: &Snapshot) {
        for (series, value) in &snapshot.series {
            match self.0.get_mut(series) {
                Some(sum) => sum.add(value),
                None => drop(self.0.insert(series.clone(), value.clone())),
            }
        }
    }

    /// Adds the last snapshot of a process that has exited, without its gauges: a gauge is the
    /// state of a running process.
    pub(super) fn add_exited(&mut self, mut snapshot: Snapshot) {
        snapshot.series.retain(|(_, value)| !matches!(value, Value::Gauge(_)));
        self.add(&snapshot);
    }
}

impl Value {
    fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Counter(sum), Self::Counter(more)) => *sum = sum.saturating_add(*more),
            (Self::Gauge(sum), Self::Gauge(more)) => *sum += more,
            (Self::Histogram(sum), Self::Histogram(more)) => sum.add(more),
            // A build has one kind for each name. If two builds of a reload disagree on the kind,
            // the first value stays.
            _ => {}
        }
    }
}

impl Distribution {
    fn add(&mut self, more: &Self) {
        if self.buckets.len() != more.buckets.len() {
            // Another build has other buckets, which cannot be added.
            return;
        }
        for (sum, more) in self.buckets.iter_mut().zip(&more.buckets) {
            *sum = sum.saturating_add(*more);
        }
        self.nanoseconds = self.nanoseconds.saturating_add(more.nanoseconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str) -> Series {
        Series { name: name.to_owned(), labels: Vec::new() }
    }

    fn snapshot(value: Value) -> Snapshot {
        Snapshot { sequence: 1, series: vec![(series("n"), value)] }
    }

    #[test]
    fn values_add_up_and_a_gauge_ends_with_its_process() {
        let distribution = |buckets: &[u64], nanoseconds| {
            Value::Histogram(Distribution { buckets: buckets.to_vec(), nanoseconds })
        };
        for (one, other, sum, exited) in [
            (Value::Counter(2), Value::Counter(3), Value::Counter(5), Some(Value::Counter(3))),
            (Value::Gauge(2.0), Value::Gauge(0.5), Value::Gauge(2.5), None),
            (
                distribution(&[1, 0], 5),
                distribution(&[2, 7], 6),
                distribution(&[3, 7], 11),
                Some(distribution(&[2, 7], 6)),
            ),
        ] {
            let mut totals = Totals::default();
            totals.add(&snapshot(one));
            totals.add(&snapshot(other.clone()));
            assert_eq!(totals.0[&series("n")], sum);
            let mut base = Totals::default();
            base.add_exited(snapshot(other));
            assert_eq!(base.0.remove(&series("n")), exited);
        }
    }

    #[test]
    fn incompatible_values_of_another_build_are_ignored() {
        let mut totals = Totals::default();
        totals
            .add(&snapshot(Value::Histogram(Distribution { buckets: vec![1, 2], nanoseconds: 3 })));
        let before = totals.clone();
        totals.add(&snapshot(Value::Histogram(Distribution { buckets: vec![1], nanoseconds: 3 })));
        totals.add(&snapshot(Value::Counter(1)));
        assert_eq!(totals, before);
    }
}
