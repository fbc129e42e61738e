use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::wire::{Answer, NoLine, Refusal, read_line};
use super::{Command, Reply};

/// How long a primary may take to let a client in.
const CONNECT: Duration = Duration::from_secs(5);

/// Pause before another try while the primary's queue is full.
const PAUSE: Duration = Duration::from_millis(20);

/// Longest reply that is read: 16 MiB, the state of some tens of thousands of workers.
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
    // While a reply is due, the next line belongs to the request before.
    due: bool,
}

/// Why an order was not carried out, or is not known to have been.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Nobody answers at the path.
    #[error("cannot reach a primary at {}: {}", path.display(), Reason(source))]
    Connect {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection ended before the reply, because the primary ended, for example. The order may have been carried out.
    #[error("the primary did not reply; the order may stand all the same")]
    Lost(#[source] io::Error),
    /// The reply cannot be read: the primary is of a later build, or something else listens there.
    #[error("the reply cannot be understood; is the primary of another version?")]
    Unreadable(#[source] serde_json::Error),
    /// The command has no form on the wire: a signal that is not sent this way.
    #[error("the order cannot be sent")]
    Unsendable(#[source] serde_json::Error),
    /// The primary refused, or the order failed.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A system error in words that tell what to do.
struct Reason<'a>(&'a io::Error);

impl std::fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0.kind() {
            io::ErrorKind::NotFound => "there is no such socket; does the primary run, and with this path for its control socket?",
            io::ErrorKind::ConnectionRefused => "nobody listens there; the primary that made it is gone: start it again",
            io::ErrorKind::PermissionDenied => "permission denied; only the user that runs the primary, and root, may",
            io::ErrorKind::TimedOut => "it did not let us in within 5 s; it is stopped, or blocked",
            _ => return self.0.fmt(f),
        })
    }
}

impl Client {
    /// Connects to the primary that listens at `path`, within 5 s. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`ControlError::Connect`] says what is wrong with the path.
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self, ControlError> {
        let path = path.as_ref();
        let connected = timeout(CONNECT, async {
            loop {
                match UnixStream::connect(path).await {
                    // The queue of connections is full.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(PAUSE).await,
                    connected => return connected,
                }
            }
        });
        match connected.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => Ok(Self { stream: BufReader::new(stream), due: false }),
            Err(source) => Err(ControlError::Connect { path: path.to_owned(), source }),
        }
    }

    /// Gives an order and waits until it is carried out. That can take as long as the slowest worker may take; there is no deadline.
    ///
    /// Not cancel safe: when the future is dropped the order may stand, and this connection is good for no other.
    ///
    /// # Errors
    ///
    /// [`ControlError::Refused`] if the primary says no, the others when it cannot be heard.
    pub async fn call(&mut self, command: &Command) -> Result<Reply, ControlError> {
        let mut line = serde_json::to_vec(command).map_err(ControlError::Unsendable)?;
        line.push(b'\n');
        if std::mem::replace(&mut self.due, true) {
            return Err(ControlError::Lost(io::Error::other("a call before was given up on this connection, open another one")));
        }
        let written = self.stream.write_all(&line).await;
        // Who is refused at the door is told so before it has said anything.
        let reply = match (read_line(&mut self.stream, MAX_REPLY).await, written) {
            (Ok(reply), _) => reply,
            (Err(NoLine::Failed(error)), _) | (Err(NoLine::End), Err(error)) => return Err(ControlError::Lost(error)),
            (Err(NoLine::End), Ok(())) => return Err(ControlError::Lost(io::ErrorKind::UnexpectedEof.into())),
            (Err(NoLine::TooLong), _) => return Err(ControlError::Lost(io::Error::other("the reply is longer than 16 MiB"))),
        };
        self.due = false;
        Ok(Answer::read(&reply).map_err(ControlError::Unreadable)??)
    }
}
