//! Purging expired sessions in the background.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinHandle;

use crate::SessionStore;

/// Purges expired sessions about once in `every`, at most `batch` in one call, for as long as the
/// handle lives.
///
/// Each round calls [`delete_expired`](SessionStore::delete_expired) until it answers less than
/// `batch`. The pause before a round varies by a quarter, so that many processes on one backend
/// spread out. An error is logged and the next round comes as usual. A store that purges by itself
/// answers 0, and a sweeper costs it one call a round.
///
/// # Panics
/// Outside a tokio runtime.
#[must_use = "dropping the handle stops the sweeper"]
pub fn spawn_sweeper(store: Arc<dyn SessionStore>, every: Duration, batch: usize) -> SweeperHandle {
    // Between one millisecond, so that a round always ends, and a year, which no timer overflows
    // on.
    let pause = every.clamp(Duration::from_millis(1), Duration::from_secs(365 * 86_400));
    let batch = batch.max(1);
    SweeperHandle(tokio::spawn(async move {
        loop {
            tokio::time::sleep(pause.mul_f64(0.875 + fastrand::f64() / 4.0)).await;
            sweep(store.as_ref(), batch).await;
        }
    }))
}

async fn sweep(store: &dyn SessionStore, batch: usize) {
    let mut purged = 0;
    loop {
        match store.delete_expired(batch).await {
            Ok(count) => {
                purged += count;
                if count == 0 || count < batch as u64 {
                    break;
                }
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "expired sessions could not be purged; the next round tries again"
                );
                break;
            }
        }
        // A store that never waits, as memory does, would keep this thread from other tasks as long
        // as anything is left.
        tokio::task::yield_now().await;
    }
    if purged > 0 {
        tracing::debug!(purged, "purged expired sessions");
    }
}

/// A running sweeper; dropping it stops the sweeping.
#[derive(Debug)]
pub struct SweeperHandle(JoinHandle<()>);

impl SweeperHandle {
    /// Stops the sweeping; what a call in flight has purged stays purged.
    pub fn stop(self) {}
}

impl Drop for SweeperHandle {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryStore, NewRecord, SessionId};

    #[tokio::test(start_paused = true)]
    async fn c30_a_sweeper_purges_in_batches_until_nothing_is_left_and_stops_with_its_handle() {
        let (store, clock) = MemoryStore::with_manual_clock();
        let store = Arc::new(store);
        let fill = async || {
            for _ in 0..25 {
                let id = SessionId::random().unwrap();
                let _ = store
                    .create(&id.key(), NewRecord::new(id.secret_hash(), Duration::from_secs(1)))
                    .await
                    .unwrap();
            }
            clock.advance(Duration::from_secs(1));
        };
        fill().await;
        let sweeper =
            spawn_sweeper(Arc::clone(&store) as Arc<dyn SessionStore>, Duration::from_secs(60), 10);
        tokio::time::sleep(Duration::from_secs(50)).await;
        assert_eq!(store.held_sessions(), 25, "the first round comes after a pause");
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(store.held_sessions(), 0);
        sweeper.stop();
        fill().await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(store.held_sessions(), 25);
    }
}
