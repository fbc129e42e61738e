//! Compares the time of a call in two populations of sessions.

use std::time::Instant;

use futures_util::future::try_join_all;

/// The time of a call in a small and in a large population, in microseconds, and their ratio.
#[derive(Debug, Clone, Copy)]
pub struct SideBySide {
    /// The median in the small population.
    pub few: f64,
    /// The median in the large population.
    pub many: f64,
    /// The median of the ratios of all rounds, large divided by small.
    pub ratio: f64,
}

impl SideBySide {
    /// Measures both populations in turn, once per round, and returns the medians. Both
    /// measurements of a round run close together, so other work on the machine affects both.
    ///
    /// # Errors
    /// The error that `measure` returns.
    pub async fn measure<P, E>(
        rounds: usize,
        few: &P,
        many: &P,
        measure: impl AsyncFn(&P) -> Result<f64, E>,
    ) -> Result<Self, E> {
        let (mut few_times, mut many_times, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let (few_time, many_time) = (measure(few).await?, measure(many).await?);
            few_times.push(few_time);
            many_times.push(many_time);
            ratios.push(many_time / few_time);
        }
        Ok(Self { few: median(few_times), many: median(many_times), ratio: median(ratios) })
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Makes one call for each of `keys`, with `in_flight` calls at a time. Returns the elapsed time
/// divided by the number of calls, in microseconds.
///
/// # Errors
/// The error that `call` returns.
#[expect(clippy::cast_precision_loss, reason = "the number of calls is far below 2^52")]
pub async fn micros_per_call<K, E>(
    keys: &[K],
    in_flight: usize,
    call: impl AsyncFn(&K) -> Result<(), E>,
) -> Result<f64, E> {
    let in_sequence = async |keys: &[K]| {
        for key in keys {
            call(key).await?;
        }
        Ok::<(), E>(())
    };
    let start = Instant::now();
    try_join_all(keys.chunks(keys.len().div_ceil(in_flight)).map(in_sequence)).await?;
    Ok(start.elapsed().as_secs_f64() * 1e6 / keys.len() as f64)
}
