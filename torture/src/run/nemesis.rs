//! Who disturbs a run.

use std::time::Duration;

use fastrand::Rng;

use super::{FaultKind, Faults, Site, client::Trouble, crew::Crew};
use crate::history::{Fault, now};

/// Between two faults, in milliseconds.
const QUIET: std::ops::Range<u64> = 150..900;
/// How long who stands still does so: at times for longer than a call may take.
const FROZEN: std::ops::Range<u64> = 100..2_800;
/// How long a store that was stopped stays so.
const STOPPED: std::ops::Range<u64> = 50..900;
/// How long a worker that was killed stays dead.
const DEAD: std::ops::Range<u64> = 0..200;

/// Disturbs the processes of a run, in an order that a seed chooses.
#[derive(Debug)]
pub(super) struct Nemesis {
    rng: Rng,
    kinds: Vec<FaultKind>,
}

impl Nemesis {
    pub(super) fn new(seed: u64, faults: &Faults) -> Self {
        // Its draws are none of a worker's.
        Self { rng: Rng::with_seed(seed ^ 0x006e_656d_6573_6973), kinds: faults.0.iter().copied().collect() }
    }

    /// Disturbs until the time is over. When it returns all processes run.
    pub(super) async fn rage(&mut self, crew: &mut Crew<'_>, site: &mut Site, until: u64) -> Result<Vec<Fault>, Trouble> {
        let mut done = Vec::new();
        loop {
            crew.watch()?;
            let pause = self.rng.u64(QUIET);
            let left = until.saturating_sub(now()) / 1_000_000;
            if left <= pause || self.kinds.is_empty() {
                // Nobody is disturbed any more, and is watched to the end.
                tokio::time::sleep(Duration::from_millis(left.min(pause))).await;
                if now() >= until {
                    return Ok(done);
                }
                continue;
            }
            sleep(pause).await;
            let kind = self.kinds[self.rng.usize(..self.kinds.len())];
            let begin = now();
            let what = self.strike(kind, crew, site).await?;
            done.push(Fault { begin, end: now(), crash: kind == FaultKind::Restart, what });
        }
    }

    async fn strike(&mut self, kind: FaultKind, crew: &mut Crew<'_>, site: &mut Site) -> Result<String, Trouble> {
        let worker = self.rng.usize(..crew.len());
        match kind {
            FaultKind::Kill => {
                crew.kill(worker);
                sleep(self.rng.u64(DEAD)).await;
                crew.start(worker)?;
                Ok(format!("worker {worker} was killed"))
            }
            FaultKind::Freeze if site.can_freeze() && self.rng.bool() => {
                let pause = self.rng.u64(FROZEN);
                site.freeze().await?;
                sleep(pause).await;
                site.thaw().await?;
                Ok(format!("the store stood still for {pause} ms"))
            }
            FaultKind::Freeze => {
                let pause = self.rng.u64(FROZEN);
                crew.freeze(worker);
                sleep(pause).await;
                crew.thaw(worker);
                Ok(format!("worker {worker} stood still for {pause} ms"))
            }
            FaultKind::Restart => {
                site.stop().await?;
                sleep(self.rng.u64(STOPPED)).await;
                site.start_again().await?;
                Ok("the store was killed and started again".to_owned())
            }
        }
    }
}

async fn sleep(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}
