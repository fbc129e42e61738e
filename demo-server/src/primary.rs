//! The primary: the process that the operator starts. It opens the port, owns the sessions and
//! supervises the workers.

use std::{
    io::{self, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use cluster::{
    ClusterBuilder, ClusterHandle, DrainPolicy, Event, Events, ExitCause, GiveUp, RestartPolicy,
    Shutdown,
};
use session_core::{SweeperHandle, spawn_sweeper};
use store_ipc::{HandoverError, OwnerError, OwnerHandle};

use crate::{
    banner::{self, KeyOrigin},
    check,
    connections::Connections,
    cookies, ctl,
    error::AppError,
    handoff_secret, logging,
    metrics::{self, MetricsServer},
    owner, runtime,
    settings::{Invocation, Settings, Store},
};

/// Time between two purges of expired rows in a database. A session ends at its deadline; a purge
/// only frees its space.
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);

/// Rows that one step of a purge deletes at most.
const SWEEP_BATCH: usize = 500;

/// The longest duration of handing the sessions over. Sessions that are not handed over by then are
/// lost, so the limit is far above what the largest store needs. Meanwhile, requests whose store
/// call exceeds its deadline get 503.
const HANDOVER_TIMEOUT: Duration = Duration::from_mins(5);

/// The name under which a primary passes the cookie key to its successor.
const COOKIE_KEY: &str = "cookie-key";

/// Does what the command line says.
pub(crate) fn run(builder: ClusterBuilder) -> Result<(), AppError> {
    match Invocation::from_process()? {
        Invocation::PrintConfig(text) => io::stdout()
            .write_all(text.as_bytes())
            .map_err(AppError::io("cannot write the settings to standard output"))?,
        Invocation::Check(settings, format) => check::run(&settings, format)?,
        Invocation::Ctl(arguments) => ctl::run(&arguments)?,
        Invocation::Owner(settings) => {
            let _log = logging::init(settings.log);
            owner::run(&settings)?;
        }
        Invocation::Serve(settings) => {
            let _log = logging::init(settings.log);
            for variable in Settings::unknown_variables() {
                tracing::warn!(variable, "ignored a variable that is not a setting; see --help");
            }
            runtime::build()?.block_on(serve(builder, settings))?;
        }
    }
    Ok(())
}

/// A killed worker is replaced at once. A slot whose workers keep crashing gets a new worker at
/// most once a second.
fn restart_policy() -> RestartPolicy {
    RestartPolicy::default()
        .base(Duration::from_millis(100))
        .factor(2.0)
        .cap(Duration::from_secs(1))
        .jitter(0.2)
        .stable_after(Duration::from_secs(3))
        .give_up(GiveUp::default().deaths(100).window(Duration::from_mins(1)))
}

async fn serve(mut builder: ClusterBuilder, settings: Settings) -> Result<(), AppError> {
    let predecessor_key = builder
        .take_from_predecessor(COOKIE_KEY)
        .map(handoff_secret::read)
        .transpose()
        .map_err(AppError::io("cannot read the cookie key of the old primary"))?;
    let (settings, generated_key) = cookies::with_key(settings, predecessor_key)?;
    // The primary refuses all settings that a worker would refuse, before it opens a port.
    cookies::check(&settings)?;
    Connections::new(&settings)?;
    let (metrics, builder) = MetricsServer::open(&settings, builder)?;
    let mut builder = builder
        .workers(settings.workers)
        .listen("http", settings.listen.spec().send_timeout(settings.send_timeout))
        .settings(settings.to_bytes())
        // The arguments of this process can contain a key or a password, and other users can see
        // arguments. Workers get the settings over a private channel instead.
        .worker_args(["worker"])
        .drain(
            DrainPolicy::default()
                .deadline(settings.drain)
                .lead(settings.lead)
                .quiet(DrainPolicy::default().quiet.min(settings.drain / 4)),
        )
        .restart(restart_policy());
    if let Some(path) = &settings.control {
        builder = builder.control(path);
    }
    if let Some(path) = &settings.pid_file {
        builder = builder.pid_file(path);
    }
    let key_origin = if generated_key.is_some() { KeyOrigin::Random } else { KeyOrigin::Settings };
    if let Some(key) = generated_key {
        builder = builder.pass_to_successor(COOKIE_KEY, move || handoff_secret::write(&key));
    }
    // The owner has a separate thread, so that store calls and supervision do not delay each other.
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
    let metrics_address = metrics
        .as_ref()
        .map(MetricsServer::address)
        .transpose()
        .map_err(AppError::io("cannot read the address of the metrics port"))?;
    if let Some(metrics) = metrics {
        metrics.serve(&cluster);
    }
    if let Some(error) = wait_for_workers(&cluster, &mut events).await? {
        cluster.shutdown(Shutdown::Fast).await;
        return Err(error);
    }
    banner::print(&settings, &cluster, metrics_address, key_origin);
    let log_events = async {
        while let Some(event) = events.next().await {
            log_event(&event);
        }
    };
    let (taken_over, ended, ()) =
        tokio::join!(take_over_sessions(owner.as_ref(), &cluster), cluster.wait(), log_events);
    taken_over?;
    let ended = ended?;
    let killed: Vec<_> = ended.killed().map(|id| id.to_string()).collect();
    if !killed.is_empty() {
        tracing::warn!(
            workers = killed.join(" "),
            "killed the workers that did not finish within the drain time"
        );
    }
    match (ended.successor, owner) {
        (Some(successor), Some(owner)) => hand_over_sessions(successor, &owner).await,
        _ => Ok(()),
    }
}

/// Gives each worker a connection to the owner of the sessions. Gives a successor a connection for
/// the handover.
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
                OwnerError::AwaitingHandover => io::Error::other(
                    "the predecessor of this primary still has the sessions; try again when it has \
                     exited",
                ),
                error => io::Error::other(error),
            })?;
            Ok(theirs.into())
        })
}

