//! One population of sessions beside another one.

use std::time::Instant;

use futures_util::future::try_join_all;

/// What a call takes in each of two populations, in microseconds, and how much more in the second.
#[derive(Debug, Clone, Copy)]
pub struct Beside {
    /// The median in the first.
    pub few: f64,
    /// The median in the second.
    pub many: f64,
    /// The median of the rounds' ratios.
    pub ratio: f64,
}

impl Beside {
    /// The medians of what `measure` says of both. They are asked in turn, so that what else the
    /// machine does weighs on both alike.
    ///
    /// # Errors
    /// What `measure` returns.
    pub async fn measured<P, E>(
        rounds: usize,
        few: &P,
        many: &P,
        measure: impl AsyncFn(&P) -> Result<f64, E>,
    ) -> Result<Self, E> {
        let (mut of_few, mut of_many, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let (one, other) = (measure(few).await?, measure(many).await?);
            of_few.push(one);
            of_many.push(other);
            ratios.push(other / one);
        }
        Ok(Self { few: median(of_few), many: median(of_many), ratio: median(ratios) })
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The microseconds that one of many calls takes, of which so many are in flight: one for each of
/// `keys`.
///
/// # Errors
/// What a `call` returns.
#[expect(clippy::cast_precision_loss, reason = "nobody makes 2^52 calls")]
pub async fn time_of_each<K, E>(
    keys: &[K],
    in_flight: usize,
    call: impl AsyncFn(&K) -> Result<(), E>,
) -> Result<f64, E> {
    let one_after_the_other = async |keys: &[K]| {
        for key in keys {
            call(key).await?;
        }
        Ok::<(), E>(())
    };
    let start = Instant::now();
    try_join_all(keys.chunks(keys.len().div_ceil(in_flight)).map(one_after_the_other)).await?;
    Ok(start.elapsed().as_secs_f64() * 1e6 / keys.len() as f64)
}
