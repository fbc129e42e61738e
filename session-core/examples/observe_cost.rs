//! What it costs to observe a store: nanoseconds for each call, with a recorder that counts with
//! plain atomics, and without one.
//!
//! `cargo run --release -p session-core --features metrics --example observe_cost`
#![expect(clippy::print_stdout, reason = "it is what the example is for")]

use std::{
    error::Error,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};
use session_core::{
    Commit, MemoryStore, Name, NewRecord, SessionId, SessionStore, observe::observe,
};

const CALLS: u32 = 300_000;
const ROUNDS: usize = 7;

/// Counts with one atomic for each series.
#[derive(Debug)]
struct Atomics;

/// A histogram of one bucket and a sum.
#[derive(Debug, Default)]
struct Sum(AtomicU64, AtomicU64);

impl HistogramFn for Sum {
    fn record(&self, seconds: f64) {
        self.0.fetch_add(1, Relaxed);
        let took = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        self.1.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }
}

impl Recorder for Atomics {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(AtomicU64::new(0)))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::new(AtomicU64::new(0)))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Sum::default()))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let store: Arc<dyn SessionStore> = Arc::new(MemoryStore::new());
    let id = SessionId::random()?;
    let _ = store
        .create(&id.key(), NewRecord::new(id.secret_hash(), Duration::from_secs(3_600)))
        .await?;
    let bare = Arc::clone(&store);
    let quiet: Arc<dyn SessionStore> = Arc::new(observe("memory", Arc::clone(&store)));
    let counted: Arc<dyn SessionStore> =
        with_local_recorder(&Atomics, || Arc::new(observe("memory", store)));
    for (what, store) in
        [("bare", bare), ("observed, no recorder", quiet), ("observed, counted", counted)]
    {
        let mut best = (f64::MAX, f64::MAX);
        for _ in 0..ROUNDS {
            best.0 = best.0.min(loads(store.as_ref(), &id).await?);
            best.1 = best.1.min(adds(store.as_ref(), &id).await?);
        }
        println!("{what:<22} load {:>6.1} ns, add {:>6.1} ns", best.0, best.1);
    }
    Ok(())
}

async fn loads(store: &dyn SessionStore, id: &SessionId) -> Result<f64, Box<dyn Error>> {
    let key = id.key();
    let begun = Instant::now();
    for _ in 0..CALLS {
        black_box(store.load(black_box(&key)).await?);
    }
    Ok(begun.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS))
}

async fn adds(store: &dyn SessionStore, id: &SessionId) -> Result<f64, Box<dyn Error>> {
    let (key, secret, name) = (id.key(), id.secret_hash(), Name::new("n")?);
    let begun = Instant::now();
    for _ in 0..CALLS {
        let commit = Commit::new(secret).change(name.clone(), session_core::Change::Add(1));
        let _ = black_box(store.commit(black_box(&key), commit).await?);
    }
    Ok(begun.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS))
}
