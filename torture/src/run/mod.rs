//! One run: worker processes make calls on a store while the program injects faults.

mod buggy_store;
mod client;
mod coordinator;
mod downtime;
mod error;
mod failovers;
mod faults;
mod final_reads;
mod namespace;
mod nemesis;
mod owner;
mod packet_filter;
mod planted_bug;
mod recorder;
mod replicated;
mod replication_monitor;
mod shared_keys;
mod steps;
mod summary;
mod target_store;
mod worker;
mod workers;

pub use self::{
    buggy_store::BuggyStore,
    coordinator::{Options, Outcome, run},
    error::RunError,
    faults::{FaultKind, Faults},
    namespace::{NamespaceError, enter_namespace},
    owner::{OwnerSettings, run_owner},
    planted_bug::PlantedBug,
    replicated::ReplicatedServers,
    summary::Summary,
    target_store::{STORES, TargetStore, check_faults},
    worker::{WorkerSettings, run_worker},
};
