//! A worker process: it serves requests until the primary tells it to stop.

use std::{
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix_web::{App, HttpServer, dev::ServerHandle, middleware::from_fn, rt::System};
use cluster::{DrainOrder, WorkerBoot};
use session_actix::{CrossOriginGuard, SessionMiddleware};
use session_core::SessionStore;
use store_ipc::{Config, IpcStore};
use tokio::time::error::Elapsed;

use crate::{
    audit::AuditTrail,
    connections::Connections,
    cookies,
    error::AppError,
    logging,
    metrics::{self, Reporter},
    routes::{self, AppState},
    settings::Settings,
};

/// Serves until the primary tells this worker to stop, or until the primary ends.
pub(crate) fn run(boot: WorkerBoot) -> Result<(), AppError> {
    System::new().block_on(serve(boot))
}

async fn serve(mut boot: WorkerBoot) -> Result<(), AppError> {
    let listener = boot.take_listener("http")?;
    let inherited = boot.take_fd("sessions").ok();
    let worker = boot.connect().await?;
    let settings = Settings::from_bytes(worker.settings())?;
    logging::init(settings.log);
    let reporter = Reporter::start(&settings, &worker)?;

    let store: Arc<dyn SessionStore> = if let Some(url) = settings.store_url() {
        store_any::connect(&url).await?
    } else {
        let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let stream = inherited.ok_or_else(missing).map(UnixStream::from);
        let config = Config::new("").deadline(settings.deadline);
        let store = stream.and_then(|stream| IpcStore::from_stream_with(stream, &config));
        Arc::new(store.map_err(AppError::io("cannot connect to the sessions in the primary"))?)
    };
    let store = metrics::observed(&settings, store);
    let sessions = SessionMiddleware::builder(Arc::clone(&store), cookies::keys(&settings)?)
        .cookie(cookies::config(&settings))
        .policy(settings.policy)
        .events(AuditTrail)
        .trusted_proxies(settings.trusted_proxies.iter().copied())
        .catch_panics()
        .build()?;
    let guard = CrossOriginGuard::builder()
        .trusted_proxies(settings.trusted_proxies.iter().copied())
        .build()?;
    let draining = Arc::new(AtomicBool::new(false));
    let name = format!("{}/{}", worker.id(), std::process::id());
    let connections = Connections::new(&settings)?;
    let state = AppState::new(store, &name, Arc::clone(&draining), &settings, connections.clone());

    let address =
        listener.local_addr().map_err(AppError::io("cannot read the address of the port"))?;
    let heartbeats = worker.clone();
    // actix calls it once on each serving thread.
    let app = move || {
        let (outer_state, pulse) = (state.clone(), heartbeats.pulse());
        let outer = from_fn(move |request, next| {
            pulse.count();
            outer_state.clone().handle(request, next)
        });
        App::new()
            .configure(|app| routes::configure(app, &state))
            .wrap(sessions.clone())
            .wrap(guard.clone())
            .wrap(outer)
    };
    let server = HttpServer::new(app)
        .workers(settings.threads.get())
        .max_connections(connections.per_thread)
        .on_connect(connections.on_connect())
        .disable_signals()
        .shutdown_timeout(settings.drain.as_secs().max(1))
        .listen(listener)
        .map_err(AppError::io("cannot serve on the port"))?
        .run();
    let handle = server.handle();
    let serving = actix_web::rt::spawn(server);
    worker.listening("http", address).await?;
    worker.ready().await?;
    let mut order = worker.drain_requested().await;
    draining.store(true, Ordering::Relaxed);
    // A newer order can have a shorter deadline, so it replaces the current one at once.
    let drained = loop {
        tracing::debug!(worker = %worker.id(), ?order, "draining");
        tokio::select! {
            drained = drain(&handle, order) => break drained,
            newer = worker.order_changed(order) => order = newer,
        }
    };
    if drained.is_err() {
        tracing::warn!(
            worker = %worker.id(),
            "aborting the requests that did not end within the drain time"
        );
        serving.abort();
    }
    let ended = serving.await;
    if let Some(reporter) = reporter {
        reporter.end().await;
    }
    match ended {
        Err(aborted) if aborted.is_cancelled() => Ok(()),
        Ok(ended) => ended.map_err(AppError::io("the server failed")),
        Err(panic) => {
            Err(AppError::Io { what: "the server failed", source: std::io::Error::other(panic) })
        }
    }
}

/// Stops the server without dropping an accepted request. Returns an error if the deadline passes
/// before all requests have ended.
///
/// From now on each response closes its connection. First the server accepts the connections that
/// wait in the kernel's queue, for `order.accept`. Then it stops accepting and waits `order.quiet`:
/// on its stop, actix drops accepted connections whose first request has not begun.
async fn drain(server: &ServerHandle, order: DrainOrder) -> Result<(), Elapsed> {
    if !order.accept.is_zero() {
        // An earlier order for this worker alone may have paused the server.
        server.resume().await;
        actix_web::rt::time::sleep(order.accept).await;
    }
    server.pause().await;
    actix_web::rt::time::sleep(order.quiet).await;
    // The rest of the deadline, less 200 ms for the end of the process.
    let rest = order
        .deadline
        .saturating_sub(order.accept + order.quiet)
        .saturating_sub(Duration::from_millis(200));
    actix_web::rt::time::timeout(rest, server.stop(true)).await
}
