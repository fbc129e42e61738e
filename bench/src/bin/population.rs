//! Whether a session among a million costs more than one among a thousand, through `store-ipc` over
//! a store in memory.
//!
//! `cargo run --release -p bench --bin population [-- SESSIONS]`, on Linux, where `/proc` tells the
//! resident memory. Two owners run in this process, each on a thread of its own; they are asked in
//! turn, so that what else the machine does weighs on both alike.
#![expect(clippy::print_stdout, reason = "a program that prints measurements")]

use std::{
    error::Error,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bench::{Beside, time_of_each};
use session_core::{
    Change, Commit, Data, Json, ManualClock, MemoryStore, Name, NewRecord, Outcome, SecretHash,
    SessionId, SessionStore, StoreKey,
};
use store_ipc::{Config, IpcStore, Owner, OwnerHandle};

type Failure = Box<dyn Error>;

/// The hash of the secret of every session here.
const SECRET: SecretHash = SecretHash::from_bytes([7; SecretHash::BYTES]);
const FEW: usize = 1_000;
/// Calls in flight, as of a busy worker; they share wake-ups and system calls.
const IN_FLIGHT: usize = 64;
/// Calls that make one measured round.
const ROUND: usize = 64 * IN_FLIGHT;
const ROUNDS: usize = 60;
/// How many expired sessions one measured sweep takes out.
const EXPIRED: u64 = 10;
const LONG: Duration = Duration::from_hours(24);

fn main() -> Result<(), Failure> {
    let many = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(compare(many))
}

async fn compare(many: usize) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let few = Population::new(FEW, &folder.path().join("few.sock")).await?;
    let before = resident()?;
    let many = Population::new(many, &folder.path().join("many.sock")).await?;
    let taken = resident()?.saturating_sub(before + many.keys.capacity() * size_of::<StoreKey>());
    let sessions = many.keys.len();
    println!(
        "{sessions} sessions of {} bytes, key and value: {} bytes resident a session",
        many.bytes,
        taken / sessions
    );

    println!("µs a call    {FEW:>10} {sessions:>10}   ratio");
    report("load, alone", &few, &many, async |population| population.loads(1).await).await?;
    report("load", &few, &many, async |population| population.loads(IN_FLIGHT).await).await?;
    report("add, alone", &few, &many, async |population| population.adds(1).await).await?;
    report("add", &few, &many, async |population| population.adds(IN_FLIGHT).await).await?;
    report("touch, alone", &few, &many, async |population| population.touches(1).await).await?;
    report("touch", &few, &many, async |population| population.touches(IN_FLIGHT).await).await?;
    report("sweep", &few, &many, async |population| population.sweep().await).await
}

/// Prints what `measure` says of both.
async fn report(
    name: &str,
    few: &Population,
    many: &Population,
    measure: impl AsyncFn(&Population) -> Result<f64, Failure>,
) -> Result<(), Failure> {
    let Beside { few, many, ratio } = Beside::measured(ROUNDS, few, many, measure).await?;
    println!("{name:<12} {few:>10.2} {many:>10.2}   {ratio:.2}");
    Ok(())
}

/// So many sessions in an owner, and a client.
struct Population {
    keys: Vec<StoreKey>,
    /// Of the key and the data of one session.
    bytes: usize,
    clock: ManualClock,
    client: IpcStore,
    /// Serves as long as it lives.
    _owner: OwnerHandle,
}

impl Population {
    async fn new(sessions: usize, path: &Path) -> Result<Self, Failure> {
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

    /// The microseconds that one of many loads takes.
    async fn loads(&self, in_flight: usize) -> Result<f64, Failure> {
        self.round(in_flight, async |key| match self.client.load(key).await? {
            Some(_) => Ok(()),
            None => Err("a session is gone".into()),
        })
        .await
    }

    /// The microseconds that one of many adds takes.
    async fn adds(&self, in_flight: usize) -> Result<f64, Failure> {
        let name = Name::new("n")?;
        self.round(in_flight, async |key| {
            self.commit(key, Commit::new(SECRET).change(name.clone(), Change::Add(1))).await
        })
        .await
    }

    /// The microseconds that extending one of many lives takes.
    async fn touches(&self, in_flight: usize) -> Result<f64, Failure> {
        self.clock.advance(Duration::from_secs(1));
        self.round(in_flight, async |key| self.commit(key, Commit::new(SECRET).ttl(LONG)).await)
            .await
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<(), Failure> {
        match self.client.commit(key, commit).await? {
            Outcome::Done(_) => Ok(()),
            other => Err(format!("a session is {other:?}").into()),
        }
    }

    async fn round(
        &self,
        in_flight: usize,
        call: impl AsyncFn(&StoreKey) -> Result<(), Failure>,
    ) -> Result<f64, Failure> {
        // As in a request, each key was made just before it is used: what is measured is where the
        // owner finds it.
        let drawn = || StoreKey::from_text(self.keys[fastrand::usize(..self.keys.len())].as_str());
        let drawn: Vec<StoreKey> = (0..ROUND).map(|_| drawn()).collect();
        time_of_each(&drawn, in_flight, call).await
    }

    /// The microseconds that it takes to purge a few expired sessions.
    async fn sweep(&self) -> Result<f64, Failure> {
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
            return Err(format!("{purged} sessions were purged, {EXPIRED} had expired").into());
        }
        Ok(start.elapsed().as_secs_f64() * 1e6)
    }
}

/// The resident memory of this process, in bytes.
fn resident() -> Result<usize, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("no VmRSS in /proc/self/status")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<usize>()? * 1024)
}
