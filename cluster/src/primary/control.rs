use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, geteuid};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::core::Core;
use super::handle::ClusterHandle;
use crate::control::{
    Answer, Command, ErrorCode, MAX_REQUEST, NoLine, Refusal, Reply, StatusReply, StopMode,
    StopReply, WorkerReply,
};
use crate::control::{read_line, request};
use crate::error::{ReloadError, ScaleError, UpgradeError};
use crate::id::WorkerId;
use crate::status::{Phase, WorkerInfo};

/// Connections at a time.
const MAX_CLIENTS: usize = 16;

/// How long a client may take for a request, counted from the connection or the last reply.
const REQUEST: Duration = Duration::from_secs(10);

/// How long a client may take to read a reply.
const REPLY: Duration = Duration::from_secs(5);

/// How long the end of the cluster waits for clients to be told of it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How often it is looked whether a client still waits for its reply.
const LOOK: Duration = Duration::from_millis(200);

/// The pause after an accept that failed for want of descriptors or memory, so that the loop does
/// not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Obeys operators until the cluster has ended and those that wait for it are told.
pub(super) async fn serve(core: &Arc<Core>, listener: UnixListener) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            () = core.ended() => break,
            // Those that knock from now on are the successor's.
            () = core.handed_over() => break,
            Some(_) = clients.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => match admit(&stream, clients.len()) {
                    Ok(()) => drop(clients.spawn(attend(stream, Arc::clone(core)))),
                    Err(refusal) => {
                        tracing::warn!(%refusal, "an operator was refused");
                        // An empty queue has room for it; a client that is gone does not want it.
                        let _ = stream.try_write(&Answer::line(Err(refusal)));
                    }
                },
                Err(error) => {
                    tracing::warn!(%error, "an operator could not be let in; the next is tried after a pause");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    core.ended().await;
    if timeout(LAST_WORDS, async { while clients.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!("an operator does not read its reply, and is not waited for");
    }
}

/// Whether a client is answered at all. The mode of the socket keeps other users away; this holds
/// also if somebody changes it.
fn admit(stream: &UnixStream, clients: usize) -> Result<(), Refusal> {
    let peer = stream
        .peer_cred()
        .map_err(|error| ErrorCode::Forbidden.because(format!("your user is unknown: {error}")))?;
    let own = geteuid().as_raw();
    if peer.uid() != own && peer.uid() != 0 {
        let message = format!(
            "uid {} may not give orders to a primary of uid {own}; only that user and root may",
            peer.uid()
        );
        return Err(ErrorCode::Forbidden.because(message));
    }
    if clients >= MAX_CLIENTS {
        return Err(ErrorCode::Busy.because(format!(
            "{MAX_CLIENTS} connections are open already; close one, or try again later"
        )));
    }
    Ok(())
}

/// Takes the requests of one client, one after the other.
async fn attend(stream: UnixStream, core: Arc<Core>) {
    let mut stream = BufReader::new(stream);
    loop {
        let read = tokio::select! {
            biased;
            read = timeout(REQUEST, read_line(&mut stream, MAX_REQUEST)) => read,
            () = core.ended() => return,
        };
        let (result, goes_on) = match read {
            Ok(Ok(line)) => match request(&line).inspect(|command| note(command, stream.get_ref()))
            {
                Ok(command) => tokio::select! {
                    biased;
                    result = obey(command, &core) => (result, true),
                    // What was ordered stands.
                    () = hung_up(stream.get_ref()) => return,
                },
                Err(refusal) => (Err(refusal), true),
            },
            Ok(Err(NoLine::TooLong)) => (
                Err(ErrorCode::TooLarge
                    .because(format!("a request may have {MAX_REQUEST} bytes, this one has more"))),
                false,
            ),
            Ok(Err(NoLine::End | NoLine::Failed(_))) => return,
            Err(_) => (
                Err(ErrorCode::TooSlow.because(format!("no whole request came within {REQUEST:?}"))),
                false,
            ),
        };
        let written = timeout(REPLY, stream.get_mut().write_all(&Answer::line(result))).await;
        if !goes_on || !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}

/// Leaves in the log who changed what.
fn note(command: &Command, stream: &UnixStream) {
    if *command != Command::Status {
        let peer = stream.peer_cred().ok();
        tracing::info!(
            ?command,
            uid = peer.map(|peer| peer.uid()),
            pid = peer.and_then(|peer| peer.pid()),
            "order received"
        );
    }
}

/// Waits until a client can read nothing any more. That it sends nothing any more means less: it
/// can still wait for the reply.
async fn hung_up(stream: &UnixStream) {
    loop {
        sleep(LOOK).await;
        let mut client = [PollFd::new(stream, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if matches!(poll(&mut client, Some(&now)), Ok(1))
            && client[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
        {
            return;
        }
    }
}

/// Carries an order out. Dropping the future takes none back.
async fn obey(command: Command, core: &Arc<Core>) -> Result<Reply, Refusal> {
    let cluster = ClusterHandle::new(Arc::clone(core));
    if let Some(pid) = core.successor().filter(|_| command != Command::Status) {
        return Err(ErrorCode::Stopping
            .because(format!("primary {pid} has taken over; connect again to reach it")));
    }
    match command {
        Command::Status => Ok(Reply::Status(status(core, &cluster))),
        Command::Reload => match cluster.reload().await {
            Ok(report) => Ok(Reply::Reloaded(report.into())),
            Err(ReloadError::Stopping) => Err(stopping()),
            Err(error) => Err(ErrorCode::Failed.because(error.to_string())),
        },
        Command::Upgrade => match cluster.upgrade().await {
            Ok(pid) => Ok(Reply::Upgraded { pid }),
            Err(UpgradeError::Stopping) => Err(stopping()),
            Err(error) => Err(ErrorCode::Failed.because(error.to_string())),
        },
        Command::Scale { workers } => scale(&cluster, workers).await,
        Command::Drain { id } => match cluster.drain(id).await {
            Ok(cause) => Ok(Reply::Drained { id, cause }),
            Err(_) => Err(gone(id)),
        },
        Command::Kill { id, signal } => kill(&cluster, id, signal),
        Command::Stop { mode } => stop(core, mode).await,
    }
}

async fn scale(cluster: &ClusterHandle, workers: NonZeroUsize) -> Result<Reply, Refusal> {
    match cluster.scale(workers).await {
        Ok(()) => Ok(Reply::Scaled { workers }),
        Err(ScaleError::Stopping) => Err(stopping()),
        Err(error) => Err(ErrorCode::Failed.because(error.to_string())),
    }
}

fn kill(cluster: &ClusterHandle, id: WorkerId, signal: Signal) -> Result<Reply, Refusal> {
    if cluster.kill(id, signal).is_ok() {
        return Ok(Reply::Signalled { id });
    }
    if cluster.workers().iter().any(|worker| worker.id == id) {
        return Err(ErrorCode::Failed.because(format!(
            "the system refuses to send worker {id} a signal; the primary's log says why"
        )));
    }
    Err(gone(id))
}

/// Not by the handle, whose wait ends only after the last client was told.
async fn stop(core: &Core, mode: StopMode) -> Result<Reply, Refusal> {
    core.stop(match mode {
        StopMode::Graceful => Phase::Stopping,
        StopMode::Fast => Phase::StoppingFast,
    });
    core.ended().await;
    match core.outcome.borrow().as_ref() {
        Some(Ok(report)) => Ok(Reply::Stopped(StopReply::from(report))),
        Some(Err(error)) => Err(ErrorCode::Failed.because(error.to_string())),
        None => Err(stopping()),
    }
}

fn status(core: &Core, cluster: &ClusterHandle) -> StatusReply {
    let status = cluster.status();
    let worker = |info: WorkerInfo| {
        let leaves = core.see(|board| board.leaves(info.id));
        WorkerReply::new(&info, leaves)
    };
    StatusReply {
        phase: status.phase,
        pid: std::process::id(),
        uptime: core.office.uptime(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        addresses: status.addresses,
        slots: status.slots.iter().map(Into::into).collect(),
        workers: cluster.workers().into_iter().map(worker).collect(),
    }
}

fn gone(id: WorkerId) -> Refusal {
    ErrorCode::Gone.because(format!("there is no worker {id}; status lists those that live"))
}

fn stopping() -> Refusal {
    ErrorCode::Stopping.because("the cluster stops")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::io::AsyncReadExt;
    use tokio::time::Instant;

    use super::*;
    use crate::config::ClusterBuilder;
    use crate::image::Image;

    /// A client of a cluster without ports and workers.
    fn client() -> (UnixStream, impl Future<Output = ()>) {
        let core = Core::open(
            ClusterBuilder::new(Image::of_this_process().unwrap(), None),
            BTreeMap::new(),
            None,
        )
        .unwrap()
        .0;
        let (ours, theirs) = UnixStream::pair().unwrap();
        (theirs, attend(ours, Arc::new(core)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_does_not_come_to_an_end_is_given_up() {
        let (mut theirs, attended) = client();
        let began = Instant::now();
        let speak = async {
            theirs.write_all(b"{\"command\":\"status\"}\n{\"comm").await.unwrap();
            let mut heard = String::new();
            theirs.read_to_string(&mut heard).await.unwrap();
            heard
        };
        let (heard, ()) = tokio::join!(speak, attended);
        let lines: Vec<_> = heard.lines().collect();
        assert!(
            lines.len() == 2 && lines[0].contains("running") && lines[1].contains("too_slow"),
            "{heard}"
        );
        assert_eq!(began.elapsed().as_secs(), REQUEST.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_given_up() {
        let (mut theirs, attended) = client();
        let began = Instant::now();
        let attended = tokio::spawn(attended);
        while theirs.write_all(b"{\"command\":\"status\"}\n").await.is_ok() {}
        attended.await.unwrap();
        assert_eq!(began.elapsed().as_secs(), REPLY.as_secs());
    }
}