/// Waits until the old primary has handed the sessions over. Stops the cluster if the handover
/// fails, because the workers cannot serve a request without the sessions.
async fn take_over_sessions(
    owner: Option<&OwnerHandle>,
    cluster: &ClusterHandle,
) -> Result<(), AppError> {
    let Some(owner) = owner else { return Ok(()) };
    let taken_over = tokio::select! {
        taken_over = owner.wait_for_handover() => taken_over,
        // The cluster stops for another reason, before the handover.
        _ = cluster.wait() => return Ok(()),
    };
    if taken_over.is_err() {
        cluster.shutdown(Shutdown::Fast).await;
    }
    Ok(taken_over?)
}

/// Hands the sessions to the new primary. All workers of this primary have exited by then.
async fn hand_over_sessions(successor: u32, owner: &OwnerHandle) -> Result<(), AppError> {
    match owner.handover(HANDOVER_TIMEOUT).await {
        Ok(handed) => {
            tracing::info!(
                successor,
                sessions = handed.sessions,
                took = ?handed.took,
                "handed the sessions over"
            );
        }
        // The new primary was started with another store, so it closed the handover connection.
        Err(HandoverError::NoSuccessor(None))
            if Path::new(&format!("/proc/{successor}")).exists() =>
        {
            tracing::warn!(
                successor,
                "the new primary uses another store; the sessions of this process are lost"
            );
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Starts the purge of expired sessions if the store needs one. It runs in the primary, so that one
/// process purges for all workers.
async fn sweeper(settings: &Settings) -> Result<Option<SweeperHandle>, AppError> {
    let Some(url) = settings.store_url() else { return Ok(None) };
    if store_any::backend(url.split(':').next().unwrap_or_default())
        .is_none_or(|backend| backend.name != "sql")
    {
        return Ok(None);
    }
    let store = metrics::observed(settings, store_any::connect(&url).await?);
    Ok(Some(spawn_sweeper(store, SWEEP_INTERVAL, SWEEP_BATCH)))
}

/// Waits until all workers serve. Returns an error if a worker fails to start: another attempt with
/// the same settings would fail too.
async fn wait_for_workers(
    cluster: &ClusterHandle,
    events: &mut Events,
) -> Result<Option<AppError>, AppError> {
    loop {
        tokio::select! {
            biased;
            event = events.next() => match event {
                Some(Event::Exited { cause: ExitCause::BootFailed, status, .. }) => {
                    let source =
                        io::Error::other(format!("it ended with {status}; see its error above"));
                    return Ok(Some(AppError::Io { what: "a worker cannot start", source }));
                }
                Some(event) => log_event(&event),
                None => return Ok(None),
            },
            ready = cluster.ready() => {
                ready?;
                return Ok(None);
            }
        }
    }
}

/// Logs an event of the cluster.
fn log_event(event: &Event) {
    match event {
        Event::Exited { cause: ExitCause::Requested, id, pid, .. } => {
            tracing::debug!(worker = %id, pid, "worker ended as requested");
        }
        Event::Exited { id, pid, cause, status, uptime, .. } => {
            tracing::warn!(worker = %id, pid, ?cause, %status, ?uptime, "worker ended");
        }
        Event::SpawnFailed { slot, error } => {
            tracing::error!(%slot, %error, "cannot start a worker");
        }
        Event::Respawning { slot, after, attempt } => {
            tracing::info!(%slot, ?after, attempt, "replacing a worker");
        }
        Event::GaveUp { slot, deaths } => {
            tracing::error!(
                %slot,
                deaths,
                "slot given up: its workers died too often; the other slots still serve"
            );
        }
        other => tracing::debug!(event = ?other, "cluster event"),
    }
}
