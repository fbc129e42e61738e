//! Sets up the log of a process.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// Logs to standard error. Each line is one write, so that the lines of several workers do not mix.
pub(crate) fn init(level: LevelFilter) {
    let ansi = io::IsTerminal::is_terminal(&io::stderr());
    let lines =
        tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(ansi).with_target(false);
    // actix logs its start and stop at the level info. The primary reports both, so these lines
    // appear only at the levels debug and trace.
    let actix = if level > LevelFilter::INFO { level } else { LevelFilter::WARN };
    let filter = Targets::new().with_default(level).with_target("actix_server", actix);
    tracing_subscriber::registry().with(lines).with(filter).init();
}
