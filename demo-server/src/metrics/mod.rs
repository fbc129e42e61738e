//! Metrics of the whole cluster, for Prometheus.
//!
//! Each process has a `Registry`. The `Collector` of the primary requests a snapshot from each
//! worker, and adds the last snapshots of workers that have exited. The [`MetricsServer`] serves
//! the sums on a separate address.

mod allowed_hosts;
mod cluster_metrics;
mod collector;
mod registry;
mod reporter;
mod server;
mod snapshot;
mod text;

use std::sync::Arc;

use session_core::{SessionStore, observe};

use crate::settings::Settings;

pub(crate) use reporter::Reporter;
pub(crate) use server::MetricsServer;

/// Wraps the store so that its calls are measured, under the name that it has in `--store`.
pub(crate) fn observed(settings: &Settings, store: Arc<dyn SessionStore>) -> Arc<dyn SessionStore> {
    Arc::new(observe::observe(settings.store_name(), store))
}
