//! Starts the servers that tests share, runs a command that finds them in its environment, and
//! stops them when that has ended: `shared_servers COMMAND [ARGUMENT]…`.
#![expect(
    clippy::print_stderr,
    reason = "the program says on standard error why it cannot run the command"
)]

use std::process::{ExitCode, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};
use tests::service::SharedServers;
use tokio::{
    process::{Child, Command},
    signal::unix::{Signal as UnixSignal, SignalKind, signal},
};

#[tokio::main]
async fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(program) = words.next() else {
        eprintln!("shared_servers: no command; use shared_servers COMMAND [ARGUMENT]...");
        return ExitCode::from(2);
    };
    let (mut interrupts, mut terminations) =
        match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
            (Ok(interrupts), Ok(terminations)) => (interrupts, terminations),
            (Err(error), _) | (_, Err(error)) => {
                eprintln!("shared_servers: cannot handle signals: {error}");
                return ExitCode::FAILURE;
            }
        };
    // A signal drops the future, and with it the servers that were started.
    let servers = tokio::select! {
        servers = SharedServers::start() => servers,
        _ = interrupts.recv() => return ExitCode::FAILURE,
        _ = terminations.recv() => return ExitCode::FAILURE,
    };
    let mut command = Command::new(&program);
    command.args(words).envs(servers.variables());
    let ended = match command.spawn() {
        Ok(child) => end_of(child, interrupts, terminations).await,
        Err(error) => Err(error),
    };
    // Stops them also if the command failed.
    drop(servers);
    match ended {
        Ok(status) => {
            ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
        }
        Err(error) => {
            eprintln!("shared_servers: cannot run {}: {error}", program.display());
            ExitCode::FAILURE
        }
    }
}

/// Waits for the end of the command. A signal that asks this program to end goes to the command,
/// and the servers run until the command has ended.
async fn end_of(
    mut child: Child,
    mut interrupts: UnixSignal,
    mut terminations: UnixSignal,
) -> std::io::Result<ExitStatus> {
    loop {
        tokio::select! {
            status = child.wait() => return status,
            // A terminal sends this to the command as well.
            _ = interrupts.recv() => {}
            _ = terminations.recv() => {
                let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
                if let Some(pid) = pid {
                    let _ = kill_process(pid, Signal::TERM);
                }
            }
        }
    }
}
