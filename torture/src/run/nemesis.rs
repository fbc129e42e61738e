//! The nemesis: injects faults during a run. Jepsen uses the same word.

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

/// The pause between two faults, in milliseconds.
const PAUSE: std::ops::Range<u64> = 150..900;
/// The pause before the first fault if faults can cause elections, in milliseconds. The workers
/// must have made their first calls before an election.
const UNDISTURBED: u64 = 1_500;
/// How long a process is frozen, in milliseconds. The longest times exceed the deadline of a call.
const FROZEN: std::ops::Range<u64> = 100..2_800;
/// How long a killed store stays down, in milliseconds.
const DOWN: std::ops::Range<u64> = 50..900;
/// How long a former primary stays away after another server took over, in milliseconds.
const REPLACED: std::ops::Range<u64> = 50..1_500;
/// How long packets are dropped, in milliseconds. The longest times exceed the deadline of a call,
/// and the time after which a server counts as dead.
const CUT: std::ops::Range<u64> = 100..3_500;
/// How long a killed worker stays down, in milliseconds.
const DEAD: std::ops::Range<u64> = 0..200;

/// Injects faults in an order that the seed chooses.
#[derive(Debug)]
pub(super) struct Nemesis {
    rng: Rng,
    kinds: Vec<FaultKind>,
    /// The kinds that come once before any kind comes again.
    due: Vec<FaultKind>,
    filter: Option<PacketFilter>,
}

impl Nemesis {
    pub(super) fn new(seed: u64, faults: &Faults, filter: Option<PacketFilter>) -> Self {
        // The nemesis draws other numbers than the workers, although the seed is the same.
        let rng = Rng::with_seed(seed ^ 0x006e_656d_6573_6973);
        Self { rng, kinds: faults.0.iter().copied().collect(), due: Vec::new(), filter }
    }

    /// Injects faults until the given time. Afterwards all processes run, and the network is whole.
    pub(super) async fn run(
        &mut self,
        workers: &mut Workers<'_>,
        store: &mut TargetStore,
        until: u64,
    ) -> Result<Vec<Fault>, BoxError> {
        let mut done = Vec::new();
        loop {
            workers.check_running()?;
            let mut pause = self.rng.u64(PAUSE);
            if done.is_empty() && self.kinds.contains(&FaultKind::Failover) {
                pause = pause.max(UNDISTURBED);
            }
            let left = until.saturating_sub(now()) / 1_000_000;
            if left <= pause || self.kinds.is_empty() {
                // No further fault fits into the remaining time. The loop still watches the
                // workers.
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
                // The servers are not ready for this fault, so it comes later.
                self.due.insert(0, kind);
                continue;
            };
            done.push(Fault { begin, end: now(), crash: kind == FaultKind::Restart, what });
        }
    }

    /// Returns the next kind of fault.
    fn next(&mut self) -> Option<FaultKind> {
        if self.due.is_empty() {
            self.due.clone_from(&self.kinds);
            self.rng.shuffle(&mut self.due);
        }
        self.due.pop()
    }

    /// Injects a fault and describes it. Returns `None` if the servers have not yet recovered from
    /// the previous fault, because both together would be another fault.
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
                Ok(Some(format!("the store was frozen for {pause} ms")))
            }
            (FaultKind::Freeze, _) => {
                let pause = self.rng.u64(FROZEN);
                workers.freeze(worker);
                sleep(pause).await;
                workers.thaw(worker);
                Ok(Some(format!("worker {worker} was frozen for {pause} ms")))
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
            (FaultKind::Failover, _) => Err("no other server can take over".into()),
            (FaultKind::Cut, store) => self.cut(store).await,
        }
    }

    /// Freezes one of several servers. Another server may take over from it.
    async fn freeze(
        &mut self,
        servers: &mut ReplicatedServers,
    ) -> Result<Option<String>, BoxError> {
        if !servers.is_complete().await {
            return Ok(None);
        }
        let port = servers.any_server(&mut self.rng)?;
        let pause = self.rng.u64(FROZEN);
        servers.inject(port, Outage::Frozen).await?;
        sleep(pause).await;
        servers.recover(port, Outage::Frozen).await?;
        Ok(Some(format!("the server on port {port} was frozen for {pause} ms")))
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
        let what = if outage == Outage::Killed { "was killed" } else { "was frozen" };
        Ok(Some(format!("the primary on port {port} {what} until another server had taken over")))
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
                    servers.any_server(&mut self.rng)?
                };
                (servers.ports_of(port), format!("the server on port {port}"))
            }
            store => (store.ports()?, "the store".to_owned()),
        };
        let direction =
            [Direction::Requests, Direction::Answers, Direction::Both][self.rng.usize(..3)];
        let connections = if self.rng.u8(..3) == 0 { Connections::Some } else { Connections::All };
        let filter =
            self.filter.as_ref().ok_or("nothing is cut: the run has no network namespace")?;
        let pause = self.rng.u64(CUT);
        filter.cut(&ports, direction, connections)?;
        sleep(pause).await;
        filter.restore()?;
        let connections =
            if connections == Connections::Some { " of some connections" } else { "" };
        Ok(Some(format!("{direction} {of}{connections} were dropped for {pause} ms")))
    }
}

async fn sleep(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}
