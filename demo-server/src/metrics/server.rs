//! Where the numbers are served.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use actix_web::{
    App, Error, HttpResponse, HttpServer,
    body::{EitherBody, MessageBody},
    dev::{Server, ServiceRequest, ServiceResponse},
    http::{
        StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    middleware::{Next, from_fn},
    web::{self, Data},
};
use cluster::{ClusterBuilder, ClusterHandle, Event, Events};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{Collector, Registry, cluster as workers, collector::Ask, host::Names, text::TYPE};
use crate::{body, problem::Problem, settings::Settings};

/// What the listener is called among what one primary leaves to the next.
const NAME: &str = "metrics";

/// How many may wait for numbers at once, and for how long: a worker that does not answer takes a
/// second of each round.
const WAITING: usize = 16;
const PATIENCE: Duration = Duration::from_secs(5);

/// The numbers of the cluster, and the port where they are served. The port is opened before any
/// worker is started.
#[derive(Debug)]
pub(crate) struct Metrics {
    listener: TcpListener,
    /// Whether another primary serves there until this one takes over.
    inherited: bool,
    registry: Arc<Registry>,
    names: Names,
}

impl Metrics {
    /// Opens the port and counts from now on, if the settings ask for it. A primary that takes over
    /// goes on with the port of the one before.
    pub(crate) fn open(
        settings: &Settings,
        mut builder: ClusterBuilder,
    ) -> Result<(Option<Self>, ClusterBuilder), Problem> {
        let left = builder.take_from_predecessor(NAME);
        let Some(address) = settings.metrics else { return Ok((None, builder)) };
        let cannot = |source| Problem::Metrics { address, source };
        let (listener, inherited) = listen(address, left).map_err(cannot)?;
        let ours = listener.try_clone().map_err(cannot)?;
        let builder = builder.pass_to_successor(NAME, move || Ok(ours.try_clone()?.into()));
        let registry = Registry::install().map_err(|_| Problem::CountedElsewhere)?;
        workers::describe();
        let names = Names::new(address, settings.metrics_hosts.clone());
        Ok((Some(Self { listener, inherited, registry, names }), builder))
    }

    /// Where it is served.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the cluster has ended, or another primary has taken over.
    pub(crate) fn serve(self, cluster: &ClusterHandle) {
        let Self { listener, inherited, registry, names } = self;
        let (asks, asked) = mpsc::channel(WAITING);
        let collector = Collector::new(cluster.clone(), registry);
        let (events, began) = (cluster.events(), inherited.then(|| cluster.events()));
        tokio::spawn(async move {
            let collecting = tokio::spawn(collector.run(events, asked));
            if let Some(events) = began
                && !taken_over(events).await
            {
                return;
            }
            let server = match server(listener, asks, names) {
                Ok(server) => server,
                Err(error) => return tracing::error!(%error, "the metrics cannot be served"),
            };
            let handle = server.handle();
            tokio::spawn(server);
            // A panic in it was reported already, and then nobody would answer.
            let _ = collecting.await;
            handle.stop(false).await;
        });
    }
}

fn server(listener: TcpListener, asks: mpsc::Sender<Ask>, names: Names) -> io::Result<Server> {
    let app = move || {
        let names = names.clone();
        App::new()
            .app_data(Data::new(asks.clone()))
            .service(web::resource("/metrics").get(metrics))
            .wrap(from_fn(move |request, next| under(names.clone(), request, next)))
            .wrap(from_fn(|request, next| body::bounded(PATIENCE, request, next)))
    };
    Ok(HttpServer::new(app)
        .workers(1)
        .max_connections(WAITING)
        .disable_signals()
        .listen(listener)?
        .run())
}

/// Answers only requests that name this listener. Others get 421, which says that this server does
/// not answer for the host (RFC 9110, 15.5.20); 403 would say that the host is right and the client
/// lacks a right.
async fn under<B: MessageBody + 'static>(
    names: Names,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    if names.includes(request.request()) {
        return Ok(next.call(request).await?.map_into_left_body());
    }
    let refusal = HttpResponse::build(StatusCode::MISDIRECTED_REQUEST)
        .body("the metrics have another host name; add yours with --metrics-host\n");
    Ok(request.into_response(refusal).map_into_right_body())
}

/// Waits until this primary has taken over from the one before; `false` if it ends without. Till
/// then that one answers: of numbers that come now from one and now from the other each would look
/// like a restart.
async fn taken_over(mut events: Events) -> bool {
    while let Some(event) = events.next().await {
        if matches!(event, Event::TookOver) {
            return true;
        }
    }
    false
}

/// Listens on `address`, with the socket that the primary before has left if it is that. Says
/// whether it is.
fn listen(address: SocketAddr, left: Option<OwnedFd>) -> io::Result<(TcpListener, bool)> {
    let fits = |listener: &TcpListener| {
        listener.local_addr().is_ok_and(|of| {
            of.ip() == address.ip() && (of.port() == address.port() || address.port() == 0)
        })
    };
    match left.map(TcpListener::from).filter(fits) {
        Some(listener) => Ok((listener, true)),
        None => Ok((TcpListener::bind(address)?, false)),
    }
}

/// `GET /metrics`
async fn metrics(asks: Data<mpsc::Sender<Ask>>) -> HttpResponse {
    let (ask, answer) = oneshot::channel();
    let heard = async {
        asks.send(ask).await.ok()?;
        answer.await.ok()
    };
    match timeout(PATIENCE, heard).await {
        Ok(Some(text)) => HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, TYPE))
            .insert_header((CACHE_CONTROL, "no-store"))
            .body(text),
        Ok(None) | Err(_) => HttpResponse::ServiceUnavailable()
            .body("the numbers cannot be had just now; ask again in a moment\n"),
    }
}
