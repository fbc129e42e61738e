//! A worker process: it serves requests until the primary tells it to stop.

use std::{
    io,
    net::TcpListener,
    os::unix::net::{UnixListener, UnixStream},
    sync::Arc,
};

use actix_web::{App, HttpServer, middleware::from_fn, rt::System};
use cluster::{BootError, ListenAddress, WorkerBoot};
use session_actix::{CrossOriginGuard, SessionMiddleware};
use session_core::SessionStore;
use store_ipc::{Config, IpcStore};

use crate::{
    audit::AuditTrail,
    connections::Connections,
    cookies,
    drain::{DrainState, drain},
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

/// The public listener.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn take(boot: &mut WorkerBoot) -> Result<Self, BootError> {
        match boot.take_listener("http") {
            Err(BootError::OtherListener { .. }) => boot.take_unix_listener("http").map(Self::Unix),
            listener => listener.map(Self::Tcp),
        }
    }

    fn address(&self) -> io::Result<ListenAddress> {
        match self {
            Self::Tcp(listener) => Ok(listener.local_addr()?.into()),
            Self::Unix(listener) => {
                let address = listener.local_addr()?;
                let path = address.as_pathname().map(Into::into).unwrap_or_default();
                Ok(ListenAddress::Unix(path))
            }
        }
    }
}

async fn serve(mut boot: WorkerBoot) -> Result<(), AppError> {
    let listener = Listener::take(&mut boot)?;
    let inherited = boot.take_fd("sessions").ok();
    let worker = boot.connect().await?;
    let settings = Settings::from_bytes(worker.settings())?;
    let _log = logging::init(settings.log);
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
        .trusted_proxies(settings.trusted_proxies.networks.iter().copied())
        .catch_panics();
    let guard = CrossOriginGuard::builder()
        .trusted_proxies(settings.trusted_proxies.networks.iter().copied());
    let (sessions, guard) = if settings.trusted_proxies.unix {
        (sessions.trusted_unix_proxy(), guard.trusted_unix_proxy())
    } else {
        (sessions, guard)
    };
    let (sessions, guard) = (sessions.build()?, guard.build()?);
    let drain_state = Arc::new(DrainState::default());
    let name = format!("{}/{}", worker.id(), std::process::id());
    let connections = Connections::new(&settings)?;
    let state =
        AppState::new(store, &name, Arc::clone(&drain_state), &settings, connections.clone());

    let address =
        listener.address().map_err(AppError::io("cannot read the address of the port"))?;
    let factory_worker = worker.clone();
    // actix calls it once on each serving thread.
    let app = move || {
        let (outer_state, heartbeat) = (state.clone(), factory_worker.heartbeat());
        let outer = from_fn(move |request, next| {
            heartbeat.count();
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
        .keep_alive(settings.keep_alive)
        .max_connections(connections.per_thread)
        .on_connect(connections.on_connect())
        .disable_signals()
        .shutdown_timeout(settings.drain.as_secs().max(1));
    let server = match listener {
        Listener::Tcp(listener) => server.listen(listener),
        Listener::Unix(listener) => server.listen_uds(listener),
    };
    let server = server.map_err(AppError::io("cannot serve on the port"))?.run();
    let handle = server.handle();
    let serving = actix_web::rt::spawn(server);
    worker.listening("http", address).await?;
    worker.ready().await?;
    let order = worker.drain_requested().await;
    let drained = drain(&worker, &handle, &drain_state, order).await;
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
