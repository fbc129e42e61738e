//! What is said on the command line, and what is said back.

use std::{error::Error, num::NonZeroU64, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use tokio::runtime::Builder;
use torture::{
    check::{Verdict, check, describe, describe_undone},
    history::History,
    run::{
        FaultKind, Faults, Options, PlantedBug, Summary, check_faults, enter_namespace, run,
        run_owner, run_worker,
    },
};

/// How many violations are shown, and how much of what was undone; the file has them all.
const SHOWN: usize = 5;

/// Proves the laws of the session stores from outside, under faults.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs workers on a store, disturbs them, and checks what happened. Ends with 1 if the store
    /// broke a law.
    Run {
        /// ipc, sqlite, redis, mongo, postgres, mariadb, redis-sentinel, redis-cluster, mongo-set:
        /// one of our own; or the URL of a store.
        #[arg(long)]
        store: String,
        /// How long calls are made.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// How many worker processes.
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
        workers: u16,
        /// How many clients in each of them.
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
        clients: u16,
        /// What chooses calls and faults; drawn if left out.
        #[arg(long)]
        seed: Option<u64>,
        /// Of kill, freeze, restart, failover and cut; or none.
        #[arg(long, default_value = "kill,freeze")]
        faults: Faults,
        /// A mistake to plant in the store, to see it found.
        #[arg(long)]
        plant: Option<PlantedBug>,
        /// By how many milliseconds the store's clock may differ from ours.
        #[arg(long, default_value = "250")]
        tolerance_ms: NonZeroU64,
        /// Where the history of a violation goes.
        #[arg(long, default_value = ".")]
        keep: PathBuf,
        /// Keeps the history in any case.
        #[arg(long)]
        keep_always: bool,
    },
    /// Checks a history again.
    Check {
        /// The file.
        file: PathBuf,
    },
    #[command(hide = true)]
    Worker,
    #[command(hide = true)]
    Owner,
}

/// What the program does, and how it ends.
pub(crate) fn main() -> ExitCode {
    match execute(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            print_error(error.as_ref());
            ExitCode::from(2)
        }
    }
}

fn execute(command: Command) -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    match command {
        Command::Worker => {
            let settings = serde_json::from_str(&std::env::var("TORTURE_WORKER")?)?;
            Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?
                .block_on(run_worker(settings))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Owner => {
            run_owner(&serde_json::from_str(&std::env::var("TORTURE_OWNER")?)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { file } => {
            let history = History::open(&file)?;
            let verdict = check(&history);
            Ok(report(&history, &verdict))
        }
        Command::Run {
            store,
            seconds,
            workers,
            clients,
            seed,
            faults,
            plant,
            tolerance_ms,
            keep,
            keep_always,
        } => {
            check_faults(&store, &faults)?;
            if faults.0.contains(&FaultKind::Cut) {
                enter_namespace()?;
            }
            let options = Options {
                program: std::env::current_exe()?,
                store,
                length: Duration::from_secs(seconds),
                workers: workers.into(),
                clients: clients.into(),
                seed: seed.unwrap_or_else(|| fastrand::u64(..1_000_000)),
                faults,
                plant,
                tolerance: Duration::from_millis(tolerance_ms.get()),
            };
            let Some(outcome) = Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?
                .block_on(run(&options))?
            else {
                return Err("there is no such store here".into());
            };
            if keep_always || !outcome.verdict.violations.is_empty() {
                let file = keep.join(format!("torture-{}.history", outcome.history.seed));
                outcome.history.save(&file)?;
                print(&format!("history: {}", file.display()));
            }
            Ok(report(&outcome.history, &outcome.verdict))
        }
    }
}

fn report(history: &History, verdict: &Verdict) -> ExitCode {
    for undone in verdict.undone.iter().take(SHOWN) {
        print(&describe_undone(history, undone));
    }
    for violation in verdict.violations.iter().take(SHOWN) {
        print(&describe(history, violation));
    }
    print(&Summary::of(history, verdict).to_string());
    if verdict.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(
    clippy::print_stdout,
    reason = "what a command-line program says on standard output is its interface"
)]
fn print(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "the last words of a command-line program")]
fn print_error(error: &dyn Error) {
    eprint!("torture: {error}");
    let mut next = error.source();
    while let Some(source) = next {
        eprint!(": {source}");
        next = source.source();
    }
    eprintln!();
}
