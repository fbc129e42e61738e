//! Who disturbs a run.

use std::time::Duration;

use fastrand::Rng;

use super::{
    FaultKind, Faults, ReplicatedServers, TargetStore,
    downtime::Outage,
    error::BoxError,
    packet_filter::{Connections, Direction, PacketFilter},
    workers::Workers,
};
use crate::history::{Fault, now};

/// Between two faults, in milliseconds.
const PAUSE: std::ops::Range<u64> = 150..900;
/// Before the first fault where primaries get successors: no election may come before the workers'
/// first calls.
const UNDISTURBED: u64 = 1_500;
/// How long who stands still does so: at times for longer than a call may take.
const FROZEN: std::ops::Range<u64> = 100..2_800;
/// How long a store that was stopped stays so.
const DOWN: std::ops::Range<u64> = 50..900;
/// How long a primary stays away after another one took over.
const REPLACED: std::ops::Range<u64> = 50..1_500;
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
    /// Those connections turn comes before any comes again.
    due: Vec<FaultKind>,
    filter: Option<PacketFilter>,
}

impl Nemesis {
    pub(super) fn new(seed: u64, faults: &Faults, filter: Option<PacketFilter>) -> Self {
        // Its draws are none of a worker's.
        let rng = Rng::with_seed(seed ^ 0x006e_656d_6573_6973);
        Self { rng, kinds: faults.0.iter().copied().collect(), due: Vec::new(), filter }
    }

    /// Disturbs until the time is over. When it returns all processes run, and the network is
    /// whole.
    pub(super) async fn run(
        &mut self,
        workers: &mut Workers<'_>,
        store: &mut TargetStore,
        until: u64,
    ) -> Result<Vec<Fault>, BoxError> {
        let mut done = Vec::new();
        loop {
            workers.watch()?;
            let mut pause = self.rng.u64(PAUSE);
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
            let Some(what) = self.inject(kind, workers, store).await? else {
                // It is not its time yet.
                self.due.insert(0, kind);
                continue;
            };
            done.push(Fault { begin, end: now(), crash: kind == FaultKind::Restart, what });
        }
    }

    /// The kind connections turn it is.
    fn next(&mut self) -> Option<FaultKind> {
        if self.due.is_empty() {
            self.due.clone_from(&self.kinds);
            self.rng.shuffle(&mut self.due);
        }
        self.due.pop()
    }

    /// Disturbs, and says what was done. `None` if servers have not yet recovered from what was
    /// done before, so that it would be another fault than is meant.
    async fn inject(
        &mut self,
        kind: FaultKind,
        workers: &mut Workers<'_>,
        store: &mut TargetStore,
    ) -> Result<Option<String>, BoxError> {
        let worker = self.rng.usize(..workers.len());
        match (kind, store) {
            (FaultKind::Kill, _) => {
                workers.kill(worker);
                sleep(self.rng.u64(DEAD)).await;
                workers.start(worker)?;
                Ok(Some(format!("worker {worker} was killed")))
            }
            (FaultKind::Freeze, TargetStore::Replicated(servers)) if self.rng.bool() => {
                self.freeze(servers).await
            }
            (FaultKind::Freeze, store) if store.can_freeze() && self.rng.bool() => {
                let pause = self.rng.u64(FROZEN);
                store.freeze().await?;
                sleep(pause).await;
                store.thaw().await?;
                Ok(Some(format!("the store stood still for {pause} ms")))
            }
            (FaultKind::Freeze, _) => {
                let pause = self.rng.u64(FROZEN);
                workers.freeze(worker);
                sleep(pause).await;
                workers.thaw(worker);
                Ok(Some(format!("worker {worker} stood still for {pause} ms")))
            }
            (FaultKind::Restart, store) => {
                store.stop().await?;
                sleep(self.rng.u64(DOWN)).await;
                store.start_again().await?;
                Ok(Some("the store was killed and started again".to_owned()))
            }
            (FaultKind::Failover, TargetStore::Replicated(servers)) => {
                self.fail_over(servers).await
            }
            (FaultKind::Failover, _) => Err("there is nobody to take over".into()),
            (FaultKind::Cut, store) => self.cut(store).await,
        }
    }

    /// One of several servers stands still. Another may take over from it.
    async fn freeze(
        &mut self,
        servers: &mut ReplicatedServers,
    ) -> Result<Option<String>, BoxError> {
        if !servers.is_complete().await {
            return Ok(None);
        }
        let port = servers.any(&mut self.rng)?;
        let pause = self.rng.u64(FROZEN);
        servers.inject(port, Outage::Frozen).await?;
        sleep(pause).await;
        servers.recover(port, Outage::Frozen).await?;
        Ok(Some(format!("the server on port {port} stood still for {pause} ms")))
    }

    async fn fail_over(
        &mut self,
        servers: &mut ReplicatedServers,
    ) -> Result<Option<String>, BoxError> {
        if !servers.is_complete().await {
            return Ok(None);
        }
        let port = servers.primary(&mut self.rng).await?;
        let outage = if self.rng.bool() { Outage::Killed } else { Outage::Frozen };
        servers.inject(port, outage).await?;
        servers.wait_for_successor(port).await?;
        sleep(self.rng.u64(REPLACED)).await;
        servers.recover(port, outage).await?;
        let what = if outage == Outage::Killed { "was killed" } else { "stood still" };
        Ok(Some(format!("the primary on port {port} {what} until another had taken over")))
    }

    async fn cut(&mut self, store: &mut TargetStore) -> Result<Option<String>, BoxError> {
        let (ports, of) = match store {
            TargetStore::Replicated(servers) => {
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
            store => (store.ports()?, "the store".to_owned()),
        };
        let direction =
            [Direction::Requests, Direction::Answers, Direction::Both][self.rng.usize(..3)];
        let connections = if self.rng.u8(..3) == 0 { Connections::Some } else { Connections::All };
        let filter = self
            .filter
            .as_ref()
            .ok_or("nothing is cut outside of a network namespace of the run's own")?;
        let pause = self.rng.u64(CUT);
        filter.cut(&ports, direction, connections)?;
        sleep(pause).await;
        filter.restore()?;
        let connections =
            if connections == Connections::Some { " of some connections" } else { "" };
        Ok(Some(format!("{direction} {of}{connections} were lost for {pause} ms")))
    }
}

async fn sleep(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}
