//! The command line: arguments, output and exit codes.

use std::{error::Error, num::NonZeroU64, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use tests::with_sources;
use tokio::runtime::Builder;
use torture::{
    check::{Verdict, check, describe, describe_undone},
    history::History,
    run::{
        FaultKind, Faults, Options, PlantedBug, Summary, check_faults, enter_namespace, run,
        run_owner, run_worker,
    },
};

/// The number of violations, and of documented losses, that are printed. The file holds all of
/// them.
const SHOWN: usize = 5;

/// Checks the laws of the session stores from outside, under faults.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs workers on a store, injects faults, and checks the history of all calls. The exit code
    /// is 1 if the store broke a law.
    Run {
        /// The store: ipc, sqlite, redis, mongo, postgres, mariadb, redis-sentinel, redis-cluster
        /// or mongo-set, which the program starts itself; or the URL of a store.
        #[arg(long)]
        store: String,
        /// The duration of the run in seconds.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// The number of worker processes.
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
        workers: u16,
        /// The number of clients in each worker.
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
        clients: u16,
        /// The seed for calls and faults. The default is a random number, which is printed.
        #[arg(long)]
        seed: Option<u64>,
        /// The faults: any of kill, freeze, restart, failover and cut; or none.
        #[arg(long, default_value = "kill,freeze")]
        faults: Faults,
        /// A bug to plant in the store, so that the checker must find it.
        #[arg(long)]
        plant: Option<PlantedBug>,
        /// The largest difference between the store's clock and this machine's clock, in
        /// milliseconds.
        #[arg(long, default_value = "250")]
        tolerance_ms: NonZeroU64,
        /// The folder in which the history of a violation is saved.
        #[arg(long, default_value = ".")]
        keep: PathBuf,
        /// Saves the history of every run.
        #[arg(long)]
        keep_always: bool,
    },
    /// Checks a saved history again.
    Check {
        /// The file with the history.
        file: PathBuf,
    },
    #[command(hide = true)]
    Worker,
    #[command(hide = true)]
    Owner,
}

/// Runs the program, and returns its exit code.
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
                return Err("the store is not available here; see the output above".into());
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
    reason = "standard output is the interface of a command-line program"
)]
fn print(text: &str) {
    println!("{text}");
}

#[expect(
    clippy::print_stderr,
    reason = "a command-line program reports its error on standard error"
)]
fn print_error(error: &dyn Error) {
    eprintln!("torture: {}", with_sources(error));
}
