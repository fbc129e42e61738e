//! Answers the clients of the control socket and carries out their commands.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Signal, geteuid},
};
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    control::protocol::{
        Command, ErrorCode, MAX_REQUEST, ReadLineError, Refusal, Reply, ResponseLine, StatusReply,
        StopMode, StopReply, WorkerReply, parse_request, read_line,
    },
    error::{ReloadError, ScaleError, UpgradeError, WithSources},
    model::{Phase, WorkerId, WorkerInfo},
    primary::{cluster::Cluster, handle::ClusterHandle},
};

/// Connections at the same time.
const MAX_CLIENTS: usize = 16;

/// How long a client may take to send a request, counted from the connection or the last reply.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take to read a reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the end of the cluster waits until all clients have their replies.
const FINAL_REPLIES: Duration = Duration::from_secs(1);

/// How often the server checks whether a client still waits for its reply.
const HANG_UP_CHECK: Duration = Duration::from_millis(200);

/// Pause after a failed accept, so that a lack of descriptors or memory does not cause a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves clients until the cluster has ended and all of them have their replies.
pub(super) async fn serve(cluster: &Arc<Cluster>, listener: UnixListener) {
    let lifecycle = &cluster.shared.lifecycle;
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            () = lifecycle.ended() => break,
            // Further clients belong to the successor.
            () = lifecycle.handed_over() => break,
            Some(_) = clients.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => match admit(&stream, clients.len()) {
                    Ok(()) => drop(clients.spawn(serve_client(stream, Arc::clone(cluster)))),
                    Err(refusal) => {
                        tracing::warn!(%refusal, "control client refused");
                        // The socket buffer is empty, so the line fits. It fails if the client has
                        // gone.
                        let _ = stream.try_write(&ResponseLine::encode(Err(refusal)));
                    }
                },
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a control client; retrying after pause");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    lifecycle.ended().await;
    let all_done = async { while clients.join_next().await.is_some() {} };
    if timeout(FINAL_REPLIES, all_done).await.is_err() {
        tracing::warn!("a control client does not read its reply; closing its connection");
    }
}

/// Decides whether a client is served. The mode of the socket keeps other users out; this check
/// also applies if the mode was changed.
fn admit(stream: &UnixStream, clients: usize) -> Result<(), Refusal> {
    let peer = stream.peer_cred().map_err(|error| {
        ErrorCode::Forbidden.because(format!("cannot determine your user: {error}"))
    })?;
    let own = geteuid().as_raw();
    if peer.uid() != own && peer.uid() != 0 {
        let message = format!(
            "uid {} may not send commands to a primary of uid {own}; only that user and root may",
            peer.uid()
        );
        return Err(ErrorCode::Forbidden.because(message));
    }
    if clients >= MAX_CLIENTS {
        return Err(ErrorCode::Busy.because(format!(
            "{MAX_CLIENTS} connections are already open; close one, or try again later"
        )));
    }
    Ok(())
}

