//! Where a process counts.

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

use super::numbers::{BOUNDS, Numbers, Series, Spread, Value};

/// Counters, gauges and histograms of one process. Histograms are of seconds.
///
/// A library's recorder for Prometheus would have its own text and no way to add up what several
/// processes have counted.
#[derive(Debug, Default)]
pub(super) struct Registry {
    counters: Kept<AtomicU64>,
    gauges: Kept<AtomicU64>,
    histograms: Kept<Buckets>,
    help: RwLock<BTreeMap<String, String>>,
    looks: AtomicU64,
}

/// Series of one kind. They are few and stay, so after the first time a name is only looked up.
#[derive(Debug)]
struct Kept<T>(RwLock<HashMap<Key, Arc<T>>>);

/// A histogram, see [`Spread`].
#[derive(Debug, Default)]
struct Buckets {
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Registry {
    /// A registry that from now on counts what this process counts.
    pub(super) fn install() -> Result<Arc<Self>, SetRecorderError<Arc<Self>>> {
        let registry = Arc::new(Self::default());
        metrics::set_global_recorder(Arc::clone(&registry))?;
        observe::describe();
        Ok(registry)
    }

    /// What is counted by now.
    pub(super) fn numbers(&self) -> Numbers {
        // Before the counters are read: of two looks at once the later one has the higher numbers.
        let look = self.looks.fetch_add(1, Relaxed) + 1;
        let mut series = self.counters.all(|counter| Value::Counter(counter.load(Relaxed)));
        series.extend(self.gauges.all(|gauge| Value::Gauge(f64::from_bits(gauge.load(Relaxed)))));
        series.extend(self.histograms.all(|buckets| Value::Histogram(buckets.spread())));
        Numbers { look, series }
    }

    /// What the names mean.
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

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T: Default> Kept<T> {
    fn of(&self, key: &Key) -> Arc<T> {
        // Whole after every instruction, so a panic elsewhere does not spoil it.
        if let Some(kept) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(key) {
            return Arc::clone(kept);
        }
        Arc::clone(
            self.0.write().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default(),
        )
    }

    fn all(&self, value: impl Fn(&T) -> Value) -> Vec<(Series, Value)> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        kept.iter().map(|(key, kept)| (series(key), value(kept))).collect()
    }
}

fn series(key: &Key) -> Series {
    let labels =
        key.labels().map(|label| (label.key().to_owned(), label.value().to_owned())).collect();
    Series { name: key.name().to_owned(), labels }
}

impl Buckets {
    fn spread(&self) -> Spread {
        Spread {
            buckets: self.counts.iter().map(|count| count.load(Relaxed)).collect(),
            nanoseconds: self.nanoseconds.load(Relaxed),
        }
    }
}

impl HistogramFn for Buckets {
    fn record(&self, seconds: f64) {
        let at = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.counts[at].fetch_add(1, Relaxed);
        // What is no time adds nothing.
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
        Counter::from_arc(self.counters.of(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.gauges.of(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.histograms.of(key))
    }
}

#[cfg(test)]
mod tests {
    use metrics::with_local_recorder;

    use super::*;

    fn value(numbers: &Numbers, name: &str) -> Value {
        numbers.series.iter().find(|(series, _)| series.name == name).unwrap().1.clone()
    }

    #[test]
    fn what_is_counted_is_in_the_numbers() {
        let registry = Registry::default();
        with_local_recorder(&registry, || {
            for _ in 0..3 {
                metrics::counter!("counted", "kind" => "a").increment(2);
            }
            metrics::gauge!("stands").set(2.5);
            metrics::describe_gauge!("stands", "How high it stands.");
        });
        let first = registry.numbers();
        assert_eq!(
            (value(&first, "counted"), value(&first, "stands")),
            (Value::Counter(6), Value::Gauge(2.5))
        );
        assert_eq!(registry.help()["stands"], "How high it stands.");
        assert!(registry.numbers().look > first.look);
    }

    #[test]
    fn times_fall_into_the_bucket_whose_bound_they_do_not_pass() {
        let registry = Registry::default();
        with_local_recorder(&registry, || {
            for seconds in [0.0, 0.000_05, 0.000_051, 5.0, 5.1, -1.0, f64::NAN] {
                metrics::histogram!("took").record(seconds);
            }
        });
        let Value::Histogram(Spread { buckets, nanoseconds }) = value(&registry.numbers(), "took")
        else {
            panic!("a histogram")
        };
        assert_eq!((buckets[0], buckets[1], buckets[15], buckets[16]), (3, 1, 1, 2), "{buckets:?}");
        assert_eq!(nanoseconds, 50_000 + 51_000 + 5_000_000_000 + 5_100_000_000);
    }

    #[test]
    fn bounds_rise() {
        assert!(BOUNDS.is_sorted());
    }
}
