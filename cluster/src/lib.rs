//! Primary and worker processes that share listening ports, supervised.
//!
//! One program is both: the process that somebody starts is the *primary*, which opens the ports
//! and starts itself again as many *workers*, which accept from them. The crate knows nothing of
//! what is served and of no web framework.
//!
//! # Guarantees
//!
//! - A worker that dies is replaced: at once, then with a [growing delay](RestartPolicy). A slot
//!   whose workers die too often is given up; the others go on. When none is left,
//!   [`ClusterHandle::wait`] ends with an error.
//! - A replacement is the same program, bit for bit, even if the file was overwritten or deleted
//!   meanwhile.
//! - Nothing outlives the primary: two seconds after `kill -9` of it (with the default
//!   [`DrainPolicy::orphan`]) all workers are gone and the ports are free, also when a handler
//!   blocks the event loop.
//! - A [reload](ClusterHandle::reload) starts the new worker, waits until it is ready and only then
//!   lets the old one go. One that fails ends the reload, and the old worker serves on.
//! - An [upgrade](ClusterHandle::upgrade) replaces the primary itself. The new one takes over the
//!   ports, and the old one leaves only when all workers of the new one are ready; whatever fails
//!   before leaves the old one as it was.
//! - A worker whose event loop is [blocked](HeartbeatPolicy), or whose process is stopped, is
//!   killed and replaced; so is one of which only one thread of several is blocked, if each has a
//!   [pulse](Worker::pulse). Before it is ready and while it leaves other deadlines hold. A primary
//!   that was itself stopped, suspended or starved kills nobody for that.
//! - A worker that has reached a limit of [`Recycle`] is replaced as in a reload, one at a time.
//! - A stop ends by its deadline. Idle workers do not delay it; one that is stuck is killed, and
//!   the [report](ShutdownReport) names it.
//! - While the whole cluster stops, no connection is let in that nobody would serve: those that the
//!   kernel had completed before can be accepted and answered, later ones are refused.
//! - A worker that does not read stops nobody. Its queue is bounded; what does not fit is refused
//!   with a [typed error](SendError::Full) and counted. Messages that are taken arrive whole and in
//!   order.
//! - A [request](ClusterHandle::request) ends: with the reply, or by its time, or at once when the
//!   other side is gone, does not listen, or drops it.
//! - A worker inherits its standard streams, the ports, its control socket and what
//!   [`ClusterBuilder::inherit`] gave it; its own children inherit none of these, nor its role.
//! - Signals reach the process that is meant, never a stranger with a reused id.
//! - A start that fails leaves neither a process nor an open port, nor a file.
//! - A [pid file](ClusterBuilder::pid_file) and a [control socket](control) belong to one living
//!   primary. A second one is refused, and what a crash left behind is in nobody's way.
//!
//! # Example
//!
//! ```no_run
//! use cluster::{ListenSpec, Role};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // First, before any runtime: a worker has to find its descriptors while nobody else opens any.
//!     let role = cluster::role()?;
//!     let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//!     runtime.block_on(async {
//!         match role {
//!             Role::Primary(builder) => {
//!                 let cluster = builder.listen("http", ListenSpec::tcp("127.0.0.1:3000")).start().await?;
//!                 cluster.wait().await?;
//!             }
//!             Role::Worker(mut boot) => {
//!                 let listener = tokio::net::TcpListener::from_std(boot.take_listener("http")?)?;
//!                 let worker = boot.connect().await?;
//!                 worker.ready().await?;
//!                 loop {
//!                     tokio::select! {
//!                         order = worker.drain_requested() => break println!("leaving: {:?}", order.reason),
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
//! # Leaving without loss
//!
//! [`Worker::drain_requested`] gives a [`DrainOrder`]; the worker carries it out. For a server that
//! accepts by itself, stop accepting after [`accept`](DrainOrder::accept), answer what is open,
//! return before [`deadline`](DrainOrder::deadline).
//!
//! actix-web drops connections that it accepted and has not begun to read when it is stopped,
//! graceful or not, and its `pause` answers a moment before the acceptor obeys. So the order of
//! steps matters; `examples/actix.rs` has them:
//!
//! 1. Build the server with `workers(1)`, because processes are the parallelism, and
//!    `disable_signals()`, because the primary decides. Use `actix-server` 2.10 or later, which
//!    mends races in its graceful stop.
//! 2. On the order, answer with `Connection: close` from now on, so that keep-alive clients go
//!    elsewhere by themselves.
//! 3. Go on for [`accept`](DrainOrder::accept). It is zero while siblings share the port. When the
//!    cluster stops, it is the time in which the queue of the kernel is emptied.
//! 4. `handle.pause().await`, then wait for [`quiet`](DrainOrder::quiet): what was accepted reaches
//!    a handler.
//! 5. `handle.stop(true)`, at most for what is left of the [`deadline`](DrainOrder::deadline), and
//!    return.
//! 6. Meanwhile watch [`Worker::order_changed`]: a stop can be hurried, and the primary can die.
//!
//! # Requests
//!
//! The primary asks workers, and workers ask the primary, in types of the program. Nobody waits
//! longer than the time that it names.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use cluster::{ClusterHandle, RequestError, Worker, WorkerId};
//! #[derive(serde::Serialize, serde::Deserialize)]
//! enum Question {
//!     Load,
//! }
//!
//! // In a worker, before `ready`: from here on questions reach it.
//! # fn worker(worker: &Worker) {
//! let mut questions = worker.requests();
//! tokio::spawn(async move {
//!     while let Some(call) = questions.next().await {
//!         let answered = match call.decode() {
//!             Ok(Question::Load) => call.reply(&0.7),
//!             // Dropped, which the one who asks is told.
//!             Err(_) => continue,
//!         };
//!         if let Err(error) = answered {
//!             tracing::warn!(%error, "a reply is lost");
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
//! What one side sends and asks arrives in the order in which it was queued; messages, requests and
//! replies then have a queue each. So when a request or a reply is there, what its sender sent
//! before is there to be read as well. Replies come in the order in which they were given.
//!
//! # Logs
//!
//! All processes write to the streams that the primary was given. The system keeps the bytes of one
//! write together, up to 4,096 into a pipe and without such a limit into a file, so lines are whole
//! and each worker's are in order if every line is one write. `tracing_subscriber::fmt` does that
//! with `with_writer(std::io::stderr)`, and so does `write_all` of a whole line. `eprintln!` writes
//! each piece by itself, and `println!` what is longer than its buffer of about a kilobyte: lines
//! of several processes mix then. So do lines above 4,096 bytes in a pipe that is full.
//!
//! Who reads the pipe must go on reading. While it is full, every process that writes to it stands
//! still, with its event loop, the primary included; a stop by the primary then waits as well. Only
//! the end of the primary is noticed all the same.
//!
//! # Signals
//!
//! | to | signal | does |
//! |---|---|---|
//! | primary | `TERM`, `QUIT` | graceful stop |
//! | primary | `INT` | fast stop; the second kills |
//! | primary | `HUP` | rolling [reload](ClusterHandle::reload); one that comes during a reload follows it, more are the same one |
//! | primary | `TTIN`, `TTOU` | one slot more, one less; the last one stays |
//! | primary | `USR2` | [upgrade](ClusterHandle::upgrade) of the primary itself; one that comes during another follows it, if that failed |
//! | primary | `USR1` | a line in the log |
//! | worker | `TERM` | once connected: this worker drains, from a quarter of a second later, and is replaced; before: it ends |
//! | primary and workers | `TERM` | graceful stop, whoever is reached first: the moment that a worker waits lets the primary's order come first |
//! | worker | others | what they do to any process; Ctrl-C at a terminal does not reach workers |
//!
//! So `KillMode=control-group` of systemd, its default, and `KillMode=mixed` stop a cluster alike.
//!
//! # Service managers
//!
//! If systemd has started the primary with `Type=notify` or `notify-reload`, and so set
//! `NOTIFY_SOCKET`, it is told without further ado: `READY=1` when every slot serves or is given
//! up; `RELOADING=1` when a reload begins, and `READY=1` when it is over, also if it failed;
//! `MAINPID=` at an upgrade; `STOPPING=1`; in `STATUS=` how many workers serve. With `WatchdogSec=`
//! it gets `WATCHDOG=1` twice in that time from the runtime that supervises the workers, and
//! nothing if that is stuck. None of it is ever waited for longer than a second. Workers do not see
//! the variables.
//!
//! # Limits
//!
//! - Linux only: 5.3 or later for pidfd, with `/proc`.
//! - How connections spread over workers is up to the kernel; it favours workers that wait.
//! - A worker stopped by `SIGSTOP` cannot notice that its primary died; it ends when it is
//!   continued.
//! - As process 1 of a container the primary reaps the orphans that the system gives it. So
//!   children that the program itself starts in the primary must be waited for within five seconds
//!   of their end, or their status is lost; under an init (`docker run --init`) there is no such
//!   limit.
//! - A heartbeat tells that an event loop runs, not that requests are answered: a handler that
//!   waits for ever is not noticed. In a runtime of several threads it tells that one of them runs.
//! - Children that a worker starts are not followed. They do not keep ports open.
//! - In the primary up to 1,024 events wait for each reader, with 8 MiB of messages in all. In a
//!   worker up to 256 messages wait, of up to 1 MiB each: read them, or send none.
//! - Requests of one peer that are not answered, and replies that it has not read, are kept up to 8
//!   MiB in all, each with 256 bytes on top. In the primary that is for one slot, those of its dead
//!   workers included.

