//! The way to the owner: an inherited stream, or a path to which a lost connection is made again.

use std::{
    fmt, io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::{
    config::{Config, Trusted},
    connection::{Connection, Lost},
    error::ClientError,
    message::{Reply, Request},
};

/// The pause after the first failed attempt to connect. It doubles with each one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause: an owner that came back is noticed within this.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// The one connection of a store, made again when it is lost and there is a path.
pub(crate) struct Link {
    target: Target,
    frame_bytes: usize,
    state: Mutex<State>,
}

enum Target {
    Inherited,
    Path { path: PathBuf, trusted: Trusted },
}

#[derive(Default)]
struct State {
    current: Option<Arc<Connection>>,
    /// Attempts in a row that did not end with the owner's welcome.
    failures: u32,
    /// Until when no attempt is made, and what the last one came to.
    pause: Option<(Instant, ClientError)>,
}

impl Link {
    /// A way that lasts as long as `stream` does.
    pub(crate) fn inherited(stream: UnixStream, frame_bytes: usize) -> io::Result<Self> {
        let current = Some(Arc::new(Connection::new(stream, frame_bytes, None)?));
        Ok(Self {
            target: Target::Inherited,
            frame_bytes,
            state: Mutex::new(State { current, ..State::default() }),
        })
    }

    /// A way that is made with the first call and again whenever it is lost.
    pub(crate) fn path(config: &Config) -> Self {
        let target = Target::Path { path: config.path.clone(), trusted: config.trusted() };
        Self { target, frame_bytes: config.frame_bytes.get(), state: Mutex::default() }
    }

    /// Sends `request` and waits for its reply. A request of which nothing was sent goes over a
    /// second connection if the first was lost, so that a restart of the owner costs an idle client
    /// nothing.
    pub(crate) async fn call(&self, request: &Request) -> Result<Reply, ClientError> {
        let lost = match self.connection()?.call(request).await {
            Ok(reply) => return Ok(reply),
            Err(lost) => lost,
        };
        match (&self.target, lost) {
            (
                Target::Path { .. },
                Lost { sent: false, error: ClientError::Io(_) | ClientError::Closed },
            ) => self.connection()?.call(request).await.map_err(|lost| lost.error),
            (_, lost) => Err(lost.error),
        }
    }

    fn connection(&self) -> Result<Arc<Connection>, ClientError> {
        let mut state = self.state.lock();
        let closed = match &state.current {
            Some(connection) => match connection.closed() {
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
                if closed.greeted {
                    state.failures = 0;
                } else {
                    state.failed(closed.error);
                }
                (path, *trusted)
            }
        };
        if let Some((until, error)) = &state.pause
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        // Under the lock, because it does not wait: a socket of this machine takes a connection at
        // once or refuses it.
        match connect(path)
            .and_then(|stream| Connection::new(stream, self.frame_bytes, Some(trusted)))
        {
            Ok(connection) => {
                state.pause = None;
                Ok(Arc::clone(state.current.insert(Arc::new(connection))))
            }
            Err(source) => {
                let error = ClientError::Connect { path: path.clone(), source: Arc::new(source) };
                state.failed(error.clone());
                Err(error)
            }
        }
    }
}

impl State {
    fn failed(&mut self, error: ClientError) {
        self.failures = self.failures.saturating_add(1);
        self.pause = Some((Instant::now() + pause(self.failures, fastrand::f64()), error));
    }
}

/// The driver ends with the store.
impl Drop for Link {
    fn drop(&mut self) {
        if let Some(connection) = self.state.get_mut().current.take() {
            connection.close(&ClientError::Closed, u64::MAX);
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Inherited => f.write_str("inherited"),
            Target::Path { path, .. } => fmt::Debug::fmt(path, f),
        }
    }
}

/// Connects at once or not at all.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // An owner whose backlog is full would otherwise hold this thread.
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(UnixStream::from(std::os::fd::OwnedFd::from(socket)))
}

/// The pause after that many failures in a row: doubling, capped, and between half and the whole of
/// it by `chance` (0 to 1), so that many clients of one owner spread out.
fn pause(failures: u32, chance: f64) -> Duration {
    let whole =
        FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_PAUSE);
    whole.mul_f64(0.5 + chance / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_spread() {
        assert_eq!(pause(1, 1.0), FIRST_PAUSE);
        assert_eq!(pause(2, 1.0), FIRST_PAUSE * 2);
        assert_eq!(pause(u32::MAX, 1.0), LONGEST_PAUSE);
        assert_eq!(pause(1, 0.0), FIRST_PAUSE / 2);
    }
}