/// Serves the requests of one client, one after the other.
async fn serve_client(stream: UnixStream, cluster: Arc<Cluster>) {
    let mut stream = BufReader::new(stream);
    loop {
        let read = tokio::select! {
            biased;
            read = timeout(REQUEST_TIMEOUT, read_line(&mut stream, MAX_REQUEST)) => read,
            () = cluster.shared.lifecycle.ended() => return,
        };
        let (result, keep_open) = match read {
            Ok(Ok(line)) => match parse_request(&line) {
                Ok(command) => {
                    log_command(&command, stream.get_ref());
                    tokio::select! {
                        biased;
                        result = execute(command, &cluster) => (result, true),
                        // The command continues.
                        () = hang_up(stream.get_ref()) => return,
                    }
                }
                Err(refusal) => (Err(refusal), true),
            },
            Ok(Err(ReadLineError::TooLong)) => (
                Err(ErrorCode::TooLarge.because(format!(
                    "a request may have at most {MAX_REQUEST} bytes, this one has more"
                ))),
                false,
            ),
            Ok(Err(ReadLineError::End | ReadLineError::Failed(_))) => return,
            Err(_) => (
                Err(ErrorCode::TooSlow
                    .because(format!("no complete request arrived within {REQUEST_TIMEOUT:?}"))),
                false,
            ),
        };
        let line = ResponseLine::encode(result);
        let written = timeout(REPLY_TIMEOUT, stream.get_mut().write_all(&line)).await;
        if !keep_open || !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}

/// Logs a command that changes something, and the client that sent it.
fn log_command(command: &Command, stream: &UnixStream) {
    if *command != Command::Status {
        let peer = stream.peer_cred().ok();
        tracing::info!(
            ?command,
            uid = peer.map(|peer| peer.uid()),
            pid = peer.and_then(|peer| peer.pid()),
            "control command received"
        );
    }
}

/// Waits until a client can no longer read. A client that has only closed its sending side may
/// still wait for the reply.
async fn hang_up(stream: &UnixStream) {
    loop {
        sleep(HANG_UP_CHECK).await;
        let mut client = [PollFd::new(stream, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if matches!(poll(&mut client, Some(&now)), Ok(1))
            && client[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
        {
            return;
        }
    }
}

/// Carries out a command. Dropping the future does not cancel the command.
async fn execute(command: Command, cluster: &Arc<Cluster>) -> Result<Reply, Refusal> {
    let handle = ClusterHandle::new(Arc::clone(cluster));
    let successor = cluster.shared.lifecycle.successor();
    if let Some(pid) = successor.filter(|_| command != Command::Status) {
        return Err(ErrorCode::Stopping
            .because(format!("primary {pid} has taken over; connect again to reach it")));
    }
    match command {
        Command::Status => Ok(Reply::Status(status(cluster, &handle))),
        Command::Reload => match handle.reload().await {
            Ok(report) => Ok(Reply::Reloaded(report.into())),
            Err(ReloadError::Stopping) => Err(stopping()),
            Err(error) => Err(failed(&error)),
        },
        Command::Upgrade => match handle.upgrade().await {
            Ok(pid) => Ok(Reply::Upgraded { pid }),
            Err(UpgradeError::Stopping) => Err(stopping()),
            Err(error) => Err(failed(&error)),
        },
        Command::Scale { workers } => scale(&handle, workers).await,
        Command::Drain { id } => match handle.drain(id).await {
            Ok(cause) => Ok(Reply::Drained { id, cause }),
            Err(_) => Err(gone(id)),
        },
        Command::Kill { id, signal } => kill(&handle, id, signal),
        Command::Stop { mode } => stop(cluster, mode).await,
    }
}

async fn scale(handle: &ClusterHandle, workers: NonZeroUsize) -> Result<Reply, Refusal> {
    match handle.scale(workers).await {
        Ok(()) => Ok(Reply::Scaled { workers }),
        Err(ScaleError::Stopping) => Err(stopping()),
        Err(error) => Err(failed(&error)),
    }
}

fn kill(handle: &ClusterHandle, id: WorkerId, signal: Signal) -> Result<Reply, Refusal> {
    if handle.kill(id, signal).is_ok() {
        return Ok(Reply::Signalled { id });
    }
    if handle.workers().iter().any(|worker| worker.id == id) {
        return Err(ErrorCode::Failed.because(format!(
            "the system refuses to send a signal to worker {id}; the primary's log says why"
        )));
    }
    Err(gone(id))
}

/// Does not use the handle, because its `wait` ends only after all clients have their replies.
async fn stop(cluster: &Cluster, mode: StopMode) -> Result<Reply, Refusal> {
    cluster.shared.stop(match mode {
        StopMode::Graceful => Phase::Stopping,
        StopMode::Fast => Phase::StoppingFast,
    });
    cluster.shared.lifecycle.ended().await;
    match cluster.shared.lifecycle.outcome() {
        Some(Ok(report)) => Ok(Reply::Stopped(StopReply::from(&report))),
        Some(Err(error)) => Err(failed(&error)),
        None => Err(stopping()),
    }
}

fn status(cluster: &Cluster, handle: &ClusterHandle) -> StatusReply {
    let status = handle.status();
    let worker = |info: WorkerInfo| {
        let leaves = cluster.shared.read(|table| table.is_leaving(info.id));
        WorkerReply::new(&info, leaves)
    };
    StatusReply {
        phase: status.phase,
        pid: std::process::id(),
        uptime: cluster.shared.lifecycle.uptime(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        addresses: status.addresses,
        slots: status.slots.iter().map(Into::into).collect(),
        workers: handle.workers().into_iter().map(worker).collect(),
    }
}

fn failed(error: &dyn std::error::Error) -> Refusal {
    ErrorCode::Failed.because(WithSources(error).to_string())
}

fn gone(id: WorkerId) -> Refusal {
    ErrorCode::Gone.because(format!("there is no worker {id}; use status to list the live workers"))
}

fn stopping() -> Refusal {
    ErrorCode::Stopping.because("the cluster stops")
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt, time::Instant};

    use super::*;

    /// A client of a cluster without ports and workers, and the task that serves it.
    fn client() -> (UnixStream, impl Future<Output = ()>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (theirs, serve_client(ours, Cluster::for_test()))
    }

    #[tokio::test(start_paused = true)]
    async fn incomplete_request_times_out() {
        let (mut theirs, server) = client();
        let began = Instant::now();
        let exchange = async {
            theirs.write_all(b"{\"command\":\"status\"}\n{\"comm").await.unwrap();
            let mut replies = String::new();
            theirs.read_to_string(&mut replies).await.unwrap();
            replies
        };
        let (replies, ()) = tokio::join!(exchange, server);
        let lines: Vec<_> = replies.lines().collect();
        assert!(
            lines.len() == 2 && lines[0].contains("running") && lines[1].contains("too_slow"),
            "{replies}"
        );
        assert_eq!(began.elapsed().as_secs(), REQUEST_TIMEOUT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_does_not_read_is_disconnected() {
        let (mut theirs, server) = client();
        let began = Instant::now();
        let server = tokio::spawn(server);
        while theirs.write_all(b"{\"command\":\"status\"}\n").await.is_ok() {}
        server.await.unwrap();
        assert_eq!(began.elapsed().as_secs(), REPLY_TIMEOUT.as_secs());
    }
}
