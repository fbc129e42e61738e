//! A metrics recorder whose values a test reads.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, LocalRecorderGuard, Metadata, Recorder,
    SharedString, Unit, set_default_local_recorder,
};

use crate::trace_log::trace;

/// Records the metrics of this thread while the guard of `install` lives.
#[derive(Debug, Default)]
pub(crate) struct TestRecorder {
    counters: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    values: Mutex<BTreeMap<String, Arc<Values>>>,
    described: Mutex<Vec<String>>,
}

#[derive(Debug, Default)]
pub(crate) struct Values(Mutex<Vec<f64>>);

impl HistogramFn for Values {
    fn record(&self, value: f64) {
        self.0.lock().unwrap().push(value);
    }
}

impl TestRecorder {
    /// Installs this recorder for the current thread.
    pub(crate) fn install(&self) -> LocalRecorderGuard<'_> {
        trace();
        set_default_local_recorder(self)
    }

    /// The value of the counter `name{key=value,…}`. `None` if there is no such series.
    pub(crate) fn counter(&self, series: &str) -> Option<u64> {
        self.counters.lock().unwrap().get(series).map(|counter| counter.load(Relaxed))
    }

    /// All counters that are not 0.
    pub(crate) fn nonzero_counters(&self) -> BTreeMap<String, u64> {
        let counters = self.counters.lock().unwrap();
        counters
            .iter()
            .map(|(series, counter)| (series.clone(), counter.load(Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// The values recorded by a histogram.
    pub(crate) fn values(&self, series: &str) -> Vec<f64> {
        self.values
            .lock()
            .unwrap()
            .get(series)
            .map(|values| values.0.lock().unwrap().clone())
            .unwrap_or_default()
    }

    /// The names and descriptions of all series.
    pub(crate) fn text(&self) -> String {
        let (counters, values) = (self.counters.lock().unwrap(), self.values.lock().unwrap());
        let series = counters.keys().chain(values.keys()).cloned();
        series.chain(self.described.lock().unwrap().iter().cloned()).collect::<Vec<_>>().join("\n")
    }

    fn describe(&self, name: &KeyName, description: &SharedString) {
        self.described.lock().unwrap().push(format!("{} {description}", name.as_str()));
    }
}

fn series(key: &Key) -> String {
    let labels: Vec<_> =
        key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
    if labels.is_empty() {
        key.name().to_owned()
    } else {
        format!("{}{{{}}}", key.name(), labels.join(","))
    }
}

impl Recorder for TestRecorder {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&name, &description);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&name, &description);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&name, &description);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::clone(self.counters.lock().unwrap().entry(series(key)).or_default()))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        panic!("unexpected gauge: {key}")
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::clone(self.values.lock().unwrap().entry(series(key)).or_default()))
    }
}
