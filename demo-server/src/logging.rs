//! Sets up the log of a process.

use std::{
    io::{self, Write},
    panic,
    sync::OnceLock,
};

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// The number of lines that wait for the reader of standard error.
const MAX_WAITING_LINES: usize = 4096;

/// Counts the lines that this process has dropped.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Writes the waiting lines when it is dropped. Keep it until the process ends.
#[derive(Debug)]
#[must_use]
pub(crate) struct LogGuard(#[expect(dead_code, reason = "it acts when it is dropped")] WorkerGuard);

/// Logs to standard error. Each line is one write, so that the lines of several workers do not mix.
///
/// A separate thread writes the lines. If the reader of standard error does not read, the server
/// continues, and drops the lines that exceed [`MAX_WAITING_LINES`].
pub(crate) fn init(level: LevelFilter) -> LogGuard {
    let ansi = io::IsTerminal::is_terminal(&io::stderr());
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(MAX_WAITING_LINES)
        .thread_name("log")
        .finish(StandardError { reported: 0 });
    DROPPED.get_or_init(|| writer.error_counter());
    let lines =
        tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(ansi).with_target(false);
    // actix logs its start and stop at the level info. The primary reports both. It logs each
    // malformed request as an error, so any client could fill the log. These lines appear only at
    // the levels debug and trace.
    let (server, http) = if level > LevelFilter::INFO {
        (level, level)
    } else {
        (LevelFilter::WARN, LevelFilter::OFF)
    };
    let filter = Targets::new()
        .with_default(level)
        .with_target("actix_server", server)
        .with_target("actix_http", http);
    tracing_subscriber::registry().with(lines).with(filter).init();
    // The standard hook writes to standard error itself, and would wait for its reader.
    panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("the panic has no message");
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(location, message, "a thread panicked");
    }));
    LogGuard(guard)
}

/// The number of lines that this process has dropped.
pub(crate) fn dropped_lines() -> u64 {
    DROPPED.get().map_or(0, |dropped| dropped.dropped_lines() as u64)
}

/// Writes lines to standard error, and logs when lines were dropped before.
struct StandardError {
    /// The number of dropped lines of which the log tells.
    reported: u64,
}

impl Write for StandardError {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(line)?;
        let dropped = dropped_lines();
        if dropped > self.reported {
            // The line waits like all others.
            tracing::warn!(
                lines = dropped - self.reported,
                "dropped log lines, because standard error was not read"
            );
            self.reported = dropped;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
