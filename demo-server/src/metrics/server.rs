//! [`MetricsServer`]: serves `GET /metrics` in the primary.

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
use cluster::{ClusterBuilder, ClusterHandle, Event, Events, StartError};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    allowed_hosts::AllowedHosts,
    cluster_metrics,
    collector::{Collector, PendingScrape},
    registry::Registry,
    text::TEXT_CONTENT_TYPE,
};
use crate::{body, error::AppError, settings::Settings};

/// The name under which a primary passes the listener to its successor.
const LISTENER: &str = "metrics";

/// The most clients that wait for metrics at the same time.
const MAX_CLIENTS: usize = 16;

/// Time limit of a request. A worker that does not reply delays each scrape by a second.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The metrics of the cluster and the port that serves them. The port is open before the first
/// worker starts.
#[derive(Debug)]
pub(crate) struct MetricsServer {
    listener: TcpListener,
    /// Whether the listener is from a predecessor, which uses it until this primary takes over.
    inherited: bool,
    registry: Arc<Registry>,
    hosts: AllowedHosts,
}

impl MetricsServer {
    /// Opens the port and installs the recorder, if the settings enable metrics. A successor uses
    /// the port of its predecessor.
    pub(crate) fn open(
        settings: &Settings,
        mut builder: ClusterBuilder,
    ) -> Result<(Option<Self>, ClusterBuilder), AppError> {
        let predecessor = builder.take_from_predecessor(LISTENER);
        let Some(address) = settings.metrics else { return Ok((None, builder)) };
        // The same error as for the port of `--listen`.
        let cannot_listen = |source| StartError::Listen {
            name: "--metrics".to_owned(),
            address: address.to_string(),
            source,
        };
        let (listener, inherited) = listen(address, predecessor).map_err(cannot_listen)?;
        let passed_on = listener.try_clone().map_err(cannot_listen)?;
        let builder =
            builder.pass_to_successor(LISTENER, move || Ok(passed_on.try_clone()?.into()));
        let registry = Registry::install().map_err(|_| AppError::RecorderInstalled)?;
        cluster_metrics::describe();
        let hosts = AllowedHosts::new(address, settings.metrics_hosts.clone());
        Ok((Some(Self { listener, inherited, registry, hosts }), builder))
    }

    /// The address of the port.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the cluster has ended or another primary has taken over.
    pub(crate) fn serve(self, cluster: &ClusterHandle) {
        let Self { listener, inherited, registry, hosts } = self;
        let (sender, scrapes) = mpsc::channel(MAX_CLIENTS);
        let collector = Collector::new(cluster.clone(), registry);
        let (events, takeover) = (cluster.events(), inherited.then(|| cluster.events()));
        tokio::spawn(async move {
            let collecting = tokio::spawn(collector.run(events, scrapes));
            if let Some(events) = takeover
                && !wait_for_takeover(events).await
            {
                return;
            }
            let server = match build_server(listener, sender, hosts) {
                Ok(server) => server,
                Err(error) => return tracing::error!(%error, "cannot serve the metrics"),
            };
            let handle = server.handle();
            tokio::spawn(server);
            // If the collector has panicked, the server has no source of metrics.
            let _ = collecting.await;
            handle.stop(false).await;
        });
    }
}

fn build_server(
    listener: TcpListener,
    scrapes: mpsc::Sender<PendingScrape>,
    hosts: AllowedHosts,
) -> io::Result<Server> {
    let app = move || {
        let hosts = hosts.clone();
        App::new()
            .app_data(Data::new(scrapes.clone()))
            .service(web::resource("/metrics").get(metrics))
            .wrap(from_fn(move |request, next| check_host(hosts.clone(), request, next)))
            .wrap(from_fn(|request, next| body::with_deadline(REQUEST_TIMEOUT, request, next)))
    };
    Ok(HttpServer::new(app)
        .workers(1)
        .max_connections(MAX_CLIENTS)
        .disable_signals()
        .listen(listener)?
        .run())
}

/// Serves only requests for an allowed host name. Other requests get 421: this server is not
/// responsible for the host (RFC 9110, 15.5.20). A 403 would mean that the client lacks a right.
async fn check_host<B: MessageBody + 'static>(
    hosts: AllowedHosts,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    if hosts.allows(request.request()) {
        return Ok(next.call(request).await?.map_into_left_body());
    }
    let refusal = HttpResponse::build(StatusCode::MISDIRECTED_REQUEST)
        .body("the metrics have another host name; add yours with --metrics-host\n");
    Ok(request.into_response(refusal).map_into_right_body())
}

/// Waits until this primary has taken over from its predecessor. Returns `false` if it ends before.
///
/// The predecessor serves the port until then. If both served it, each change between them would
/// look like a restart to Prometheus.
async fn wait_for_takeover(mut events: Events) -> bool {
    while let Some(event) = events.next().await {
        if matches!(event, Event::TookOver) {
            return true;
        }
    }
    false
}

/// Listens on `address`. Uses the socket of the predecessor if it has the same address. The flag is
/// true in that case.
fn listen(address: SocketAddr, predecessor: Option<OwnedFd>) -> io::Result<(TcpListener, bool)> {
    let has_address = |listener: &TcpListener| {
        listener.local_addr().is_ok_and(|local| {
            local.ip() == address.ip() && (local.port() == address.port() || address.port() == 0)
        })
    };
    match predecessor.map(TcpListener::from).filter(has_address) {
        Some(listener) => Ok((listener, true)),
        None => Ok((TcpListener::bind(address)?, false)),
    }
}

/// `GET /metrics`
async fn metrics(scrapes: Data<mpsc::Sender<PendingScrape>>) -> HttpResponse {
    let (sender, text) = oneshot::channel();
    let scrape = async {
        scrapes.send(sender).await.ok()?;
        text.await.ok()
    };
    match timeout(REQUEST_TIMEOUT, scrape).await {
        Ok(Some(text)) => HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, TEXT_CONTENT_TYPE))
            .insert_header((CACHE_CONTROL, "no-store"))
            .body(text),
        Ok(None) | Err(_) => {
            HttpResponse::ServiceUnavailable().body("the metrics are not available; try again\n")
        }
    }
}
