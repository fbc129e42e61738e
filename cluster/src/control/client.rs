//! A client of the control socket.

use std::{
    fmt, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::geteuid;
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::UnixStream,
    time::{sleep, timeout},
};

use super::protocol::{Command, ReadLineError, Refusal, Reply, ResponseLine, read_line};

/// How long a primary may take to accept a client.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time between two checks whether the primary is responsive, while the client waits for a reply.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// How long a primary may take to return its status, which it returns at once unless it is stopped.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause before another try while the primary's accept queue is full.
const CONNECT_PAUSE: Duration = Duration::from_millis(20);

/// Longest reply that is read: 16 MiB, the state of tens of thousands of workers.
const MAX_REPLY: usize = 16 << 20;

/// A connection to the control socket of a running primary.
///
/// ```no_run
/// use cluster::control::{Client, Command, Reply};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let mut primary = Client::connect("/run/app/control.sock").await?;
/// if let Reply::Status(status) = primary.call(&Command::Status).await? {
///     println!("{} workers", status.workers.len());
/// }
/// primary.call(&Command::Reload).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
    /// Whether a request was sent whose reply was not read.
    reply_due: bool,
}

/// Why a command was not carried out, or why its result is unknown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// No primary accepts the connection.
    #[error("cannot reach a primary at {}{}", path.display(), ConnectRemedy(source))]
    Connect {
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The primary is stopped or blocked: it does not return its status. It may carry out the
    /// command when it continues.
    #[error(
        "the primary at {} does not answer because it is stopped or blocked; it may carry out the \
         command when it continues",
        path.display()
    )]
    Unresponsive {
        /// The path.
        path: PathBuf,
    },
    /// The connection ended before the reply, for example because the primary ended. The primary
    /// may have carried out the command.
    #[error("the connection ended before the reply; the primary may have carried out the command")]
    ConnectionLost(#[source] io::Error),
    /// The reply cannot be decoded: the primary is of a later build, or another program listens at
    /// the path.
    #[error("the reply cannot be decoded; check that the primary has the same version")]
    InvalidReply(#[source] serde_json::Error),
    /// The command cannot be encoded: its signal is not supported.
    #[error("the command cannot be encoded")]
    InvalidCommand(#[source] serde_json::Error),
    /// The primary refused the command, or the command failed.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// What to do about an error of `connect`. The words of the operating system are in the source
/// only.
struct ConnectRemedy<'a>(&'a io::Error);

impl fmt::Display for ConnectRemedy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.kind() {
            io::ErrorKind::NotFound => {
                ": there is no such socket; check that the primary runs and uses this path"
            }
            io::ErrorKind::ConnectionRefused => {
                ": no process listens there; its primary has ended, so start it again"
            }
            io::ErrorKind::PermissionDenied => {
                "; only the user that runs the primary, and root, may connect"
            }
            io::ErrorKind::TimedOut => {
                ": it did not accept the connection within 5 s; it is stopped or blocked"
            }
            _ => "",
        })
    }
}

impl Client {
    /// Connects to the primary that listens at `path`, within 5 s. Cancel safe.
    ///
    /// The primary must run as this user or as root, so that no other user can impersonate it. Root
    /// can also connect to the primary of the user that owns the socket's folder.
    ///
    /// # Errors
    ///
    /// [`ControlError::Connect`] says what is wrong with the path, or which user listens there.
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self, ControlError> {
        let path = path.as_ref();
        let connected = timeout(CONNECT_TIMEOUT, connect(path))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match connected.and_then(|stream| check_peer(stream, path)) {
            Ok(stream) => {
                Ok(Self { stream: BufReader::new(stream), path: path.to_owned(), reply_due: false })
            }
            Err(source) => Err(ControlError::Connect { path: path.to_owned(), source }),
        }
    }

    /// Sends a command and waits until it is carried out. That can take as long as the slowest
    /// worker takes, so there is no deadline. Every 5 s the client requests the status of the
    /// primary over another connection, and fails if the status does not come within 5 s.
    ///
    /// Not cancel safe: after the future is dropped the primary may still carry out the command,
    /// and this connection accepts no further command.
    ///
    /// # Errors
    ///
    /// [`ControlError::Refused`] if the primary refuses the command or the command fails. The other
    /// errors mean that no reply was received.
    pub async fn call(&mut self, command: &Command) -> Result<Reply, ControlError> {
        self.call_with_checks(command, CHECK_INTERVAL, STATUS_TIMEOUT).await
    }

    async fn call_with_checks(
        &mut self,
        command: &Command,
        interval: Duration,
        status_timeout: Duration,
    ) -> Result<Reply, ControlError> {
        let path = self.path.clone();
        tokio::select! {
            biased;
            reply = self.exchange(command) => reply,
            () = until_unresponsive(&path, interval, status_timeout) => {
                Err(ControlError::Unresponsive { path })
            }
        }
    }

