//! A primary process and worker processes that share listening ports.
//!
//! The same program runs as both. The process that a user or a service manager starts is the
//! *primary*. The primary opens the ports and starts the same program again as *workers*. The
//! workers accept connections from the shared ports. The crate works with any protocol and any web
//! framework.
//!
//! # Guarantees
//!
//! - The primary replaces a worker that dies: at once, then with a [growing delay](RestartPolicy).
//!   It gives up a slot whose workers die too often. The other slots continue. When no slot is
//!   left, [`ClusterHandle::wait`] returns an error.
//! - A replacement runs the same build, even if the program file was overwritten or deleted.
//! - No worker outlives the primary by more than two seconds (with the default
//!   [`DrainPolicy::orphan`]). This is true even after `kill -9` and with a blocked event loop.
//!   After that time the ports are free.
//! - A [reload](ClusterHandle::reload) starts a new worker, waits until it is ready, and only then
//!   drains the old one. If a new worker fails, the reload ends and the old worker continues.
//! - An [upgrade](ClusterHandle::upgrade) replaces the primary. The new primary takes over the
//!   ports. The old primary drains only when all workers of the new primary are ready. If the
//!   upgrade fails before that, the old primary continues unchanged.
//! - The primary kills and replaces a worker whose event loop is [blocked](HeartbeatPolicy) or
//!   whose process is stopped. If each thread has a [`Heartbeat`](Worker::heartbeat), the primary
//!   also notices one blocked thread of several. Before a worker is ready, and while it drains,
//!   other deadlines apply. If the primary itself was stopped, suspended or starved, it does not
//!   count that time as silence.
//! - The primary replaces a worker that reaches a limit of [`RecyclePolicy`], one worker at a time,
//!   as in a reload.
//! - A stop ends by its deadline. Idle workers do not delay it. The primary kills a stuck worker,
//!   and the [report](ShutdownReport) names it.
//! - During a stop the kernel completes no new connections. The workers can accept and answer the
//!   connections that the kernel completed before. The kernel refuses later ones.
//! - A worker that does not read its messages does not block another process, because its queue is
//!   bounded. If a message does not fit into the queue, the sender gets a
//!   [typed error](SendError::Full), and the message is counted. Queued messages arrive whole and
//!   in order.
//! - A [request](ClusterHandle::request) always ends. It ends with the reply or at its timeout. It
//!   ends at once if the receiver has ended, does not read requests, or drops the request.
//! - A worker inherits its standard streams, the ports, its control socket and the descriptors of
//!   [`ClusterBuilder::inherit`]. A process that the worker starts inherits only the standard
//!   streams, and it is not a worker.
//! - A signal reaches the intended process. It never reaches another process with a reused id.
//! - A failed start leaves no process, no open port and no file.
//! - A [pid file](ClusterBuilder::pid_file) and a [control socket](control) belong to one live
//!   primary. A second primary does not start. A new primary replaces the files that a crash left
//!   behind.
//!
//! # Example
//!
//! ```no_run
//! use cluster::{ListenSpec, Role};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // First, before any runtime: a worker must adopt its descriptors while no other code opens
//!     // descriptors.
//!     let role = cluster::role()?;
//!     let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//!     runtime.block_on(async {
//!         match role {
//!             Role::Primary(builder) => {
//!                 let spec = ListenSpec::tcp("127.0.0.1:3000");
//!                 builder.listen("http", spec).start().await?.wait().await?;
//!             }
//!             Role::Worker(mut boot) => {
//!                 let listener = tokio::net::TcpListener::from_std(boot.take_listener("http")?)?;
//!                 let worker = boot.connect().await?;
//!                 worker.ready().await?;
//!                 loop {
//!                     tokio::select! {
//!                         order = worker.drain_requested() => {
//!                             break println!("draining: {:?}", order.reason);
//!                         }
//!                         connection = listener.accept() => drop(connection?),
//!                     }
//!                 }
//!             }
//!         }
//!         Ok(())
//!     })
//! }
//! ```
//!
//! # Drain without loss
//!
//! [`Worker::drain_requested`] returns a [`DrainOrder`], and the worker carries it out. A server
//! that accepts by itself stops accepting after [`accept`](DrainOrder::accept), answers its open
//! connections, and returns before [`deadline`](DrainOrder::deadline).
//!
//! When actix-web stops, gracefully or not, it drops connections that it has accepted but has not
//! begun to read. Its `pause` returns a moment before the server stops accepting. Therefore a
//! worker must stop in these steps, which `examples/actix.rs` shows:
//!
//! 1. Build the server with `workers(1)`, because the cluster already runs several processes, and
//!    with `disable_signals()`, because the primary decides when a worker stops. Use `actix-server`
//!    2.10 or later, which fixes races in its graceful stop.
//! 2. When the order arrives, answer with `Connection: close` from now on, so that keep-alive
//!    clients connect to other workers.
//! 3. Continue to accept for [`accept`](DrainOrder::accept). This time is zero while other workers
//!    share the port. When the cluster stops, it empties the kernel's queue.
//! 4. Call `handle.pause().await`, then wait for [`quiet`](DrainOrder::quiet), so that accepted
//!    connections reach a handler.
//! 5. Call `handle.stop(true)`, wait for it until the [`deadline`](DrainOrder::deadline) at most,
//!    and return.
//! 6. During steps 3 to 5, watch [`Worker::order_changed`]: a second order can shorten the stop,
//!    and the primary can die.
//!
//! # Requests
//!
//! The primary can send requests to workers, and workers can send requests to the primary. The
//! program defines the types of requests and replies. Each request has a timeout.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use cluster::{ClusterHandle, RequestError, Worker, WorkerId};
//! #[derive(serde::Serialize, serde::Deserialize)]
//! enum Question {
//!     Load,
//! }
//!
//! // In a worker, before `ready`: from here on it receives requests.
//! # fn worker(worker: &Worker) {
//! let mut questions = worker.requests();
//! tokio::spawn(async move {
//!     while let Some(call) = questions.next().await {
//!         let answered = match call.decode() {
//!             Ok(Question::Load) => call.reply(&0.7),
//!             // Dropping the call tells the requester that there is no reply.
//!             Err(_) => continue,
//!         };
//!         if let Err(error) = answered {
//!             tracing::warn!(%error, "reply not queued");
//!         }
//!     }
//! });
//! # }
//!
//! // In the primary.
//! # async fn primary(cluster: &ClusterHandle, id: WorkerId) -> Result<(), RequestError> {
//! let load: f64 = cluster.request(id, &Question::Load, Duration::from_secs(1)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Messages, requests and replies of one sender arrive in the order in which the sender queued
//! them. The receiver has a separate queue for each of these three kinds. When the receiver gets a
//! request or a reply, everything that the sender sent earlier is already in these queues.
//!
//! # Logs
//!
//! All processes write to the standard streams of the primary. The system does not mix the bytes of
//! one write with those of another. Into a pipe this is true up to 4,096 bytes, and into a file
//! without a limit. So lines are whole, and the lines of each worker are in order, if a program
//! writes every line with one call. `tracing_subscriber::fmt` with `with_writer(std::io::stderr)`
//! does that, and so does `write_all` of a whole line. `eprintln!` makes several writes, and
//! `println!` splits text that is longer than its buffer of about 1 KiB. In these cases the lines
//! of several processes can mix. Lines above 4,096 bytes can also mix in a full pipe.
//!
//! The reader of the pipe must keep reading. While the pipe is full, every process that writes to
//! it blocks together with its event loop. This applies to the primary too, and then a stop by the
//! primary waits. Workers still notice the end of the primary.
//!
//! # Signals
//!
//! | to | signal | effect |
//! |---|---|---|
//! | primary | `TERM`, `QUIT` | graceful stop |
//! | primary | `INT` | fast stop; a second `INT` kills the workers |
//! | primary | `HUP` | rolling [reload](ClusterHandle::reload); during a reload the primary queues one more reload and merges further signals with it |
//! | primary | `TTIN`, `TTOU` | adds a slot; removes a slot, but never the last one |
//! | primary | `USR2` | [upgrade](ClusterHandle::upgrade) of the primary; a signal during an upgrade starts another upgrade if the first one fails |
//! | primary | `USR1` | ignored, with a warning in the log |
//! | worker | `TERM` | a connected worker drains after a quarter of a second, and the primary replaces it; a worker that is not connected ends |
//! | primary and workers | `TERM` | graceful stop, whichever process gets the signal first, because a worker waits a quarter of a second for the order of the primary |
//! | worker | other signals | the default effect of the signal; Ctrl-C at a terminal does not reach workers |
//!
//! Therefore `KillMode=control-group` of systemd, which is the default, stops a cluster gracefully,
//! and so does `KillMode=mixed`.
//!
//! # Service managers
//!
//! If systemd starts the primary with `Type=notify` or `notify-reload`, it sets `NOTIFY_SOCKET`.
//! Then the primary sends these notices:
//!
//! - `READY=1` when every slot serves or is given up
//! - `RELOADING=1` when a reload begins, and `READY=1` when it ends, also if it failed
//! - `MAINPID=` at an upgrade
//! - `STOPPING=1` when the cluster stops
//! - `STATUS=` with the number of workers that serve
//!
//! With `WatchdogSec=` the runtime that supervises the workers sends `WATCHDOG=1` twice within that
//! time. While this runtime is stuck, it sends nothing. The primary waits for the service manager
//! for at most one second. Workers do not get the variables of the service manager.
//!
//! # Limits
//!
//! - Linux only: 5.3 or later for pidfd, with `/proc`.
//! - The kernel distributes connections over the workers. It prefers workers that wait.
//! - A worker that is stopped by `SIGSTOP` cannot notice that its primary died. It ends when it is
//!   continued.
//! - As process 1 of a container the primary reaps orphaned processes. If the program starts
//!   children in the primary, it must wait for each child within five seconds after the child has
//!   ended. Otherwise the exit status of the child is lost. With an init process
//!   (`docker run --init`) this limit does not apply.
//! - A heartbeat shows that an event loop runs. It does not show that the worker answers requests,
//!   and it does not detect a handler that waits for ever. In a runtime of several threads it shows
//!   that one of them runs.
//! - The primary does not supervise children of workers. These children do not keep ports open.
//! - In the primary each reader of events has a queue of up to 1,024 events, with 8 MiB of messages
//!   in all. A worker keeps up to 256 messages of up to 1 MiB each. If the program does not read
//!   its messages, the queue fills up, so do not send messages that no code reads.
//! - The unanswered requests of one peer, and the replies that the peer has not read, take at most
//!   8 MiB in all. Each of them counts with its length and 256 bytes. In the primary this limit
//!   applies to all workers of one slot, including dead ones.

#[cfg(not(target_os = "linux"))]
compile_error!("cluster needs Linux: it uses pidfd, /proc and inherited descriptors");

mod builder;
pub mod control;
mod error;
mod event;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod lock;
mod model;
mod os;
mod primary;
mod role;
mod wire;
mod worker;

pub use builder::{ClusterBuilder, Workers};
pub use error::{
    BootError, DecodeError, Gone, ReloadError, ReplyError, RequestError, RunError, ScaleError,
    SendError, StartError, UpgradeError,
};
pub use event::{Event, Events};
pub use model::{
    Addresses, DrainOrder, DrainPolicy, DrainReason, Ended, ExitCause, GiveUp, HeartbeatPolicy,
    ListenAddress, ListenSpec, Message, Phase, RecyclePolicy, RecycleReason, ReloadReport,
    Replacement, RestartPolicy, ShutdownReport, Slot, SlotState, SlotStatus, Status, WorkerId,
    WorkerInfo,
};
pub use primary::{ClusterHandle, Shutdown, Target};
pub use role::{Role, role};
pub use rustix::process::Signal;
pub use wire::rpc::{Call, Requests};
pub use worker::{Heartbeat, Lagged, Messages, Worker, WorkerBoot};
