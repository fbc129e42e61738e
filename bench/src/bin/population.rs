//! Measures whether a call takes longer with a million sessions in the store than with a thousand,
//! through `store-ipc` over a store in memory.
//!
//! `cargo run --release -p bench --bin population [-- SESSIONS]`. It needs Linux, because it reads
//! the resident memory from `/proc`. Two owners run in this process, each on its own thread. The
//! program calls them in turn, so other work on the machine affects both.
#![expect(clippy::print_stdout, reason = "a program that prints measurements")]

use std::{
    error::Error,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bench::{SideBySide, expect_done, micros_per_call};
use session_core::{
    Change, Commit, Data, Json, ManualClock, MemoryStore, Name, NewRecord, SecretHash, SessionId,
    SessionStore, StoreKey,
};
use store_ipc::{Config, IpcStore, Owner, OwnerHandle};

type BoxError = Box<dyn Error>;

/// The hash of the secret of every session.
const SECRET: SecretHash = SecretHash::from_bytes([7; SecretHash::BYTES]);
const FEW: usize = 1_000;
/// Calls in flight, as in a busy worker. They share wake-ups and system calls.
const IN_FLIGHT: usize = 64;
/// Calls in a measured round.
const ROUND: usize = 64 * IN_FLIGHT;
const ROUNDS: usize = 60;
/// Expired sessions that a measured sweep removes.
const EXPIRED: u64 = 10;
const LONG: Duration = Duration::from_hours(24);

fn main() -> Result<(), BoxError> {
    let many = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(compare(many))
}

async fn compare(many: usize) -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let few = Population::new(FEW, &folder.path().join("few.sock")).await?;
    let before = resident()?;
    let many = Population::new(many, &folder.path().join("many.sock")).await?;
    let taken = resident()?.saturating_sub(before + many.keys.capacity() * size_of::<StoreKey>());
    let sessions = many.keys.len();
    println!(
        "{sessions} sessions of {} bytes, key and value: {} bytes resident per session",
        many.bytes,
        taken / sessions
    );

    println!("µs per call  {FEW:>10} {sessions:>10}   ratio");
    report("load, alone", &few, &many, async |population| population.loads(1).await).await?;
    report("load", &few, &many, async |population| population.loads(IN_FLIGHT).await).await?;
    report("add, alone", &few, &many, async |population| population.adds(1).await).await?;
    report("add", &few, &many, async |population| population.adds(IN_FLIGHT).await).await?;
    report("touch, alone", &few, &many, async |population| population.touches(1).await).await?;
    report("touch", &few, &many, async |population| population.touches(IN_FLIGHT).await).await?;
    report("sweep", &few, &many, async |population| population.sweep().await).await
}

/// Measures both populations and prints the result.
async fn report(
    name: &str,
    few: &Population,
    many: &Population,
    measure: impl AsyncFn(&Population) -> Result<f64, BoxError>,
) -> Result<(), BoxError> {
    let SideBySide { few, many, ratio } = SideBySide::measure(ROUNDS, few, many, measure).await?;
    println!("{name:<12} {few:>10.2} {many:>10.2}   {ratio:.2}");
    Ok(())
}

/// An owner with sessions, and a client of it.
struct Population {
    keys: Vec<StoreKey>,
    /// The size of the key and the data of one session.
    bytes: usize,
    clock: ManualClock,
    client: IpcStore,
    /// Dropping it stops the owner.
    _owner: OwnerHandle,
}

impl Population {
    async fn new(sessions: usize, path: &Path) -> Result<Self, BoxError> {
        let clock = ManualClock::new();
        let store =
            Arc::new(MemoryStore::builder().max_bytes(usize::MAX).clock(clock.clone()).build());
        let data: Data = [(Name::new("n")?, Json::integer(1))].into_iter().collect();
        let mut keys = Vec::with_capacity(sessions);
        for _ in 0..sessions {
            let key = SessionId::random()?.key();
            let _ = store.create(&key, NewRecord::new(SECRET, LONG).data(data.clone())).await?;
            keys.push(key);
        }
        let owner = Owner::builder(store).build()?.spawn_thread()?;
        owner.listen(path)?;
        let client = IpcStore::connect_with(&Config::new(path))?;
        let bytes = keys.first().map_or(0, |key| key.as_str().len()) + data.bytes();
        Ok(Self { keys, bytes, clock, client, _owner: owner })
    }

    /// The time of a load in microseconds.
    async fn loads(&self, in_flight: usize) -> Result<f64, BoxError> {
        self.round(in_flight, async |key| match self.client.load(key).await? {
            Some(_) => Ok(()),
            None => Err("a session is missing".into()),
        })
        .await
    }

    /// The time of an add in microseconds.
    async fn adds(&self, in_flight: usize) -> Result<f64, BoxError> {
        let name = Name::new("n")?;
        self.round(in_flight, async |key| {
            self.commit(key, Commit::new(SECRET).change(name.clone(), Change::Add(1))).await
        })
        .await
    }

    /// The time of an extension of the lifetime in microseconds.
    async fn touches(&self, in_flight: usize) -> Result<f64, BoxError> {
        self.clock.advance(Duration::from_secs(1));
        self.round(in_flight, async |key| self.commit(key, Commit::new(SECRET).ttl(LONG)).await)
            .await
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<(), BoxError> {
        expect_done(self.client.commit(key, commit).await?)
    }

    async fn round(
        &self,
        in_flight: usize,
        call: impl AsyncFn(&StoreKey) -> Result<(), BoxError>,
    ) -> Result<f64, BoxError> {
        // Each key is a new value, as in a request. So the key is in the cache of the processor,
        // and only the owner has to find the session in memory.
        let drawn = || StoreKey::from_text(self.keys[fastrand::usize(..self.keys.len())].as_str());
        let drawn: Vec<StoreKey> = (0..ROUND).map(|_| drawn()).collect();
        micros_per_call(&drawn, in_flight, call).await
    }

    /// The time of the removal of [`EXPIRED`] expired sessions in microseconds.
    async fn sweep(&self) -> Result<f64, BoxError> {
        for _ in 0..EXPIRED {
            let _ = self
                .client
                .create(&SessionId::random()?.key(), NewRecord::new(SECRET, Duration::from_secs(1)))
                .await?;
        }
        self.clock.advance(Duration::from_secs(1));
        let start = Instant::now();
        let purged = self.client.delete_expired(1_000).await?;
        if purged != EXPIRED {
            return Err(format!("the sweep removed {purged} sessions instead of {EXPIRED}").into());
        }
        Ok(start.elapsed().as_secs_f64() * 1e6)
    }
}

/// The resident memory of this process, in bytes.
fn resident() -> Result<usize, BoxError> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("no VmRSS in /proc/self/status")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<usize>()? * 1024)
}
