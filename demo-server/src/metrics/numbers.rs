//! What was counted, as it goes from process to process.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The upper bounds of a histogram's buckets, in seconds: from less than a round trip on one
/// machine to more than a store call may take.
pub(super) const BOUNDS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0,
];

/// What one process has counted since its start, at one moment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Numbers {
    /// Which look at the counters this is: a later one has a higher number.
    pub(super) look: u64,
    pub(super) series: Vec<(Series, Value)>,
}

/// A name with labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) labels: Vec<(String, String)>,
}

/// What a series stands at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Value {
    Counter(u64),
    Gauge(f64),
    Histogram(Spread),
}

/// How measured times are spread.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spread {
    /// How many fell under each of [`BOUNDS`] and not under the one before; last those above all.
    pub(super) buckets: Vec<u64>,
    /// Their sum. Whole nanoseconds, so that sums over processes are exact and never fall.
    pub(super) nanoseconds: u64,
}

/// Sums over processes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Totals(pub(super) BTreeMap<Series, Value>);

impl Totals {
    /// Adds what a process has counted.
    pub(super) fn add(&mut self, numbers: &Numbers) {
        for (series, value) in &numbers.series {
            match self.0.get_mut(series) {
                Some(sum) => sum.add(value),
                None => drop(self.0.insert(series.clone(), value.clone())),
            }
        }
    }

    /// Adds what a process that has left had counted. How high something stood in it does not count
    /// any more.
    pub(super) fn add_left(&mut self, mut numbers: Numbers) {
        numbers.series.retain(|(_, value)| !matches!(value, Value::Gauge(_)));
        self.add(&numbers);
    }
}

impl Value {
    fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Counter(sum), Self::Counter(more)) => *sum = sum.saturating_add(*more),
            (Self::Gauge(sum), Self::Gauge(more)) => *sum += more,
            (Self::Histogram(sum), Self::Histogram(more)) => sum.add(more),
            // One program has one kind for each name, and all processes are of one program or, in a
            // reload, of two that agree on them; where they do not, the first that spoke is
            // believed.
            _ => {}
        }
    }
}

impl Spread {
    fn add(&mut self, more: &Self) {
        if self.buckets.len() != more.buckets.len() {
            // Another build's buckets do not fit these.
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

    fn numbers(value: Value) -> Numbers {
        Numbers { look: 1, series: vec![(series("n"), value)] }
    }

    #[test]
    fn processes_add_up_and_a_gauge_ends_with_its_process() {
        let spread = |buckets: &[u64], nanoseconds| {
            Value::Histogram(Spread { buckets: buckets.to_vec(), nanoseconds })
        };
        for (one, other, both, left) in [
            (Value::Counter(2), Value::Counter(3), Value::Counter(5), Some(Value::Counter(3))),
            (Value::Gauge(2.0), Value::Gauge(0.5), Value::Gauge(2.5), None),
            (spread(&[1, 0], 5), spread(&[2, 7], 6), spread(&[3, 7], 11), Some(spread(&[2, 7], 6))),
        ] {
            let mut totals = Totals::default();
            totals.add(&numbers(one));
            totals.add(&numbers(other.clone()));
            assert_eq!(totals.0[&series("n")], both);
            let mut base = Totals::default();
            base.add_left(numbers(other));
            assert_eq!(base.0.remove(&series("n")), left);
        }
    }

    #[test]
    fn numbers_of_another_build_that_do_not_fit_change_nothing() {
        let mut totals = Totals::default();
        totals.add(&numbers(Value::Histogram(Spread { buckets: vec![1, 2], nanoseconds: 3 })));
        let before = totals.clone();
        totals.add(&numbers(Value::Histogram(Spread { buckets: vec![1], nanoseconds: 3 })));
        totals.add(&numbers(Value::Counter(1)));
        assert_eq!(totals, before);
    }
}
