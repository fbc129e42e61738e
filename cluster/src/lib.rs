//! A primary process and worker processes that share listening ports.
//!
//! One program is both. The process that a user or a service manager starts is the *primary*: it
//! opens the ports and starts the same program again as *workers*. The workers accept connections
//! from the shared ports. The crate is independent of the protocol and of any web framework.
//!
//! # Guarantees
//!
//! - The primary replaces a worker that dies: at once, then with a [growing delay](RestartPolicy).
//!   It gives up a slot whose workers die too often. The other slots continue. When no slot is
//!   left, [`ClusterHandle::wait`] returns an error.
//! - A replacement runs the same build, even if the program file was overwritten or deleted.
//! - No worker outlives the primary by more than two seconds (with the default
//!   [`DrainPolicy::orphan`]), even after `kill -9` and with a blocked event loop. Then the ports
//!   are free.
//! - A [reload](ClusterHandle::reload) starts a new worker, waits until it is ready, and only then
//!   drains the old one. If a new worker fails, the reload ends and the old worker continues.
//! - An [upgrade](ClusterHandle::upgrade) replaces the primary. The new primary takes over the
//!   ports. The old one drains only when all workers of the new one are ready. Any earlier failure
//!   leaves the old one unchanged.
//! - The primary kills and replaces a worker whose event loop is [blocked](HeartbeatPolicy) or
//!   whose process is stopped. With one [pulse](Worker::pulse) per thread this includes one blocked
//!   thread of several. Before a worker is ready, and while it drains, other deadlines apply. A
//!   primary that was itself stopped, suspended or starved does not count that time as silence.
//! - A worker that reaches a limit of [`RecyclePolicy`] is replaced as in a reload, one at a time.
//! - A stop ends by its deadline. Idle workers do not delay it. A stuck worker is killed, and the
//!   [report](ShutdownReport) names it.
//! - During a stop the kernel completes no new connections. Workers can accept and answer those
//!   that it had completed before; later ones are refused.
//! - A worker that does not read blocks no other process. Its queue is bounded. Messages that do
//!   not fit are rejected with a [typed error](SendError::Full) and counted. Queued messages arrive
//!   whole and in order.
//! - A [request](ClusterHandle::request) always ends: with the reply, at its timeout, or at once
//!   when the receiver has ended, does not read requests, or drops the request.
//! - A worker inherits its standard streams, the ports, its control socket and the descriptors of
//!   [`ClusterBuilder::inherit`]. Its own children inherit none of these, and not its role.
//! - Signals reach the intended process, never another process with a reused id.
//! - A failed start leaves no process, no open port and no file.
//! - A [pid file](ClusterBuilder::pid_file) and a [control socket](control) belong to one live
//!   primary. A second primary is refused. Files that a crash left behind are replaced.
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
//! When actix-web stops, gracefully or not, it drops connections that it has accepted and not yet
//! begun to read. Its `pause` returns a moment before the acceptor stops. So the order of steps
//! matters. `examples/actix.rs` shows them:
//!
//! 1. Build the server with `workers(1)`, because the processes are the parallelism, and with
//!    `disable_signals()`, because the primary decides. Use `actix-server` 2.10 or later, which
//!    fixes races in its graceful stop.
//! 2. On the order, answer with `Connection: close` from now on, so that keep-alive clients connect
//!    to other workers.
//! 3. Continue for [`accept`](DrainOrder::accept). It is zero while other workers share the port.
//!    When the cluster stops, this time empties the kernel's queue.
//! 4. Call `handle.pause().await`, then wait for [`quiet`](DrainOrder::quiet), so that accepted
//!    connections reach a handler.
//! 5. Call `handle.stop(true)`, wait for it at most until the
//!    [`deadline`](DrainOrder::deadline), and return.
//! 6. Meanwhile watch [`Worker::order_changed`]: a second order can shorten the stop, and the
//!    primary can die.
//!
//! # Requests
//!
//! The primary sends requests to workers, and workers send requests to the primary, in types of the
//! program. Each request has a timeout.
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
//! Messages, requests and replies of one side arrive in the order in which they were queued. The
//! receiver then has one queue for each of the three kinds. So when a request or a reply arrives,
//! everything that its sender sent before is already there.
//!
//! # Logs
//!
//! All processes write to the standard streams of the primary. The system keeps the bytes of one
//! write together: up to 4,096 bytes into a pipe, without a limit into a file. So lines are whole,
//! and the lines of each worker are in order, if every line is one write. `tracing_subscriber::fmt`
//! with `with_writer(std::io::stderr)` does that, and so does `write_all` of a whole line.
//! `eprintln!` writes each piece separately, and `println!` splits text that is longer than its
//! buffer of about 1 KiB. Then lines of several processes mix, as do lines above 4,096 bytes in a
//! full pipe.
//!
//! The reader of the pipe must keep reading. While the pipe is full, every process that writes to
//! it blocks with its event loop, also the primary. A stop by the primary then waits too. Workers
//! still notice the end of the primary.
//!
//! # Signals
//!
//! | to | signal | effect |
//! |---|---|---|
//! | primary | `TERM`, `QUIT` | graceful stop |
//! | primary | `INT` | fast stop; the second kills |
//! | primary | `HUP` | rolling [reload](ClusterHandle::reload); one more reload is queued during a reload, further signals are merged with it |
//! | primary | `TTIN`, `TTOU` | one slot more, one less; the last slot stays |
//! | primary | `USR2` | [upgrade](ClusterHandle::upgrade) of the primary; a signal during an upgrade starts another one if the first failed |
//! | primary | `USR1` | a line in the log |
//! | worker | `TERM` | a connected worker drains after a quarter of a second and is replaced; a worker that is not connected ends |
//! | primary and workers | `TERM` | graceful stop in any order of arrival, because workers wait a moment for the order of the primary |
//! | worker | others | as for any process; Ctrl-C at a terminal does not reach workers |
//!
//! So `KillMode=control-group` of systemd, its default, and `KillMode=mixed` both stop a cluster
//! gracefully.
//!
//! # Service managers
//!
//! If systemd starts the primary with `Type=notify` or `notify-reload`, it sets `NOTIFY_SOCKET`.
//! Then the primary sends `READY=1` when every slot serves or is given up; `RELOADING=1` when a
//! reload begins, and `READY=1` when it ends, also if it failed; `MAINPID=` at an upgrade;
//! `STOPPING=1`; and in `STATUS=` how many workers serve. With `WatchdogSec=` the runtime that
//! supervises the workers sends `WATCHDOG=1` twice in that time, and nothing while it is stuck. The
//! primary never waits longer than one second for the service manager. Workers do not get these
//! variables.
//!
//! # Limits
//!
//! - Linux only: 5.3 or later for pidfd, with `/proc`.
//! - The kernel distributes connections over the workers. It prefers workers that wait.
//! - A worker stopped by `SIGSTOP` cannot notice that its primary died. It ends when it is
//!   continued.
//! - As process 1 of a container the primary reaps orphans. So the program must wait for its own
//!   children of the primary within five seconds of their end, or their exit status is lost. Under
//!   an init (`docker run --init`) this limit does not apply.
//! - A heartbeat shows that an event loop runs, not that requests are answered. It does not detect
//!   a handler that waits for ever. In a runtime of several threads it shows that one of them runs.
//! - The primary does not supervise children of workers. They do not keep ports open.
//! - In the primary up to 1,024 events are kept for each reader, with 8 MiB of messages in all. In
//!   a worker up to 256 messages of up to 1 MiB each are kept. So read the messages, or send none.
//! - Unanswered requests of one peer and replies that it has not read are limited to 8 MiB in all,
//!   each counted with 256 bytes on top. In the primary the limit applies to one slot, with its
//!   dead workers.

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
    ListenSpec, Message, Phase, RecyclePolicy, RecycleReason, ReloadReport, Replacement,
    RestartPolicy, ShutdownReport, Slot, SlotState, SlotStatus, Status, WorkerId, WorkerInfo,
};
pub use primary::{ClusterHandle, Shutdown, Target};
pub use role::{Role, role};
pub use rustix::process::Signal;
pub use wire::rpc::{Call, Requests};
pub use worker::{Lagged, Messages, Pulse, Worker, WorkerBoot};
