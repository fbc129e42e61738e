//! Measures what a session costs a [`MemoryStore`]: memory, and the time of a call among few and
//! among many.
//!
//! `cargo run --release -p session-core --example memory_footprint [-- SESSIONS]`, on Linux, where
//! `/proc` tells the resident memory.
#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a program that prints measurements"
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
/// How many expired sessions one measured purge takes out.
const EXPIRED: usize = 1_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let many = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    match arguments.next().as_deref() {
        None => {}
        Some("anonymous") => return memory(many, Who::Anonymous).await,
        Some("signed-in") => return memory(many, Who::SignedIn).await,
        Some(other) => return Err(format!("{other:?} is neither anonymous nor signed-in").into()),
    }
    // Memory that a process gave back to its allocator stays resident, so that each measurement
    // takes a process of its own.
    for who in ["anonymous", "signed-in"] {
        Command::new(std::env::current_exe()?).args([&many.to_string(), who]).status()?;
    }
    println!("sessions    load ns   add ns   touch ns   purge of {EXPIRED} expired, µs");
    for sessions in [1_000, many] {
        times(sessions).await?;
    }
    Ok(())
}

enum Who {
    Anonymous,
    SignedIn,
}

/// A session with one small value.
fn session(id: &SessionId) -> Result<NewRecord> {
    let data: Data = [(Name::new("count")?, Json::integer(0))].into_iter().collect();
    Ok(NewRecord::new(id.secret_hash(), LONG).data(data))
}

async fn memory(sessions: usize, who: Who) -> Result<()> {
    let store = MemoryStore::new();
    let before = resident()?;
    for at in 0..sessions {
        let id = SessionId::random()?;
        let mut new = session(&id)?;
        if let Who::SignedIn = who {
            new = new.principal(Principal::new(format!("user-{at}"))?);
        }
        let _ = store.create(&id.key(), new).await?;
    }
    let taken = resident()?.saturating_sub(before) / sessions.max(1);
    let counted = store.held_bytes() / sessions.max(1);
    let who = if let Who::SignedIn = who { "signed-in" } else { "anonymous" };
    println!(
        "{sessions} {who} sessions with one small value: {taken} bytes resident a session, {counted} by the store's own count"
    );
    Ok(())
}

async fn times(sessions: usize) -> Result<()> {
    let clock = ManualClock::new();
    let store = MemoryStore::builder().clock(clock.clone()).build();
    let mut ids = Vec::with_capacity(sessions);
    for _ in 0..sessions {
        let id = SessionId::random()?;
        let _ = store.create(&id.key(), session(&id)?).await?;
        ids.push((id.key(), id.secret_hash()));
    }
    fastrand::shuffle(&mut ids);
    let load = typical(&ids, async |key, _| {
        store.load(key).await.map(|record| drop(black_box(record))).map_err(Into::into)
    })
    .await?;
    let name = Name::new("count")?;
    let add = typical(&ids, async |key, secret| {
        commit(&store, key, Commit::new(secret).change(name.clone(), Change::Add(1))).await
    })
    .await?;
    let touch = typical(&ids, async |key, secret| {
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

/// The median over many rounds of the mean of a round, in nanoseconds.
async fn typical(
    ids: &[(StoreKey, SecretHash)],
    call: impl AsyncFn(&StoreKey, SecretHash) -> Result<()>,
) -> Result<f64> {
    let mut means = Vec::new();
    for round in ids.chunks(1_000).cycle().take(200) {
        // As in a request, the key that is asked for was made just before and is in the processor's
        // cache.
        let round: Vec<_> = round
            .iter()
            .map(|(key, secret)| (StoreKey::from_text(key.as_str()), *secret))
            .collect();
        let begun = Instant::now();
        for (key, secret) in &round {
            call(key, *secret).await?;
        }
        means.push(begun.elapsed().as_nanos() as f64 / round.len() as f64);
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
        let begun = Instant::now();
        assert_eq!(store.delete_expired(10 * EXPIRED).await?, EXPIRED as u64);
        best = best.min(begun.elapsed());
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
