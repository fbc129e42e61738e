//! Measures the memory of a session in a [`MemoryStore`], and the time of a call with few and with
//! many sessions.
//!
//! Run it on Linux, because it reads the resident memory from `/proc`:
//! `cargo run --release -p session-core --example memory_footprint [-- SESSIONS]`.
#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "this program prints measurements"
)]

use std::{
    error::Error,
    fs,
    hint::black_box,
    process::Command,
    time::{Duration, Instant},
};

use session_core::{
    Change, Commit, Data, Json, ManualClock, MemoryStore, Name, NewRecord, Outcome, Principal,
    SecretHash, SessionId, SessionStore, StoreKey,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const LONG: Duration = Duration::from_secs(86_400);
/// The number of expired sessions that one measured purge removes.
const EXPIRED: usize = 1_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let many = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    match arguments.next().as_deref() {
        None => {}
        Some("anonymous") => return memory(many, Kind::Anonymous).await,
        Some("signed-in") => return memory(many, Kind::SignedIn).await,
        Some(other) => {
            return Err(
                format!("unknown kind of session {other:?}: use anonymous or signed-in").into()
            );
        }
    }
    // Memory that a process returns to its allocator stays resident, so each measurement runs in
    // its own process.
    for kind in ["anonymous", "signed-in"] {
        let status =
            Command::new(std::env::current_exe()?).args([&many.to_string(), kind]).status()?;
        if !status.success() {
            return Err(format!("the measurement of {kind} sessions failed: {status}").into());
        }
    }
    println!("sessions    load ns   add ns   touch ns   purge of {EXPIRED} expired, µs");
    for sessions in [1_000, many] {
        times(sessions).await?;
    }
    Ok(())
}

/// The kind of the measured sessions.
enum Kind {
    Anonymous,
    SignedIn,
}

/// A session with one small value.
fn session(id: &SessionId) -> Result<NewRecord> {
    let data: Data = [(Name::new("count")?, Json::integer(0))].into_iter().collect();
    Ok(NewRecord::new(id.secret_hash(), LONG).data(data))
}

async fn memory(sessions: usize, kind: Kind) -> Result<()> {
    let store = MemoryStore::builder().max_bytes(usize::MAX).build();
    let before = resident()?;
    for at in 0..sessions {
        let id = SessionId::random()?;
        let mut new = session(&id)?;
        if let Kind::SignedIn = kind {
            new = new.principal(Principal::new(format!("user-{at}"))?);
        }
        let _ = store.create(&id.key(), new).await?;
    }
    let bytes = resident()?.saturating_sub(before) / sessions.max(1);
    let counted = store.held_bytes() / sessions.max(1);
    let kind = if let Kind::SignedIn = kind { "signed-in" } else { "anonymous" };
    println!(
        "{sessions} {kind} sessions with one small value: {bytes} resident bytes per session, \
         {counted} counted by the store"
    );
    Ok(())
}

async fn times(sessions: usize) -> Result<()> {
    let clock = ManualClock::new();
    let store = MemoryStore::builder().max_bytes(usize::MAX).clock(clock.clone()).build();
    let mut ids = Vec::with_capacity(sessions);
    for _ in 0..sessions {
        let id = SessionId::random()?;
        let _ = store.create(&id.key(), session(&id)?).await?;
        ids.push((id.key(), id.secret_hash()));
    }
    fastrand::shuffle(&mut ids);
    let load = median_time(&ids, async |key, _| {
        store.load(key).await.map(|record| drop(black_box(record))).map_err(Into::into)
    })
    .await?;
    let name = Name::new("count")?;
    let add = median_time(&ids, async |key, secret| {
        commit(&store, key, Commit::new(secret).change(name.clone(), Change::Add(1))).await
    })
    .await?;
    let touch = median_time(&ids, async |key, secret| {
        clock.advance(Duration::from_micros(1));
        commit(&store, key, Commit::new(secret).ttl(LONG)).await
    });
    let touch = touch.await?;
    let purge = purge(&store, &clock).await?;
    println!(
        "{sessions:>9}  {load:>8.0}  {add:>7.0}  {touch:>9.0}   {:.0}",
        purge.as_secs_f64() * 1e6
    );
    Ok(())
}

async fn commit(store: &MemoryStore, key: &StoreKey, commit: Commit) -> Result<()> {
    match store.commit(key, commit).await? {
        Outcome::Done(_) => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

/// The median of the mean times of many rounds, in nanoseconds.
async fn median_time(
    ids: &[(StoreKey, SecretHash)],
    call: impl AsyncFn(&StoreKey, SecretHash) -> Result<()>,
) -> Result<f64> {
    let mut means = Vec::new();
    for round in ids.chunks(1_000).cycle().take(200) {
        // As in a request, the key was created just before and is in the cache of the processor.
        let round: Vec<_> = round
            .iter()
            .map(|(key, secret)| (StoreKey::from_text(key.as_str()), *secret))
            .collect();
        let started = Instant::now();
        for (key, secret) in &round {
            call(key, *secret).await?;
        }
        means.push(started.elapsed().as_nanos() as f64 / round.len() as f64);
    }
    means.sort_unstable_by(f64::total_cmp);
    Ok(means[means.len() / 2])
}

async fn purge(store: &MemoryStore, clock: &ManualClock) -> Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..10 {
        for _ in 0..EXPIRED {
            let id = SessionId::random()?;
            let _ = store
                .create(&id.key(), NewRecord::new(id.secret_hash(), Duration::from_secs(1)))
                .await?;
        }
        clock.advance(Duration::from_secs(1));
        let started = Instant::now();
        assert_eq!(store.delete_expired(10 * EXPIRED).await?, EXPIRED as u64);
        best = best.min(started.elapsed());
    }
    Ok(best)
}

/// The resident memory of this process, in bytes.
fn resident() -> Result<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("no VmRSS in /proc/self/status")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<usize>()? * 1024)
}
