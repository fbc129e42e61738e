//! A worker's part: it counts, answers its primary, and says at its end what it came to.

use std::{sync::Arc, time::Duration};

use cluster::Worker;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{Registry, numbers::Numbers};
use crate::{problem::Problem, settings::Settings};

/// How long the last report may take. The primary reads all the time, so a longer wait means that
/// it does not read any more.
const LAST_WORD: Duration = Duration::from_millis(150);

/// What the primary asks a worker.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Question {
    Numbers,
}

/// What a worker says unasked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// What it has counted, before it ends.
    Last(Numbers),
}

/// Counts in a worker, and tells the primary.
#[derive(Debug)]
pub(crate) struct Reporter {
    worker: Worker,
    registry: Arc<Registry>,
}

impl Reporter {
    /// Counts from now on, and answers from now on, if the settings say that anybody wants to know.
    /// Before the store is opened.
    pub(crate) fn start(settings: &Settings, worker: &Worker) -> Result<Option<Self>, Problem> {
        if settings.metrics.is_none() {
            return Ok(None);
        }
        let registry = Registry::install().map_err(|_| Problem::CountedElsewhere)?;
        let (mut questions, counted) = (worker.requests(), Arc::clone(&registry));
        tokio::spawn(async move {
            while let Some(call) = questions.next().await {
                let answered = match call.decode() {
                    Ok(Question::Numbers) => call.reply(&counted.numbers()),
                    // The one who asks is told that there is no answer.
                    Err(error) => {
                        tracing::warn!(%error, "the primary asks something that this worker does not know");
                        continue;
                    }
                };
                if let Err(error) = answered {
                    tracing::debug!(%error, "an answer to the primary is lost");
                }
            }
        });
        Ok(Some(Self { worker: worker.clone(), registry }))
    }

    /// Says what it came to. Nothing that is counted later is heard of.
    pub(crate) async fn end(self) {
        let report = Report::Last(self.registry.numbers());
        match timeout(LAST_WORD, self.worker.send(&report)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the last numbers of this worker are lost"),
            Err(_) => {
                tracing::debug!(after = ?LAST_WORD, "the primary does not read, so the last numbers of this worker are lost");
            }
        }
    }
}
