//! [`Reporter`]: records the metrics of a worker and reports them to the primary.

use std::{sync::Arc, time::Duration};

use cluster::Worker;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{registry::Registry, snapshot::Snapshot};
use crate::{error::AppError, settings::Settings};

/// Time limit of the final report. A running primary reads all the time, so it needs far less.
const FINAL_REPORT_TIMEOUT: Duration = Duration::from_millis(150);

/// A request of the primary to a worker.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum ScrapeRequest {
    Snapshot,
}

/// A message that a worker sends without a request.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum WorkerReport {
    /// The last metrics of a worker, before it exits.
    Final(Snapshot),
}

/// Records the metrics of a worker, and reports them to the primary.
#[derive(Debug)]
pub(crate) struct Reporter {
    worker: Worker,
    registry: Arc<Registry>,
}

impl Reporter {
    /// Installs the recorder and answers the requests of the primary, if the settings enable
    /// metrics. It must be called before the store is opened.
    pub(crate) fn start(settings: &Settings, worker: &Worker) -> Result<Option<Self>, AppError> {
        if settings.metrics.is_none() {
            return Ok(None);
        }
        let registry = Registry::install().map_err(|_| AppError::RecorderInstalled)?;
        let (mut requests, recorded) = (worker.requests(), Arc::clone(&registry));
        tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                let replied = match request.decode() {
                    Ok(ScrapeRequest::Snapshot) => request.reply(&recorded.snapshot()),
                    // A dropped request is an error for the primary.
                    Err(error) => {
                        tracing::warn!(%error, "cannot decode a request of the primary");
                        continue;
                    }
                };
                if let Err(error) = replied {
                    tracing::debug!(%error, "cannot reply to the primary");
                }
            }
        });
        Ok(Some(Self { worker: worker.clone(), registry }))
    }

    /// Sends the final report. Later changes of the metrics are lost.
    pub(crate) async fn end(self) {
        let report = WorkerReport::Final(self.registry.snapshot());
        match timeout(FINAL_REPORT_TIMEOUT, self.worker.send(&report)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "cannot send the final metrics"),
            Err(_) => {
                tracing::debug!(
                    after = ?FINAL_REPORT_TIMEOUT,
                    "cannot send the final metrics: the primary does not read"
                );
            }
        }
    }
}
