//! Who disturbs a run.

use std::time::Duration;

use fastrand::Rng;

use super::{
    FaultKind, Faults, Replicated, Site,
    client::Trouble,
    crew::Crew,
    replicated::Blow,
    wire::{Way, Whose, Wire},
};
use crate::history::{Fault, now};

/// Between two faults, in milliseconds.
const QUIET: std::ops::Range<u64> = 150..900;
/// Before the first fault where primaries get successors: no election may come before the workers'
/// first calls.
const UNDISTURBED: u64 = 1_500;
/// How long who stands still does so: at times for longer than a call may take.
const FROZEN: std::ops::Range<u64> = 100..2_800;
/// How long a store that was stopped stays so.
const STOPPED: std::ops::Range<u64> = 50..900;
/// How long a primary stays away after another one took over.
const SUCCEEDED: std::ops::Range<u64> = 50..1_500;
/// How long packets are dropped: at times for longer than a call may take, and than a server is
/// held for alive.
const CUT: std::ops::Range<u64> = 100..3_500;
/// How long a worker that was killed stays dead.
const DEAD: std::ops::Range<u64> = 0..200;

/// Disturbs the processes of a run, in an order that a seed chooses.
#[derive(Debug)]
pub(super) struct Nemesis {
    rng: Rng,
    kinds: Vec<FaultKind>,
    /// Those whose turn comes before any comes again.
    bag: Vec<FaultKind>,
    wire: Option<Wire>,
}

impl Nemesis {
    pub(super) fn new(seed: u64, faults: &Faults, wire: Option<Wire>) -> Self {
        // Its draws are none of a worker's.
        let rng = Rng::with_seed(seed ^ 0x006e_656d_6573_6973);
        Self { rng, kinds: faults.0.iter().copied().collect(), bag: Vec::new(), wire }
    }

    /// Disturbs until the time is over. When it returns all processes run, and the network is
    /// whole.
    pub(super) async fn rage(
        &mut self,
        crew: &mut Crew<'_>,
        site: &mut Site,
        until: u64,
    ) -> Result<Vec<Fault>, Trouble> {
        let mut done = Vec::new();
        loop {
            crew.watch()?;
            let mut pause = self.rng.u64(QUIET);
            if done.is_empty() && self.kinds.contains(&FaultKind::Failover) {
                pause = pause.max(UNDISTURBED);
            }
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
            let Some(kind) = self.next() else { continue };
            let begin = now();
            let Some(what) = self.strike(kind, crew, site).await? else {
                // It is not its time yet.
                self.bag.insert(0, kind);
                continue;
            };
            done.push(Fault { begin, end: now(), crash: kind == FaultKind::Restart, what });
        }
    }

    /// The kind whose turn it is.
    fn next(&mut self) -> Option<FaultKind> {
        if self.bag.is_empty() {
            self.bag.clone_from(&self.kinds);
            self.rng.shuffle(&mut self.bag);
        }
        self.bag.pop()
    }

    /// Disturbs, and says what was done. `None` if servers have not yet recovered from what was
    /// done before, so that it would be another fault than is meant.
    async fn strike(
        &mut self,
        kind: FaultKind,
        crew: &mut Crew<'_>,
        site: &mut Site,
    ) -> Result<Option<String>, Trouble> {
        let worker = self.rng.usize(..crew.len());
        match (kind, site) {
            (FaultKind::Kill, _) => {
                crew.kill(worker);
                sleep(self.rng.u64(DEAD)).await;
                crew.start(worker)?;
                Ok(Some(format!("worker {worker} was killed")))
            }
            (FaultKind::Freeze, Site::Replicated(servers)) if self.rng.bool() => {
                self.freeze(servers).await
            }
            (FaultKind::Freeze, site) if site.can_freeze() && self.rng.bool() => {
                let pause = self.rng.u64(FROZEN);
                site.freeze().await?;
                sleep(pause).await;
                site.thaw().await?;
                Ok(Some(format!("the store stood still for {pause} ms")))
            }
            (FaultKind::Freeze, _) => {
                let pause = self.rng.u64(FROZEN);
                crew.freeze(worker);
                sleep(pause).await;
                crew.thaw(worker);
                Ok(Some(format!("worker {worker} stood still for {pause} ms")))
            }
            (FaultKind::Restart, site) => {
                site.stop().await?;
                sleep(self.rng.u64(STOPPED)).await;
                site.start_again().await?;
                Ok(Some("the store was killed and started again".to_owned()))
            }
            (FaultKind::Failover, Site::Replicated(servers)) => self.fail_over(servers).await,
            (FaultKind::Failover, _) => Err("there is nobody to take over".into()),
            (FaultKind::Cut, site) => self.cut(site).await,
        }
    }

    /// One of several servers stands still. Another may take over from it.
    async fn freeze(&mut self, servers: &mut Replicated) -> Result<Option<String>, Trouble> {
        if !servers.is_complete().await {
            return Ok(None);
        }
        let port = servers.any(&mut self.rng)?;
        let pause = self.rng.u64(FROZEN);
        servers.strike(port, Blow::Frozen).await?;
        sleep(pause).await;
        servers.heal(port, Blow::Frozen).await?;
        Ok(Some(format!("the server on port {port} stood still for {pause} ms")))
    }

    async fn fail_over(&mut self, servers: &mut Replicated) -> Result<Option<String>, Trouble> {
        if !servers.is_complete().await {
            return Ok(None);
        }
        let port = servers.primary(&mut self.rng).await?;
        let blow = if self.rng.bool() { Blow::Killed } else { Blow::Frozen };
        servers.strike(port, blow).await?;
        servers.succeeded(port).await?;
        sleep(self.rng.u64(SUCCEEDED)).await;
        servers.heal(port, blow).await?;
        let what = if blow == Blow::Killed { "was killed" } else { "stood still" };
        Ok(Some(format!("the primary on port {port} {what} until another had taken over")))
    }

    async fn cut(&mut self, site: &mut Site) -> Result<Option<String>, Trouble> {
        let (ports, of) = match site {
            Site::Replicated(servers) => {
                if !servers.is_complete().await {
                    return Ok(None);
                }
                let port = if self.rng.bool() {
                    servers.primary(&mut self.rng).await?
                } else {
                    servers.any(&mut self.rng)?
                };
                (servers.ports_of(port), format!("the server on port {port}"))
            }
            site => (site.ports()?, "the store".to_owned()),
        };
        let way = [Way::Requests, Way::Answers, Way::Both][self.rng.usize(..3)];
        let whose = if self.rng.u8(..3) == 0 { Whose::Some } else { Whose::All };
        let wire = self
            .wire
            .as_ref()
            .ok_or("nothing is cut outside of a network namespace of the run's own")?;
        let pause = self.rng.u64(CUT);
        wire.cut(&ports, way, whose)?;
        sleep(pause).await;
        wire.mend()?;
        let connections = if whose == Whose::Some { " of some connections" } else { "" };
        Ok(Some(format!("{way} {of}{connections} were lost for {pause} ms")))
    }
}

async fn sleep(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}
