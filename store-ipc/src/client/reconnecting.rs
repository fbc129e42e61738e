//! The connection of a client store, which connects again after a loss.

use std::{fmt, io, os::unix::net::UnixStream, path::PathBuf, sync::Arc, time::Instant};

use parking_lot::Mutex;
use store_support::backoff::backoff;

use super::{call::call, connection::ClientConnection};
use crate::{
    config::Config,
    error::{ClientError, FailedCall},
    trusted_owner::TrustedOwner,
    wire::{
        message::{Reply, Request},
        socket::connect,
    },
};

/// The connection of a store over an inherited stream, or over a path. With a path, it connects
/// again after a loss.
pub(crate) struct ReconnectingConnection {
    target: Target,
    frame_bytes: usize,
    state: Mutex<State>,
}

enum Target {
    Inherited,
    Path { path: PathBuf, trusted: TrustedOwner },
}

#[derive(Default)]
struct State {
    current: Option<Arc<ClientConnection>>,
    /// Consecutive attempts without a completed handshake.
    failures: u32,
    /// The end of the pause before the next attempt, and the error of the last attempt.
    pause: Option<(Instant, ClientError)>,
}

impl ReconnectingConnection {
    /// A connection over `stream`. It ends with the stream.
    pub(crate) fn inherited(stream: UnixStream, frame_bytes: usize) -> io::Result<Self> {
        let current = Some(Arc::new(ClientConnection::new(stream, frame_bytes, None)?));
        Ok(Self {
            target: Target::Inherited,
            frame_bytes,
            state: Mutex::new(State { current, ..State::default() }),
        })
    }

    /// A connection to the path of `config`. The first call connects, and so does the next call
    /// after a loss.
    pub(crate) fn path(config: &Config) -> Self {
        let target = Target::Path { path: config.path.clone(), trusted: config.trusted_owner() };
        Self { target, frame_bytes: config.frame_bytes.get(), state: Mutex::default() }
    }

    /// Sends `request` and waits for its reply. If the connection was lost before any byte of the
    /// request was sent, the request is sent over a second connection. So a restart of the owner
    /// fails no call of an idle client.
    pub(crate) async fn call(&self, request: &Request) -> Result<Reply, ClientError> {
        let failed = match call(&self.connection()?, request).await {
            Ok(reply) => return Ok(reply),
            Err(failed) => failed,
        };
        match (&self.target, failed) {
            (
                Target::Path { .. },
                FailedCall { sent: false, error: ClientError::Io(_) | ClientError::Closed },
            ) => call(&self.connection()?, request).await.map_err(|failed| failed.error),
            (_, failed) => Err(failed.error),
        }
    }

    /// The current connection. Connects if there is none.
    fn connection(&self) -> Result<Arc<ClientConnection>, ClientError> {
        let mut state = self.state.lock();
        let closed = match &state.current {
            Some(connection) => match connection.close_reason() {
                None => return Ok(Arc::clone(connection)),
                closed => closed,
            },
            None => None,
        };
        let (path, trusted) = match (&self.target, closed) {
            (Target::Inherited, closed) => {
                return Err(closed.map_or(ClientError::Closed, |closed| closed.error));
            }
            (Target::Path { path, trusted }, None) => (path, *trusted),
            (Target::Path { path, trusted }, Some(closed)) => {
                state.current = None;
                if closed.was_open {
                    state.failures = 0;
                } else {
                    state.record_failure(closed.error);
                }
                (path, *trusted)
            }
        };
        if let Some((until, error)) = &state.pause
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        // The lock is held here, because a connection to a local socket succeeds or fails at once.
        match connect(path)
            .and_then(|stream| ClientConnection::new(stream, self.frame_bytes, Some(trusted)))
        {
            Ok(connection) => {
                state.pause = None;
                Ok(Arc::clone(state.current.insert(Arc::new(connection))))
            }
            Err(source) => {
                let error = ClientError::Connect { path: path.clone(), source: Arc::new(source) };
                state.record_failure(error.clone());
                Err(error)
            }
        }
    }
}

impl State {
    fn record_failure(&mut self, error: ClientError) {
        self.failures = self.failures.saturating_add(1);
        self.pause = Some((Instant::now() + backoff(self.failures), error));
    }
}

/// Closes the connection, which ends the I/O task.
impl Drop for ReconnectingConnection {
    fn drop(&mut self) {
        if let Some(connection) = self.state.get_mut().current.take() {
            connection.close(&ClientError::Closed, u64::MAX);
        }
    }
}

impl fmt::Debug for ReconnectingConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Inherited => f.write_str("inherited"),
            Target::Path { path, .. } => fmt::Debug::fmt(path, f),
        }
    }
}
