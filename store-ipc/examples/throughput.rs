//! Measures how many calls per second go through one owner, and how long each takes.
//!
//! ```text
//! cargo run --release -p store-ipc --example throughput -- --clients 2 --in-flight 64
//! ```
//! The owner runs on its own thread in this process. Each client is a process with a current-thread
//! runtime, or a thread with `--threads`. It keeps `--in-flight` calls waiting for `--seconds`, on
//! `--sessions` sessions that only it uses.
#![expect(clippy::print_stdout, reason = "the program prints its results")]

use std::{
    error::Error,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use clap::{Parser, ValueEnum};
use session_core::{
    Change, Commit, Data, Json, MemoryStore, Name, NewRecord, SecretHash, SessionId, SessionStore,
    StoreKey,
};
use store_ipc::{Config, IpcStore, Owner};

/// The secret hash of every session in this file.
const SECRET: SecretHash = SecretHash::from_bytes([7; SecretHash::BYTES]);

type BoxError = Box<dyn Error + Send + Sync>;

#[derive(Parser, Clone)]
struct Options {
    /// Number of clients.
    #[arg(long, default_value_t = 2)]
    clients: usize,
    /// Number of calls that each client keeps in flight.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Duration of each measurement, in seconds.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Number of sessions of each client.
    #[arg(long, default_value_t = 500)]
    sessions: usize,
    /// Run clients as threads of this process.
    #[arg(long)]
    threads: bool,
    /// Run the client's I/O task on another thread, as if that thread had made the first call.
    #[arg(long)]
    io_thread: bool,
    /// Run only this measurement.
    #[arg(long)]
    only: Option<Kind>,
    /// Run as a client of the owner at this path and print the latencies.
    #[arg(long, hide = true)]
    client: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Load,
    Commit,
    LoadCommit,
}

fn main() -> Result<(), BoxError> {
    let options = Options::parse();
    if let (Some(path), Some(kind)) = (&options.client, options.only) {
        let latencies = client(path, kind, &options)?;
        let text: Vec<String> = latencies.iter().map(u32::to_string).collect();
        println!("{}", text.join(" "));
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("owner.sock");
    let owner = Owner::builder(Arc::new(MemoryStore::new())).build()?.spawn_thread()?;
    owner.listen(&path)?;
    println!(
        "clients {} in flight {} each, {} s",
        options.clients, options.in_flight, options.seconds
    );
    for kind in [Kind::Load, Kind::Commit, Kind::LoadCommit] {
        if options.only.is_none_or(|only| only == kind) {
            measure(&path, kind, &options)?;
        }
    }
    println!("{:?}", owner.stats());
    owner.shutdown();
    Ok(())
}

fn measure(path: &Path, kind: Kind, options: &Options) -> Result<(), BoxError> {
    let runs: Vec<_> = (0..options.clients)
        .map(|_| {
            let (path, options) = (path.to_owned(), options.clone());
            std::thread::spawn(move || {
                if options.threads {
                    client(&path, kind, &options)
                } else {
                    client_process(&path, kind, &options)
                }
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for run in runs {
        latencies.extend(run.join().map_err(|_| "a client panicked")??);
    }
    latencies.sort_unstable();
    let quantile = |percent: usize| {
        latencies.get(latencies.len() * percent / 100).copied().unwrap_or_default()
    };
    let rate = latencies.len() as u64 / options.seconds.max(1);
    println!("{kind:?}: {rate}/s, p50 {} µs, p99 {} µs", quantile(50), quantile(99));
    Ok(())
}

fn client_process(path: &Path, kind: Kind, options: &Options) -> Result<Vec<u32>, BoxError> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("--client")
        .arg(path)
        .arg("--only")
        .arg(kind.to_possible_value().ok_or("the measurement has no name")?.get_name());
    command.args([
        "--in-flight",
        &options.in_flight.to_string(),
        "--sessions",
        &options.sessions.to_string(),
    ]);
    command.args(["--seconds", &options.seconds.to_string()]);
    if options.io_thread {
        command.arg("--io-thread");
    }
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    String::from_utf8(output.stdout)?.split_whitespace().map(|text| Ok(text.parse()?)).collect()
}

/// The latency of each call in microseconds.
fn client(path: &Path, kind: Kind, options: &Options) -> Result<Vec<u32>, BoxError> {
    let max_in_flight = NonZeroUsize::new(options.in_flight.max(1)).ok_or("no calls in flight")?;
    let store = IpcStore::connect_with(&Config::new(path).max_in_flight(max_in_flight))?;
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    if options.io_thread {
        // The I/O task runs on the runtime of the first call.
        let (elsewhere, ping) = (runtime()?, store.clone());
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            elsewhere.block_on(async {
                let _ = sender.send(ping.ping().await);
                std::future::pending::<()>().await;
            });
        });
        receiver.recv()??;
    }
    runtime()?.block_on(async {
        let keys = Arc::new(sessions(&store, options.sessions).await?);
        let end = Instant::now() + Duration::from_secs(options.seconds);
        let loops: Vec<_> = (0..options.in_flight)
            .map(|first| tokio::spawn(calls(store.clone(), kind, Arc::clone(&keys), first, end)))
            .collect();
        let mut latencies = Vec::new();
        for each in loops {
            latencies.extend(each.await??);
        }
        Ok(latencies)
    })
}

async fn calls(
    store: IpcStore,
    kind: Kind,
    keys: Arc<Vec<StoreKey>>,
    first: usize,
    end: Instant,
) -> Result<Vec<u32>, BoxError> {
    let name = Name::new("count")?;
    let mut latencies = Vec::new();
    for key in keys.iter().cycle().skip(first) {
        let start = Instant::now();
        if start >= end {
            break;
        }
        if kind != Kind::Commit {
            store.load(key).await?.ok_or("a session is missing")?;
        }
        if kind != Kind::Load {
            let _ =
                store.commit(key, Commit::new(SECRET).change(name.clone(), Change::Add(1))).await?;
        }
        latencies.push(u32::try_from(start.elapsed().as_micros())?);
    }
    Ok(latencies)
}

async fn sessions(store: &IpcStore, count: usize) -> Result<Vec<StoreKey>, BoxError> {
    let mut keys = Vec::new();
    for _ in 0..count {
        let key = SessionId::random()?.key();
        let data: Data =
            [(Name::new("count")?, Json::integer(0)), (Name::new("theme")?, Json::encode("dark")?)]
                .into_iter()
                .collect();
        let _ = store
            .create(&key, NewRecord::new(SECRET, Duration::from_secs(3_600)).data(data))
            .await?;
        keys.push(key);
    }
    Ok(keys)
}
