//! Adds up what all processes have counted.

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
    Registry, cluster as workers,
    numbers::{Numbers, Totals},
    reporter::{Question, Report},
    text,
};

/// How long a worker may take to answer. One that is late is left out, with what it said last.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often workers are asked though nobody wants to know: what a worker has counted since is lost
/// if it crashes.
const EVERY: Duration = Duration::from_secs(5);

/// Who wants to know the numbers.
pub(super) type Ask = oneshot::Sender<String>;

/// Asks the workers of a cluster, and keeps what those that have left had counted.
///
/// No counter falls: a worker's last report comes before its end, and of one that crashes what it
/// said last is kept. All of it happens in one task, so what a worker said never meets the news of
/// its end in the wrong order.
#[derive(Debug)]
pub(super) struct Collector {
    cluster: ClusterHandle,
    own: Arc<Registry>,
    began: Instant,
    live: BTreeMap<WorkerId, Numbers>,
    left: Totals,
    unanswered: u32,
    /// Whether events were missed, among which an end can be.
    missed: bool,
}

impl Collector {
    pub(super) fn new(cluster: ClusterHandle, own: Arc<Registry>) -> Self {
        Self {
            cluster,
            own,
            began: Instant::now(),
            live: BTreeMap::new(),
            left: Totals::default(),
            unanswered: 0,
            missed: false,
        }
    }

    /// Answers until the cluster has ended, or another primary has taken over.
    pub(super) async fn run(mut self, mut events: Events, mut asks: mpsc::Receiver<Ask>) {
        let mut rounds = interval(EVERY);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                event = events.next() => match event {
                    Some(Event::Upgraded(Ok(_))) | None => return,
                    Some(event) => self.hear(&event),
                },
                Some(ask) = asks.recv() => {
                    // Who asks from here on waits for the next round: what is counted before a
                    // question is in its answer.
                    let mut waiting = vec![ask];
                    while let Ok(ask) = asks.try_recv() {
                        waiting.push(ask);
                    }
                    self.ask_all().await;
                    let text = self.text();
                    for ask in waiting {
                        // Who does not wait any more needs no answer.
                        let _ = ask.send(text.clone());
                    }
                }
                _ = rounds.tick() => {
                    self.forget_missed();
                    self.ask_all().await;
                }
            }
        }
    }

    fn hear(&mut self, event: &Event) {
        workers::count(event);
        match event {
            Event::Message { from, message } => match message.decode() {
                Ok(Report::Last(numbers)) => self.learn(*from, numbers),
                Err(error) => {
                    tracing::warn!(worker = %from, %error, "a worker says something that this primary does not know");
                }
            },
            Event::Exited { id, .. } => self.leaves(*id),
            // What is left of the events is still to be heard, and can be the last words of
            // somebody.
            Event::Lagged(_) => self.missed = true,
            _ => {}
        }
    }

    /// Notes what a worker has counted, unless something newer is known.
    fn learn(&mut self, id: WorkerId, numbers: Numbers) {
        let known = self.live.entry(id).or_default();
        if numbers.look > known.look {
            *known = numbers;
        }
    }

    /// Lets those leave whose end was missed. All events that there are have been heard by now.
    fn forget_missed(&mut self) {
        if !std::mem::take(&mut self.missed) {
            return;
        }
        let there: Vec<_> = self.cluster.workers().iter().map(|worker| worker.id).collect();
        let gone: Vec<_> = self.live.keys().copied().filter(|id| !there.contains(id)).collect();
        for id in gone {
            self.leaves(id);
        }
    }

    fn leaves(&mut self, id: WorkerId) {
        if let Some(numbers) = self.live.remove(&id) {
            self.left.add_left(numbers);
        }
    }

    /// Asks all workers at once.
    async fn ask_all(&mut self) {
        let mut asked = JoinSet::new();
        for worker in self.cluster.workers().into_iter().filter(|worker| worker.ready) {
            let cluster = self.cluster.clone();
            asked.spawn(async move {
                (
                    worker.id,
                    cluster.request::<Numbers>(worker.id, &Question::Numbers, PATIENCE).await,
                )
            });
        }
        self.unanswered = 0;
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok((id, Ok(numbers))) => self.learn(id, numbers),
                // It has ended meanwhile, and what it said last counts.
                Ok((_, Err(RequestError::Gone))) => {}
                Ok((id, Err(error))) => {
                    tracing::warn!(worker = %id, %error, "a worker does not say its numbers; what it said last stands in");
                    self.unanswered += 1;
                }
                Err(error) => {
                    tracing::error!(%error, "a worker could not be asked for its numbers");
                }
            }
        }
    }

    fn text(&self) -> String {
        workers::measure(&self.cluster, self.unanswered, self.began.elapsed());
        let mut totals = self.left.clone();
        totals.add(&self.own.numbers());
        self.live.values().for_each(|numbers| totals.add(numbers));
        text::text(&totals, &self.own.help())
    }
}
