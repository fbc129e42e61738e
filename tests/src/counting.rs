//! A demo that says how often it asks its store for something.

use std::net::SocketAddr;

use tokio::sync::Mutex;

use crate::{
    demo::{Demo, PATIENCE},
    prometheus::Scrape,
    setup::Setup,
    wait,
    watched::Calls,
};

/// A running demo and the numbers that its primary serves, which are those of all its workers.
#[derive(Debug)]
pub struct Counting {
    /// The demo.
    pub demo: Demo,
    numbers: SocketAddr,
    /// What was counted when it was last asked.
    seen: Mutex<Calls>,
}

impl Counting {
    /// Starts one of this setup, with further flags.
    ///
    /// # Panics
    /// If it does not start, or does not count.
    pub async fn start(setup: &Setup, flags: &[&str]) -> Self {
        let demo = setup.start_with(&[&["--metrics", "127.0.0.1:0"], flags].concat()).await;
        let where_it_says = async || demo.process.stdout.after("  metrics  http://");
        let numbers = wait::until("the address of the metrics", PATIENCE, where_it_says).await;
        let numbers = numbers
            .trim_end()
            .trim_end_matches("/metrics")
            .parse()
            .expect("an address with a port");
        let counting = Self { demo, numbers, seen: Mutex::default() };
        counting.demo.settle().await;
        let asked = counting.calls().await;
        assert!(
            asked.creates > 0 && asked.loads > 0 && asked.deletes > 0,
            "what is asked of the store is counted: {asked:?}"
        );
        counting
    }

    /// The store calls since the last time this was asked.
    ///
    /// # Panics
    /// If not all workers say theirs.
    pub async fn calls(&self) -> Calls {
        let mut seen = self.seen.lock().await;
        // Of a worker that was late there is what it had said before.
        let all = wait::until("the numbers of all workers", PATIENCE, async || {
            let scrape = Scrape::of(self.numbers).await;
            (scrape.value("cluster_worker_scrape_failed", &[]) < 0.5).then(|| scrape.all_calls())
        })
        .await;
        let new = all.since(&seen);
        *seen = all;
        new
    }
}
