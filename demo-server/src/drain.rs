//! The drain of a worker: it stops its server without dropping an accepted request.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use actix_web::{
    dev::ServerHandle,
    rt::time::{sleep, timeout},
};
use cluster::{DrainOrder, DrainReason, Worker};
use tokio::time::error::Elapsed;

/// What the requests of a worker notice of its drain.
#[derive(Debug, Default)]
pub(crate) struct DrainState {
    draining: AtomicBool,
    site_stops: AtomicBool,
}

impl DrainState {
    /// Whether each response closes its connection.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether all workers stop and load balancers must use another site. It is not the case if
    /// another worker replaces this one.
    pub(crate) fn site_stops(&self) -> bool {
        self.site_stops.load(Ordering::Relaxed)
    }

    fn set(&self, order: DrainOrder) {
        self.draining.store(true, Ordering::Relaxed);
        if matches!(order.reason, DrainReason::Shutdown | DrainReason::FastShutdown) {
            self.site_stops.store(true, Ordering::Relaxed);
        }
    }
}

/// Drains `server` as `order` says, and as each newer order of the primary says. Returns an error
/// if the deadline passes before all requests have ended.
pub(crate) async fn drain(
    worker: &Worker,
    server: &ServerHandle,
    state: &DrainState,
    mut order: DrainOrder,
) -> Result<(), Elapsed> {
    // A newer order can have a shorter deadline, so it replaces the current one at once.
    loop {
        tracing::debug!(worker = %worker.id(), ?order, "draining");
        state.set(order);
        tokio::select! {
            drained = carry_out(server, order) => return drained,
            newer = worker.order_changed(order) => order = newer,
        }
    }
}

/// Carries out one order.
///
/// From now on each response closes its connection. First the server continues to accept for
/// `order.accept`: new connections during the lead, then those that wait in the kernel's queue. Then it stops accepting and waits `order.quiet`:
/// on its stop, actix drops accepted connections whose first request has not begun.
async fn carry_out(server: &ServerHandle, order: DrainOrder) -> Result<(), Elapsed> {
    if !order.accept.is_zero() {
        // An earlier order for this worker alone may have paused the server.
        server.resume().await;
        sleep(order.accept).await;
    }
    server.pause().await;
    sleep(order.quiet).await;
    // The rest of the deadline, less 200 ms for the end of the process.
    let rest = order
        .deadline
        .saturating_sub(order.accept + order.quiet)
        .saturating_sub(Duration::from_millis(200));
    timeout(rest, server.stop(true)).await
}
