//! The processes that serve.

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
    metrics::{self, Reporter},
    primary::log,
    problem::Problem,
    routes::{self, Site},
    settings::Settings,
};

/// Serves until the primary says stop, or is gone.
pub(crate) fn run(boot: WorkerBoot) -> Result<(), Problem> {
    System::new().block_on(serve(boot))
}

async fn serve(mut boot: WorkerBoot) -> Result<(), Problem> {
    let listener = boot.take_listener("http")?;
    let inherited = boot.take_fd("sessions").ok();
    let worker = boot.connect().await?;
    let settings = Settings::from_bytes(worker.settings())?;
    log(settings.log);
    let reporter = Reporter::start(&settings, &worker)?;

    let store: Arc<dyn SessionStore> = if let Some(url) = settings.store_url() {
        store_any::connect(&url).await?
    } else {
        let gone = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let stream = inherited.ok_or_else(gone).map(UnixStream::from);
        let config = Config::new("").deadline(settings.deadline);
        let store = stream.and_then(|stream| IpcStore::from_stream_with(stream, &config));
        Arc::new(store.map_err(Problem::io("cannot reach the sessions of the primary"))?)
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
    let site = Site::new(store, &name, Arc::clone(&draining), &settings, connections.clone());

    let address =
        listener.local_addr().map_err(Problem::io("cannot tell the address of the port"))?;
    let beating = worker.clone();
    // Called on each thread that serves.
    let app = move || {
        let (signed, pulse) = (site.clone(), beating.pulse());
        let sign = from_fn(move |request, next| {
            pulse.count();
            signed.clone().sign(request, next)
        });
        App::new()
            .configure(|app| routes::configure(app, &site))
            .wrap(sessions.clone())
            .wrap(guard.clone())
            .wrap(sign)
    };
    let server = HttpServer::new(app)
        .workers(settings.threads.get())
        .max_connections(connections.per_thread)
        .on_connect(connections.counting())
        .disable_signals()
        .shutdown_timeout(settings.drain.as_secs().max(1))
        .listen(listener)
        .map_err(Problem::io("cannot serve the port"))?
        .run();
    let handle = server.handle();
    let serving = actix_web::rt::spawn(server);
    worker.listening("http", address).await?;
    worker.ready().await?;
    let mut order = worker.drain_requested().await;
    draining.store(true, Ordering::Relaxed);
    // A newer order may give less time, so it is begun at once.
    let left = loop {
        tracing::debug!(worker = %worker.id(), ?order, "draining");
        tokio::select! {
            left = leave(&handle, order) => break left,
            newer = worker.order_changed(order) => order = newer,
        }
    };
    if left.is_err() {
        tracing::warn!(worker = %worker.id(), "requests did not end in time and are cut off");
        serving.abort();
    }
    let ended = serving.await;
    if let Some(reporter) = reporter {
        reporter.end().await;
    }
    match ended {
        Err(cut) if cut.is_cancelled() => Ok(()),
        Ok(ended) => ended.map_err(Problem::io("the server failed")),
        Err(panic) => {
            Err(Problem::Io { what: "the server failed", source: std::io::Error::other(panic) })
        }
    }
}

/// Leaves without dropping a request that was accepted; an error says that the time was over before
/// all had ended.
///
/// Every answer closes its connection by now. First the server goes on accepting until the kernel's
/// queue is empty. Then it accepts no more, and has a quiet time: actix drops connections that it
/// accepted and has not begun when it stops, so by then all are begun.
async fn leave(server: &ServerHandle, order: DrainOrder) -> Result<(), Elapsed> {
    if !order.accept.is_zero() {
        // An order of this worker alone may have come before that for all, and have paused it.
        server.resume().await;
        actix_web::rt::time::sleep(order.accept).await;
    }
    server.pause().await;
    actix_web::rt::time::sleep(order.quiet).await;
    // The rest of the deadline, less a moment to come to the end of `main`.
    let rest = order
        .deadline
        .saturating_sub(order.accept + order.quiet)
        .saturating_sub(Duration::from_millis(200));
    actix_web::rt::time::timeout(rest, server.stop(true)).await
}
