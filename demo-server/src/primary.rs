//! The process that was started by hand: it opens the port, owns the sessions and keeps the
//! workers.

use std::{
    io::{self, Write},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use cluster::{
    ClusterBuilder, ClusterHandle, DrainPolicy, Event, Events, ExitCause, GiveUp, ListenSpec,
    RestartPolicy, Shutdown,
};
use session_core::{SweeperHandle, spawn_sweeper};
use store_ipc::{HandoverError, OwnerError, OwnerHandle};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    bequest,
    connections::Connections,
    cookies, ctl,
    metrics::{self, Metrics},
    owner,
    problem::Problem,
    settings::{CookieMode, Settings, Store, Task, without_password},
};

/// A worker that was killed is back at once; one that crashes again and again is tried once a
/// second.
const RESTART: RestartPolicy = RestartPolicy {
    base: Duration::from_millis(100),
    factor: 2.0,
    cap: Duration::from_secs(1),
    jitter: 0.2,
    stable_after: Duration::from_secs(3),
    give_up: GiveUp { deaths: 100, window: Duration::from_mins(1) },
};

/// How often rows of a database are purged whose time is over, and how many in one step. They are
/// dead at their deadline; this only frees their room.
const SWEEP: Duration = Duration::from_mins(1);
const SWEEP_BATCH: usize = 500;

/// How long handing the sessions over may take. What is too late is lost, so it is far above what
/// the most sessions need; calls that wait longer than their deadline are answered 503.
const HAND_OVER: Duration = Duration::from_mins(5);

/// Does what the command line says.
#[expect(
    clippy::print_stdout,
    reason = "what a command-line program says on standard output is its interface"
)]
pub(crate) fn run(builder: ClusterBuilder) -> Result<(), Problem> {
    match Task::from_process()? {
        Task::PrintConfig(text) => print!("{text}"),
        Task::Order(order) => ctl::run(&order)?,
        Task::Own(settings) => {
            log(settings.log);
            owner::run(&settings)?;
        }
        Task::Serve(settings) => {
            log(settings.log);
            runtime()?.block_on(serve(builder, settings))?;
        }
    }
    Ok(())
}

async fn serve(mut builder: ClusterBuilder, settings: Settings) -> Result<(), Problem> {
    let left = builder
        .take_from_predecessor("cookie-key")
        .map(bequest::read)
        .transpose()
        .map_err(Problem::io("cannot read what the predecessor left"))?;
    let (settings, drawn) = cookies::with_key(settings, left)?;
    // Whatever a worker would refuse is refused here, before a port is opened.
    cookies::check(&settings)?;
    Connections::new(&settings)?;
    let (metrics, builder) = Metrics::open(&settings, builder)?;
    let mut builder = builder
        .workers(settings.workers)
        .listen(
            "http",
            ListenSpec::tcp(settings.listen.to_string()).send_timeout(settings.send_timeout),
        )
        .settings(settings.to_bytes())
        // The arguments of this process can hold a key or a password. Workers get the settings over
        // a channel.
        .worker_args(["worker"])
        .drain(DrainPolicy {
            deadline: settings.drain,
            quiet: DrainPolicy::default().quiet.min(settings.drain / 4),
            ..DrainPolicy::default()
        })
        .restart(RESTART);
    if let Some(path) = &settings.control {
        builder = builder.control(path);
    }
    if let Some(path) = &settings.pid_file {
        builder = builder.pid_file(path);
    }
    let is_drawn = drawn.is_some();
    if let Some(key) = drawn {
        builder = builder.pass_to_successor("cookie-key", move || bequest::leave(&key));
    }
    // The owner has a thread of its own, so that neither waits for the other.
    let owner = if settings.store == Store::Primary {
        let owner = owner::spawn(&settings, builder.take_from_predecessor("sessions"))?;
        builder = with_owner(builder, &owner);
        Some(owner)
    } else {
        None
    };
    let _sweeper = sweeper(&settings).await?;
    let cluster = builder.start().await?;
    let mut events = cluster.events();
    let counted_at = metrics
        .as_ref()
        .map(Metrics::address)
        .transpose()
        .map_err(Problem::io("cannot tell the address of the metrics"))?;
    if let Some(metrics) = metrics {
        metrics.serve(&cluster);
    }
    if let Some(refused) = first_boot(&cluster, &mut events).await? {
        cluster.shutdown(Shutdown::Fast).await;
        return Err(refused);
    }
    greet(&settings, &cluster, counted_at, is_drawn);
    let report = async {
        while let Some(event) = events.next().await {
            tell(&event);
        }
    };
    let (came, ended, ()) =
        tokio::join!(takeover(owner.as_ref(), &cluster), cluster.wait(), report);
    came?;
    let ended = ended?;
    let killed: Vec<_> = ended.killed().map(|id| id.to_string()).collect();
    if !killed.is_empty() {
        tracing::warn!(
            workers = killed.join(" "),
            "these workers did not finish in time and were killed"
        );
    }
    match (ended.successor, owner) {
        (Some(successor), Some(owner)) => hand_over(successor, &owner).await,
        _ => Ok(()),
    }
}

