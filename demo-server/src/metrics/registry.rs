//! [`Registry`]: the metrics recorder of one process.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SetRecorderError,
    SharedString, Unit,
};
use session_core::observe;

use super::snapshot::{BOUNDS, Distribution, Series, Snapshot, Value};
use crate::logging;

/// The counter of dropped log lines.
const DROPPED_LINES: &str = "demo_server_log_lines_dropped_total";

/// Counters, gauges and histograms of one process. Histograms are in seconds.
///
/// The recorder of a Prometheus library renders the text of one process, and cannot add the values
/// of several processes.
#[derive(Debug, Default)]
pub(super) struct Registry {
    counters: SeriesMap<AtomicU64>,
    gauges: SeriesMap<AtomicU64>,
    histograms: SeriesMap<AtomicDistribution>,
    help: RwLock<BTreeMap<String, String>>,
    /// The number of snapshots so far.
    snapshots: AtomicU64,
}

/// All series of one kind. A series is never removed, so after its first use it is only looked up.
#[derive(Debug)]
struct SeriesMap<T>(RwLock<HashMap<Key, Arc<T>>>);

/// A [`Distribution`] that several threads can change.
#[derive(Debug, Default)]
struct AtomicDistribution {
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Registry {
    /// Installs a new registry as the recorder of this process.
    ///
    /// # Errors
    /// A recorder is already installed.
    pub(super) fn install() -> Result<Arc<Self>, SetRecorderError<Arc<Self>>> {
        let registry = Arc::new(Self::default());
        metrics::set_global_recorder(Arc::clone(&registry))?;
        observe::describe();
        metrics::describe_counter!(
            DROPPED_LINES,
            "Log lines that were dropped because standard error was not read"
        );
        Ok(registry)
    }

    /// The current values.
    pub(super) fn snapshot(&self) -> Snapshot {
        // Incremented before the counters are read, so that the values of a snapshot with a higher
        // number are not older.
        let sequence = self.snapshots.fetch_add(1, Relaxed) + 1;
        metrics::counter!(DROPPED_LINES).absolute(logging::dropped_lines());
        let mut series = self.counters.all(|counter| Value::Counter(counter.load(Relaxed)));
        series.extend(self.gauges.all(|gauge| Value::Gauge(f64::from_bits(gauge.load(Relaxed)))));
        series.extend(self.histograms.all(|buckets| Value::Histogram(buckets.load())));
        Snapshot { sequence, series }
    }

    /// The help text of each name.
    pub(super) fn help(&self) -> BTreeMap<String, String> {
        self.help.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn describe(&self, name: &KeyName, help: &SharedString) {
        self.help
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.as_str().to_owned(), help.to_string());
    }
}

impl<T> Default for SeriesMap<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T: Default> SeriesMap<T> {
    fn get_or_create(&self, key: &Key) -> Arc<T> {
        // The map is valid after each operation, so it stays usable if another thread has panicked.
        if let Some(series) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(key) {
            return Arc::clone(series);
        }
        Arc::clone(
            self.0.write().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default(),
        )
    }

    fn all(&self, value: impl Fn(&T) -> Value) -> Vec<(Series, Value)> {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        map.iter().map(|(key, metric)| (series(key), value(metric))).collect()
    }
}

fn series(key: &Key) -> Series {
    let labels =
        key.labels().map(|label| (label.key().to_owned(), label.value().to_owned())).collect();
    Series { name: key.name().to_owned(), labels }
}

impl AtomicDistribution {
    fn load(&self) -> Distribution {
        Distribution {
            buckets: self.counts.iter().map(|count| count.load(Relaxed)).collect(),
            nanoseconds: self.nanoseconds.load(Relaxed),
        }
    }
}

impl HistogramFn for AtomicDistribution {
    fn record(&self, seconds: f64) {
        let at = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.counts[at].fetch_add(1, Relaxed);
        // A negative value and NaN add 0 to the sum.
        let took = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        self.nanoseconds.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }
}

impl Recorder for Registry {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, &help);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, &help);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, &help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.counters.get_or_create(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.gauges.get_or_create(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.histograms.get_or_create(key))
    }
}

#[cfg(test)]
mod tests {
    use metrics::with_local_recorder;

    use super::*;

    fn value(snapshot: &Snapshot, name: &str) -> Value {
        snapshot.series.iter().find(|(series, _)| series.name == name).unwrap().1.clone()
    }

    #[test]
    fn snapshot_has_all_recorded_values() {
        let registry = Registry::default();
        with_local_recorder(&registry, || {
            for _ in 0..3 {
                metrics::counter!("counted", "kind" => "a").increment(2);
            }
            metrics::gauge!("level").set(2.5);
            metrics::describe_gauge!("level", "The current level.");
        });
        let first = registry.snapshot();
        assert_eq!(
            (value(&first, "counted"), value(&first, "level")),
            (Value::Counter(6), Value::Gauge(2.5))
        );
        assert_eq!(registry.help()["level"], "The current level.");
        assert!(registry.snapshot().sequence > first.sequence);
    }

    #[test]
    fn times_are_counted_in_the_bucket_of_the_next_bound() {
        let registry = Registry::default();
        with_local_recorder(&registry, || {
            for seconds in [0.0, 0.000_05, 0.000_051, 5.0, 5.1, -1.0, f64::NAN] {
                metrics::histogram!("took").record(seconds);
            }
        });
        let Value::Histogram(Distribution { buckets, nanoseconds }) =
            value(&registry.snapshot(), "took")
        else {
            panic!("expected a histogram")
        };
        assert_eq!((buckets[0], buckets[1], buckets[15], buckets[16]), (3, 1, 1, 2), "{buckets:?}");
        assert_eq!(nanoseconds, 50_000 + 51_000 + 5_000_000_000 + 5_100_000_000);
    }

    #[test]
    fn bucket_bounds_are_sorted() {
        assert!(BOUNDS.is_sorted());
    }
}
