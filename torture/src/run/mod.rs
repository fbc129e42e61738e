//! Running workers on a store, disturbing them, and writing down what happens.

mod board;
mod client;
mod coordinator;
mod crew;
mod faults;
mod namespace;
mod nemesis;
mod owner;
mod plant;
mod planted;
mod recorder;
mod replicated;
mod settle;
mod site;
mod steps;
mod summary;
mod takeovers;
mod watch;
mod wire;
mod worker;

pub use self::{
    coordinator::{Options, Outcome, RunError, run},
    faults::{FaultKind, Faults},
    namespace::{NoNamespace, enter},
    owner::{OwnerSettings, own},
    plant::Plant,
    planted::Planted,
    replicated::Replicated,
    site::{STORES, Site, fits},
    summary::Summary,
    worker::{WorkerSettings, work},
};