/// Gives each worker a way to the sessions, and a primary that shall take this one's place as well.
fn with_owner(builder: ClusterBuilder, owner: &OwnerHandle) -> ClusterBuilder {
    let (to_worker, to_successor) = (owner.clone(), owner.clone());
    builder
        .inherit("sessions", move |_| {
            let (ours, theirs) = UnixStream::pair()?;
            to_worker.serve(ours).map_err(io::Error::other)?;
            Ok(theirs.into())
        })
        .pass_to_successor("sessions", move || {
            let (ours, theirs) = UnixStream::pair()?;
            to_successor.attach_successor(ours).map_err(|error| match error {
                OwnerError::AwaitingHandover => io::Error::other("the primary before this one still has the sessions; try again when it has left"),
                error => io::Error::other(error),
            })?;
            Ok(theirs.into())
        })
}

/// Waits for the sessions of the primary before this one. Without them the workers cannot serve
/// anybody, so the cluster stops.
async fn takeover(owner: Option<&OwnerHandle>, cluster: &ClusterHandle) -> Result<(), Problem> {
    let Some(owner) = owner else { return Ok(()) };
    let came = tokio::select! {
        came = owner.wait_for_handover() => came,
        // It stops for another reason, without them.
        _ = cluster.wait() => return Ok(()),
    };
    if came.is_err() {
        cluster.shutdown(Shutdown::Fast).await;
    }
    Ok(came?)
}

