//! The numbers of the whole cluster, for Prometheus.
//!
//! Each process counts by itself ([`Registry`]). The primary asks its workers ([`Collector`]), adds
//! up what they say and what those that have left had said last, and serves the sum on an address
//! of its own ([`Metrics`]).

mod cluster;
mod collector;
mod host;
mod numbers;
mod registry;
mod reporter;
mod server;
mod text;

use std::sync::Arc;

use session_core::{SessionStore, observe};

use crate::settings::Settings;

pub(crate) use reporter::Reporter;
pub(crate) use server::Metrics;

use collector::Collector;
use registry::Registry;

/// The store, observed under the name that its kind has in `--store`.
pub(crate) fn observed(settings: &Settings, store: Arc<dyn SessionStore>) -> Arc<dyn SessionStore> {
    Arc::new(observe::observe(settings.store_name(), store))
}
