//! A demo whose store calls are counted.

use std::net::SocketAddr;

use tokio::sync::Mutex;

use crate::{
    demo::{Demo, PATIENCE},
    prometheus::Scrape,
    setup::Setup,
    wait,
    watched::Calls,
};

/// A running demo, and the numbers of all its workers, which its primary serves.
#[derive(Debug)]
pub struct Counting {
    /// The demo.
    pub demo: Demo,
    numbers: SocketAddr,
    /// The counts at the last call of `calls`.
    seen: Mutex<Calls>,
}

impl Counting {
    /// Starts one of this setup, with further flags.
    ///
    /// # Panics
    /// If it does not start, or does not count its calls.
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
            "the demo counts its store calls: {asked:?}"
        );
        counting
    }

    /// The store calls since the last call of this.
    ///
    /// # Panics
    /// If a worker does not report its counts.
    pub async fn calls(&self) -> Calls {
        let mut seen = self.seen.lock().await;
        // For a worker that is late the primary serves its former counts.
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