#[cfg(not(target_os = "linux"))]
compile_error!("cluster needs Linux: it rests on pidfd, /proc and inherited descriptors");

mod boot;
mod call;
mod config;
pub mod control;
mod drain;
mod error;
mod event;
mod frame;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod heartbeat;
mod held;
mod id;
mod image;
mod inheritance;
mod line;
mod listener;
mod message;
mod notify;
mod operation;
mod outbox;
mod pid_file;
mod primary;
mod pulse;
mod recycle;
mod restart;
mod role;
mod status;
mod succession;
mod sys;
mod worker;

pub use boot::WorkerBoot;
pub use call::{Call, Requests};
pub use config::{ClusterBuilder, Workers};
pub use drain::{DrainOrder, DrainPolicy, DrainReason};
pub use error::{
    BootError, DecodeError, Gone, ReloadError, ReplyError, RequestError, RunError, ScaleError,
    SendError, StartError, UpgradeError,
};
pub use event::{Addresses, Event, Events, ExitCause};
pub use heartbeat::HeartbeatPolicy;
pub use id::{Slot, WorkerId};
pub use listener::ListenSpec;
pub use message::Message;
pub use primary::{ClusterHandle, Shutdown, Target};
pub use pulse::Pulse;
pub use recycle::{Recycle, RecycleWhy};
pub use restart::{GiveUp, RestartPolicy};
pub use role::{Role, role};
pub use rustix::process::Signal;
pub use status::{
    Ended, Phase, ReloadReport, Replacement, ShutdownReport, SlotState, SlotStatus, Status,
    WorkerInfo,
};
pub use worker::{Lagged, Messages, Worker};