/// Hands the sessions to the primary that has taken over. The workers of this one have left.
async fn hand_over(successor: u32, owner: &OwnerHandle) -> Result<(), Problem> {
    match owner.handover(HAND_OVER).await {
        Ok(handed) => {
            tracing::info!(successor, sessions = handed.sessions, took = ?handed.took, "the sessions were handed over");
        }
        // It was started with another store, and let go of what was left to it.
        Err(HandoverError::NoSuccessor(None))
            if Path::new(&format!("/proc/{successor}")).exists() =>
        {
            tracing::warn!(
                successor,
                "the new primary has another store; the sessions of this process end with it"
            );
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Purges what is over, where the store does not do it by itself: here, so that one process does it
/// for all workers.
async fn sweeper(settings: &Settings) -> Result<Option<SweeperHandle>, Problem> {
    let Some(url) = settings.store_url() else { return Ok(None) };
    if store_any::backend(url.split(':').next().unwrap_or_default())
        .is_none_or(|backend| backend.name != "sql")
    {
        return Ok(None);
    }
    let store = metrics::observed(settings, store_any::connect(&url).await?);
    Ok(Some(spawn_sweeper(store, SWEEP, SWEEP_BATCH)))
}

/// Waits until all workers serve. A worker that cannot even start will not do better the next time,
/// so that ends the program.
async fn first_boot(
    cluster: &ClusterHandle,
    events: &mut Events,
) -> Result<Option<Problem>, Problem> {
    loop {
        tokio::select! {
            biased;
            event = events.next() => match event {
                Some(Event::Exited { cause: ExitCause::BootFailed, status, .. }) => {
                    let source = io::Error::other(format!("it ended with {status}; its own message stands above"));
                    return Ok(Some(Problem::Io { what: "a worker could not start", source }));
                }
                Some(event) => tell(&event),
                None => return Ok(None),
            },
            ready = cluster.ready() => {
                ready?;
                return Ok(None);
            }
        }
    }
}

/// Says where the server is and what to try.
fn greet(
    settings: &Settings,
    cluster: &ClusterHandle,
    counted_at: Option<SocketAddr>,
    drawn: bool,
) {
    let address = cluster.addresses().get("http").copied().unwrap_or(settings.listen);
    let store = match &settings.store {
        Store::Primary => {
            "ipc: sessions live in this process; the workers reach them over inherited sockets"
                .to_owned()
        }
        Store::Url(url) => without_password(url).split('?').next().unwrap_or_default().to_owned(),
    };
    let cookie = match settings.cookie {
        CookieMode::Secure => "__Host-id, https only",
        CookieMode::Development => "id, plain http: for development only",
    };
    let workers = cluster.workers();
    let pids: Vec<_> = workers.iter().map(|worker| worker.pid.to_string()).collect();
    let mut lines = vec![
        format!("listening on http://{address}"),
        format!("  store    {store}"),
        format!("  workers  {} (pid {})", workers.len(), pids.join(", ")),
        format!("  cookie   {cookie}"),
    ];
    lines.extend(
        settings
            .control
            .as_ref()
            .map(|path| format!("  control  demo-server ctl status --control {}", path.display())),
    );
    lines.extend(counted_at.map(|address| format!("  metrics  http://{address}/metrics")));
    if drawn {
        let to_keep = "set DEMO_COOKIE_KEY=$(openssl rand -base64 48) to keep them";
        lines.push(format!("  key      random: cookies will not survive a restart; {to_keep}"));
    }
    lines.push(format!("try\n  curl -c jar -b jar http://{address}/"));
    lines.push(format!("  curl -c jar -b jar -d '{{\"user\":\"bob\"}}' http://{address}/login\n"));
    // In one write. Whoever started the server may not read it any more, and it serves all the
    // same.
    let _ = io::stdout().write_all(lines.join("\n").as_bytes());
}

/// Tells the operator what happened to the workers.
fn tell(event: &Event) {
    match event {
        Event::Exited { cause: ExitCause::Requested, id, pid, .. } => {
            tracing::debug!(worker = %id, pid, "a worker left");
        }
        Event::Exited { id, pid, cause, status, uptime, .. } => {
            tracing::warn!(worker = %id, pid, ?cause, %status, ?uptime, "a worker ended");
        }
        Event::SpawnFailed { slot, error } => {
            tracing::error!(%slot, %error, "a worker could not be started");
        }
        Event::Respawning { slot, after, attempt } => {
            tracing::info!(%slot, ?after, attempt, "a worker is replaced");
        }
        Event::GaveUp { slot, deaths } => {
            tracing::error!(%slot, deaths, "a worker died too often and is not replaced; the others serve on");
        }
        other => tracing::debug!(event = ?other, "cluster"),
    }
}

/// Blocks until TERM, QUIT or INT.
pub(crate) fn until_stopped() -> Result<(), Problem> {
    let listen = |kind| signal(kind).map_err(Problem::io("cannot listen for signals"));
    runtime()?.block_on(async {
        let (mut term, mut quit, mut int) = (
            listen(SignalKind::terminate())?,
            listen(SignalKind::quit())?,
            listen(SignalKind::interrupt())?,
        );
        tokio::select! {
            _ = term.recv() => {}
            _ = quit.recv() => {}
            _ = int.recv() => {}
        }
        Ok(())
    })
}

fn runtime() -> Result<Runtime, Problem> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Problem::io("cannot start the event loop"))
}

/// Logs to standard error, one write for each line, so that lines of several workers do not mix.
pub(crate) fn log(level: LevelFilter) {
    let ansi = io::IsTerminal::is_terminal(&io::stderr());
    let lines =
        tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(ansi).with_target(false);
    // What actix says of its own start and stop is the server's business, not the operator's,
    // unless more is asked for.
    let actix = if level > LevelFilter::INFO { level } else { LevelFilter::WARN };
    let filter = Targets::new().with_default(level).with_target("actix_server", actix);
    tracing_subscriber::registry().with(lines).with(filter).init();
}
