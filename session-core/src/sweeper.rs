//! A background task that purges expired sessions.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinHandle;

use crate::SessionStore;

/// Starts a task that purges expired sessions about once per `every`, at most `batch` in one call.
/// The task runs until the handle is dropped.
///
/// Each round calls [`delete_expired`](SessionStore::delete_expired) until it frees fewer than
/// `batch` records. The pause before a round varies by 12.5 % in both directions, so that many
/// processes on one backend do not purge at the same time. An error is logged, and the next round
/// starts as usual. For a store that purges by itself, a round costs one call.
///
/// # Panics
/// If the caller is not inside a tokio runtime.
#[must_use = "dropping the handle stops the sweeper"]
pub fn spawn_sweeper(store: Arc<dyn SessionStore>, every: Duration, batch: usize) -> SweeperHandle {
    // At least one millisecond, so that the task yields. At most one year, so that no timer
    // overflows.
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
        // A store that never awaits, such as `MemoryStore`, would block other tasks of this thread.
        tokio::task::yield_now().await;
    }
    if purged > 0 {
        tracing::debug!(purged, "purged expired sessions");
    }
}

/// A running sweeper. Dropping the handle stops it.
#[derive(Debug)]
pub struct SweeperHandle(JoinHandle<()>);

impl SweeperHandle {
    /// Stops the sweeper. Sessions that a running call has purged stay purged.
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
    async fn c30_sweeper_purges_in_batches_until_its_handle_drops() {
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
        assert_eq!(store.held_sessions(), 25, "the first round starts after a pause");
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(store.held_sessions(), 0);
        sweeper.stop();
        fill().await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(store.held_sessions(), 25);
    }
}