    async fn exchange(&mut self, command: &Command) -> Result<Reply, ControlError> {
        let mut line = serde_json::to_vec(command).map_err(ControlError::InvalidCommand)?;
        line.push(b'\n');
        if std::mem::replace(&mut self.reply_due, true) {
            return Err(ControlError::ConnectionLost(io::Error::other(
                "an earlier call was dropped on this connection; open another connection",
            )));
        }
        let written = self.stream.write_all(&line).await;
        // The primary may refuse a client before it reads a request. Then writing fails, but there
        // is a reply.
        let reply = match (read_line(&mut self.stream, MAX_REPLY).await, written) {
            (Ok(reply), _) => reply,
            (Err(ReadLineError::Failed(error)), _) | (Err(ReadLineError::End), Err(error)) => {
                return Err(ControlError::ConnectionLost(error));
            }
            (Err(ReadLineError::End), Ok(())) => {
                return Err(ControlError::ConnectionLost(io::ErrorKind::UnexpectedEof.into()));
            }
            (Err(ReadLineError::TooLong), _) => {
                return Err(ControlError::ConnectionLost(io::Error::other(
                    "the reply is longer than 16 MiB",
                )));
            }
        };
        self.reply_due = false;
        Ok(ResponseLine::decode(&reply).map_err(ControlError::InvalidReply)??)
    }
}

/// Refuses a socket that another user has placed at the path.
fn check_peer(stream: UnixStream, path: &Path) -> io::Result<UnixStream> {
    // The kernel recorded this uid when the peer called listen().
    let (peer, user) = (stream.peer_cred()?.uid(), geteuid().as_raw());
    let of_folder = || {
        path.parent()
            .and_then(|folder| folder.metadata().ok())
            .is_some_and(|folder| folder.uid() == peer)
    };
    if peer == user || peer == 0 || (user == 0 && of_folder()) {
        return Ok(stream);
    }
    Err(io::Error::other(format!(
        "uid {peer} listens there and this process runs as uid {user}; use the path of a primary \
         of this user"
    )))
}

async fn connect(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            // The accept queue is full.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(CONNECT_PAUSE).await,
            connected => return connected,
        }
    }
}

/// Checks the primary repeatedly. Returns when it does not answer in time.
async fn until_unresponsive(path: &Path, interval: Duration, status_timeout: Duration) {
    loop {
        sleep(interval).await;
        if timeout(status_timeout, any_answer(path)).await.is_err() {
            return;
        }
    }
}

/// Waits for any answer of the primary. A failed connection counts as an answer: then the primary
/// has ended, and the connection of the waiting call ends too.
async fn any_answer(path: &Path) {
    let Ok(stream) = connect(path).await else { return };
    let mut stream = BufReader::new(stream);
    if let Ok(mut line) = serde_json::to_vec(&Command::Status) {
        line.push(b'\n');
        // May fail if the primary refuses the client. Its refusal is an answer too.
        let _ = stream.write_all(&line).await;
    }
    let _ = read_line(&mut stream, MAX_REPLY).await;
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    };

    use serde_json::json;
    use tokio::{io::AsyncBufReadExt, net::UnixListener, sync::Semaphore};

    use super::*;

    const INTERVAL: Duration = Duration::from_millis(5);

    /// A primary that returns its status at once, and replies to other commands when `permits` has
    /// a permit.
    fn primary(path: &Path, permits: Arc<Semaphore>, asked: Arc<AtomicUsize>) {
        let listener = UnixListener::bind(path).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (permits, asked) = (Arc::clone(&permits), Arc::clone(&asked));
                tokio::spawn(async move {
                    let (mut stream, mut line) = (BufReader::new(stream), String::new());
                    stream.read_line(&mut line).await.unwrap();
                    if line.contains("status") {
                        asked.fetch_add(1, SeqCst);
                    } else {
                        permits.acquire().await.unwrap().forget();
                    }
                    let reply = json!({ "version": 1, "ok": { "scaled": { "workers": 3 } } });
                    stream.write_all(format!("{reply}\n").as_bytes()).await.unwrap();
                });
            }
        });
    }

    #[tokio::test]
    async fn command_may_take_long_while_the_primary_responds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let (permits, asked) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        primary(&path, Arc::clone(&permits), Arc::clone(&asked));
        let mut client = Client::connect(&path).await.unwrap();
        let order = tokio::spawn(async move {
            client.call_with_checks(&Command::Reload, INTERVAL, Duration::from_secs(60)).await
        });
        while asked.load(SeqCst) < 5 {
            assert!(!order.is_finished());
            sleep(INTERVAL).await;
        }
        permits.add_permits(1);
        assert!(
            matches!(order.await.unwrap(), Ok(Reply::Scaled { workers }) if workers.get() == 3)
        );
    }

    #[tokio::test]
    async fn primary_that_accepts_but_does_not_reply_is_unresponsive() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        // The kernel accepts the connection, but no process reads from it.
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        for command in [Command::Status, Command::Reload] {
            let mut client = Client::connect(&path).await.unwrap();
            let error = client
                .call_with_checks(&command, INTERVAL, Duration::from_millis(50))
                .await
                .unwrap_err();
            assert!(
                matches!(&error, ControlError::Unresponsive { path: named } if *named == path),
                "{error:?}"
            );
            let again = client
                .call_with_checks(&command, INTERVAL, Duration::from_millis(50))
                .await
                .unwrap_err();
            assert!(matches!(again, ControlError::ConnectionLost(_)), "{again:?}");
        }
    }

    #[tokio::test]
    async fn ended_primary_does_not_count_as_unresponsive() {
        let folder = tempfile::tempdir().unwrap();
        assert!(
            timeout(
                Duration::from_millis(50),
                until_unresponsive(&folder.path().join("none"), INTERVAL, INTERVAL)
            )
            .await
            .is_err()
        );
    }
}
