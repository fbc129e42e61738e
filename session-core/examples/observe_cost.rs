//! Measures the time that `observe` adds to a store call, in nanoseconds, without a recorder and
//! with a recorder that counts with atomics.
//!
//! Run it with `cargo run --release -p session-core --features metrics --example observe_cost`.
#![expect(clippy::print_stdout, reason = "this program prints measurements")]

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

/// A recorder with one atomic for each series.
#[derive(Debug)]
struct Atomics;

/// A histogram that stores a count and a sum.
#[derive(Debug, Default)]
struct Sum(AtomicU64, AtomicU64);

impl HistogramFn for Sum {
    fn record(&self, seconds: f64) {
        self.0.fetch_add(1, Relaxed);
        let duration = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        self.1.fetch_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Relaxed);
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
    let unobserved = Arc::clone(&store);
    let without_recorder: Arc<dyn SessionStore> = Arc::new(observe("memory", Arc::clone(&store)));
    let with_recorder: Arc<dyn SessionStore> =
        with_local_recorder(&Atomics, || Arc::new(observe("memory", store)));
    for (what, store) in [
        ("not observed", unobserved),
        ("observed, no recorder", without_recorder),
        ("observed, recorder", with_recorder),
    ] {
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
    let started = Instant::now();
    for _ in 0..CALLS {
        black_box(store.load(black_box(&key)).await?);
    }
    Ok(started.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS))
}

async fn adds(store: &dyn SessionStore, id: &SessionId) -> Result<f64, Box<dyn Error>> {
    let (key, secret, name) = (id.key(), id.secret_hash(), Name::new("n")?);
    let started = Instant::now();
    for _ in 0..CALLS {
        let commit = Commit::new(secret).change(name.clone(), session_core::Change::Add(1));
        let _ = black_box(store.commit(black_box(&key), commit).await?);
    }
    Ok(started.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS))
}
