//! The event loop of a process without actix, and the wait for a stop signal.

use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};

use crate::error::AppError;

/// Builds an event loop that runs on the calling thread.
pub(crate) fn build() -> Result<Runtime, AppError> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(AppError::io("cannot start the event loop"))
}

/// Blocks until the process receives TERM, QUIT or INT.
pub(crate) fn wait_for_stop_signal() -> Result<(), AppError> {
    let listen = |kind| signal(kind).map_err(AppError::io("cannot listen for signals"));
    build()?.block_on(async {
        let (mut term, mut quit, mut int) = (
            listen(SignalKind::terminate())?,
            listen(SignalKind::quit())?,
            listen(SignalKind::interrupt())?,
        );
        tokio::select! {
            _ = term.recv() => {}
            _ = quit.recv() => {}
            _ = int.recv() => {}
        }
        Ok(())
    })
}
