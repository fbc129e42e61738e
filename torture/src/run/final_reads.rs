//! The calls after the last fault, which show the final state of the store.

use std::{path::Path, sync::Arc, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use session_core::SessionStore;

use super::{client::principals, error::BoxError, recorder::Recorder};
use crate::{
    check::open_and_ended_keys,
    history::{Answer, Call, Op, now},
};

/// The name of the client that makes these calls.
const CLIENT: &str = "end";
/// The number of concurrent calls.
const CONCURRENCY: usize = 8;
/// The number of ended sessions to read. The youngest are read.
const ENDED_SESSIONS: usize = 500;
/// The time in which the store must answer again.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Reads every session that may be alive, lists all principals, and reads the live sessions again.
pub(super) async fn read_final_state(
    store: Arc<dyn SessionStore>,
    calls: &[Call],
    run: &str,
    log: &Path,
) -> Result<(), BoxError> {
    let until = now() + u64::try_from(ANSWER_WITHIN.as_nanos())?;
    while let Err(error) = store.ping().await {
        if now() > until {
            return Err(format!(
                "the store does not answer within {ANSWER_WITHIN:?} after the last fault: {error}"
            )
            .into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let recorder = Recorder::new(store, log)?;
    let (open, ended) = open_and_ended_keys(calls);
    let ended = ended.into_iter().rev().take(ENDED_SESSIONS);
    let load = async |key: &str| {
        let answer = recorder.call(CLIENT, Op::Load { key: key.to_owned() }).await?;
        Ok::<_, BoxError>(matches!(answer, Answer::Found(_)).then(|| key.to_owned()))
    };
    let alive: Vec<_> = stream::iter(open.into_iter().chain(ended))
        .map(load)
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await?;
    for principal in principals(run) {
        recorder.call(CLIENT, Op::List { principal }).await?;
    }
    let again =
        stream::iter(alive.iter().flatten()).map(|key| load(key)).buffer_unordered(CONCURRENCY);
    again.try_collect::<Vec<_>>().await?;
    Ok(())
}
