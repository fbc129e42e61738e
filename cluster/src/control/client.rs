use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::geteuid;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::wire::{Answer, NoLine, Refusal, read_line};
use super::{Command, Reply};

/// How long a primary may take to let a client in.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a client waits for a reply before it looks whether the primary answers at all, and from
/// one look to the next.
const LOOK: Duration = Duration::from_secs(5);

/// How long a primary that is not stopped may take to say its status, which it says at once.
const ANSWER: Duration = Duration::from_secs(5);

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
    path: PathBuf,
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
    /// The primary is stopped, or blocked: it does not even say its status. The order stands, and
    /// may be carried out when the primary goes on.
    #[error("the primary at {} does not answer; it is stopped, or blocked, and may carry the order out when it goes on", path.display())]
    Silent {
        /// The path.
        path: PathBuf,
    },
    /// The connection ended before the reply, because the primary ended, for example. The order may
    /// have been carried out.
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
    /// The primary must run as this user or as root, so that no other user can answer in its place.
    /// Root also reaches the primary of the user that owns the socket's folder.
    ///
    /// # Errors
    ///
    /// [`ControlError::Connect`] says what is wrong with the path, or which user listens there.
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self, ControlError> {
        let path = path.as_ref();
        let connected = timeout(CONNECT, knock(path))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match connected.and_then(|stream| trusted(stream, path)) {
            Ok(stream) => {
                Ok(Self { stream: BufReader::new(stream), path: path.to_owned(), due: false })
            }
            Err(source) => Err(ControlError::Connect { path: path.to_owned(), source }),
        }
    }

    /// Gives an order and waits until it is carried out. That can take as long as the slowest
    /// worker may take, so there is no deadline for it. But every 5 s the primary is asked for its
    /// status, over another connection, and one that does not say it within 5 s is given up.
    ///
    /// Not cancel safe: when the future is dropped the order may stand, and this connection is good
    /// for no other.
    ///
    /// # Errors
    ///
    /// [`ControlError::Refused`] if the primary says no, the others when it cannot be heard.
    pub async fn call(&mut self, command: &Command) -> Result<Reply, ControlError> {
        self.call_patiently(command, LOOK, ANSWER).await
    }

    async fn call_patiently(
        &mut self,
        command: &Command,
        look: Duration,
        answer: Duration,
    ) -> Result<Reply, ControlError> {
        let path = self.path.clone();
        tokio::select! {
            biased;
            reply = self.exchange(command) => reply,
            () = silence(&path, look, answer) => Err(ControlError::Silent { path }),
        }
    }

    async fn exchange(&mut self, command: &Command) -> Result<Reply, ControlError> {
        let mut line = serde_json::to_vec(command).map_err(ControlError::Unsendable)?;
        line.push(b'\n');
        if std::mem::replace(&mut self.due, true) {
            return Err(ControlError::Lost(io::Error::other(
                "a call before was given up on this connection, open another one",
            )));
        }
        let written = self.stream.write_all(&line).await;
        // Who is refused at the door is told so before it has said anything.
        let reply = match (read_line(&mut self.stream, MAX_REPLY).await, written) {
            (Ok(reply), _) => reply,
            (Err(NoLine::Failed(error)), _) | (Err(NoLine::End), Err(error)) => {
                return Err(ControlError::Lost(error));
            }
            (Err(NoLine::End), Ok(())) => {
                return Err(ControlError::Lost(io::ErrorKind::UnexpectedEof.into()));
            }
            (Err(NoLine::TooLong), _) => {
                return Err(ControlError::Lost(io::Error::other(
                    "the reply is longer than 16 MiB",
                )));
            }
        };
        self.due = false;
        Ok(Answer::read(&reply).map_err(ControlError::Unreadable)??)
    }
}

/// Refuses a socket that another user has placed at the path.
fn trusted(stream: UnixStream, path: &Path) -> io::Result<UnixStream> {
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
        "uid {peer} listens there and this process runs as uid {user}; use the path of a primary of this user"
    )))
}

async fn knock(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            // The queue of connections is full.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(PAUSE).await,
            connected => return connected,
        }
    }
}

/// Looks again and again, and ends when nobody answers at the path.
async fn silence(path: &Path, look: Duration, answer: Duration) {
    loop {
        sleep(look).await;
        if timeout(answer, is_heard(path)).await.is_err() {
            return;
        }
    }
}

/// Waits until somebody answers, whatever it is. That nobody is there any more is an answer too:
/// who waits for a reply sees its connection end.
async fn is_heard(path: &Path) {
    let Ok(stream) = knock(path).await else { return };
    let mut stream = BufReader::new(stream);
    if let Ok(mut line) = serde_json::to_vec(&Command::Status) {
        line.push(b'\n');
        // Who is refused at the door hears it all the same.
        let _ = stream.write_all(&line).await;
    }
    let _ = read_line(&mut stream, MAX_REPLY).await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use serde_json::json;
    use tokio::io::AsyncBufReadExt;
    use tokio::net::UnixListener;
    use tokio::sync::Semaphore;

    use super::*;

    const LOOK: Duration = Duration::from_millis(5);

    /// A primary that says its status, and to all else nothing before `obeys` has room.
    fn primary(path: &Path, obeys: Arc<Semaphore>, asked: Arc<AtomicUsize>) {
        let listener = UnixListener::bind(path).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (obeys, asked) = (Arc::clone(&obeys), Arc::clone(&asked));
                tokio::spawn(async move {
                    let (mut stream, mut line) = (BufReader::new(stream), String::new());
                    stream.read_line(&mut line).await.unwrap();
                    if line.contains("status") {
                        asked.fetch_add(1, SeqCst);
                    } else {
                        obeys.acquire().await.unwrap().forget();
                    }
                    let reply = json!({ "version": 1, "ok": { "scaled": { "workers": 3 } } });
                    stream.write_all(format!("{reply}\n").as_bytes()).await.unwrap();
                });
            }
        });
    }

    #[tokio::test]
    async fn an_order_may_take_as_long_as_the_primary_answers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let (obeys, asked) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        primary(&path, Arc::clone(&obeys), Arc::clone(&asked));
        let mut client = Client::connect(&path).await.unwrap();
        let order = tokio::spawn(async move {
            client.call_patiently(&Command::Reload, LOOK, Duration::from_mins(1)).await
        });
        while asked.load(SeqCst) < 5 {
            assert!(!order.is_finished());
            sleep(LOOK).await;
        }
        obeys.add_permits(1);
        assert!(
            matches!(order.await.unwrap(), Ok(Reply::Scaled { workers }) if workers.get() == 3)
        );
    }

    #[tokio::test]
    async fn a_primary_that_lets_in_and_says_nothing_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        // The system lets in, nobody else.
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        for command in [Command::Status, Command::Reload] {
            let mut client = Client::connect(&path).await.unwrap();
            let error =
                client.call_patiently(&command, LOOK, Duration::from_millis(50)).await.unwrap_err();
            assert!(
                matches!(&error, ControlError::Silent { path: silent } if *silent == path),
                "{error:?}"
            );
            let again =
                client.call_patiently(&command, LOOK, Duration::from_millis(50)).await.unwrap_err();
            assert!(matches!(again, ControlError::Lost(_)), "{again:?}");
        }
    }

    #[tokio::test]
    async fn a_primary_that_has_gone_meanwhile_is_no_silence() {
        let folder = tempfile::tempdir().unwrap();
        assert!(
            timeout(Duration::from_millis(50), silence(&folder.path().join("none"), LOOK, LOOK))
                .await
                .is_err()
        );
    }
}
