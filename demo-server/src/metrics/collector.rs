//! [`Collector`]: adds the metrics of all processes.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use cluster::{ClusterHandle, Event, Events, RequestError, WorkerId};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use super::{
    cluster_metrics,
    registry::Registry,
    reporter::{ScrapeRequest, WorkerReport},
    snapshot::{Snapshot, Totals},
    text,
};

/// Time limit for the reply of a worker. If the reply is late, the last snapshot is used.
const REPLY_TIMEOUT: Duration = Duration::from_secs(1);

/// Time between two scrapes without a client. If a worker crashes, its changes since the last
/// scrape are lost.
const SCRAPE_INTERVAL: Duration = Duration::from_secs(5);

/// The sender for the text that a client of `GET /metrics` waits for.
pub(super) type PendingScrape = oneshot::Sender<String>;

/// Scrapes the workers of a cluster, and keeps the last snapshots of workers that have exited.
///
/// No counter decreases. A worker sends its final report before it exits, and the last snapshot of
/// a crashed worker is kept. One task handles reports and exits, so it sees the report of a worker
/// before its exit.
#[derive(Debug)]
pub(super) struct Collector {
    cluster: ClusterHandle,
    own: Arc<Registry>,
    started: Instant,
    /// The last snapshot of each worker that has not exited.
    running: BTreeMap<WorkerId, Snapshot>,
    /// The sums over all workers that have exited.
    exited: Totals,
    /// The number of workers that did not reply in the last scrape.
    failed_scrapes: u32,
    /// Whether events were lost. A lost event can be the exit of a worker.
    events_lost: bool,
}

impl Collector {
    pub(super) fn new(cluster: ClusterHandle, own: Arc<Registry>) -> Self {
        Self {
            cluster,
            own,
            started: Instant::now(),
            running: BTreeMap::new(),
            exited: Totals::default(),
            failed_scrapes: 0,
            events_lost: false,
        }
    }

    /// Runs until the cluster has ended or another primary has taken over.
    pub(super) async fn run(
        mut self,
        mut events: Events,
        mut scrapes: mpsc::Receiver<PendingScrape>,
    ) {
        let mut ticks = interval(SCRAPE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                event = events.next() => match event {
                    Some(Event::Upgraded(Ok(_))) | None => return,
                    Some(event) => self.handle_event(&event),
                },
                Some(scrape) = scrapes.recv() => {
                    // A scrape that arrives after this loop waits for the next round, so that its
                    // text includes everything that was recorded before it.
                    let mut pending = vec![scrape];
                    while let Ok(scrape) = scrapes.try_recv() {
                        pending.push(scrape);
                    }
                    self.scrape_workers().await;
                    let text = self.text();
                    for scrape in pending {
                        // The send fails if the client does not wait any more.
                        let _ = scrape.send(text.clone());
                    }
                }
                _ = ticks.tick() => {
                    self.remove_exited();
                    self.scrape_workers().await;
                }
            }
        }
    }

    fn handle_event(&mut self, event: &Event) {
        cluster_metrics::count_event(event);
        match event {
            Event::Message { from, message } => match message.decode() {
                Ok(WorkerReport::Final(snapshot)) => self.update(*from, snapshot),
                Err(error) => {
                    tracing::warn!(worker = %from, %error, "cannot decode a message of a worker");
                }
            },
            Event::Exited { id, .. } => self.worker_exited(*id),
            // The queue can still contain the final report of a worker whose exit was lost, so the
            // exits are handled later, in `remove_exited`.
            Event::Lagged(_) => self.events_lost = true,
            _ => {}
        }
    }

    /// Stores the snapshot of a worker, unless a newer one is known.
    fn update(&mut self, id: WorkerId, snapshot: Snapshot) {
        let known = self.running.entry(id).or_default();
        if snapshot.sequence > known.sequence {
            *known = snapshot;
        }
    }

    /// Handles the workers whose exit was among the lost events. The event queue is empty by now.
    fn remove_exited(&mut self) {
        if !std::mem::take(&mut self.events_lost) {
            return;
        }
        let alive: Vec<_> = self.cluster.workers().iter().map(|worker| worker.id).collect();
        let exited: Vec<_> =
            self.running.keys().copied().filter(|id| !alive.contains(id)).collect();
        for id in exited {
            self.worker_exited(id);
        }
    }

    fn worker_exited(&mut self, id: WorkerId) {
        if let Some(snapshot) = self.running.remove(&id) {
            self.exited.add_exited(snapshot);
        }
    }

    /// Requests a snapshot from all workers at the same time.
    async fn scrape_workers(&mut self) {
        let mut replies = JoinSet::new();
        for worker in self.cluster.workers().into_iter().filter(|worker| worker.ready) {
            let cluster = self.cluster.clone();
            replies.spawn(async move {
                let reply = cluster
                    .request::<Snapshot>(worker.id, &ScrapeRequest::Snapshot, REPLY_TIMEOUT)
                    .await;
                (worker.id, reply)
            });
        }
        self.failed_scrapes = 0;
        while let Some(reply) = replies.join_next().await {
            match reply {
                Ok((id, Ok(snapshot))) => self.update(id, snapshot),
                // The worker has exited meanwhile, and its last snapshot is known.
                Ok((_, Err(RequestError::Gone))) => {}
                Ok((id, Err(error))) => {
                    tracing::warn!(
                        worker = %id,
                        %error,
                        "a worker did not return its metrics; using its last snapshot"
                    );
                    self.failed_scrapes += 1;
                }
                Err(error) => {
                    tracing::error!(%error, "cannot request the metrics of a worker");
                }
            }
        }
    }

    fn text(&self) -> String {
        cluster_metrics::update_gauges(&self.cluster, self.failed_scrapes, self.started.elapsed());
        let mut totals = self.exited.clone();
        totals.add(&self.own.snapshot());
        self.running.values().for_each(|snapshot| totals.add(snapshot));
        text::render(&totals, &self.own.help())
    }
}
