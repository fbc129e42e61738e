//! The trace events and spans of this process, at level `TRACE`.

use std::{
    io,
    sync::{Arc, LazyLock, Mutex},
};

use tracing::Level;
use tracing_subscriber::fmt::{MakeWriter, format::FmtSpan};

#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

/// One subscriber for all tests of the process. It is installed before the first event, because a
/// later one can miss events of other threads.
static LINES: LazyLock<Lines> = LazyLock::new(|| {
    let lines = Lines::default();
    let layer = tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false);
    tracing::subscriber::set_global_default(layer.with_writer(lines.clone()).finish()).unwrap();
    lines
});

/// Installs the subscriber.
pub(crate) fn trace() {
    LazyLock::force(&LINES);
}

/// All events and spans of this process so far.
pub(crate) fn traced() -> String {
    String::from_utf8(LINES.0.lock().unwrap().clone()).unwrap()
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
