//! Running workers on a store, disturbing them, and writing down what happens.

mod board;
mod client;
mod coordinator;
mod crew;
mod faults;
mod nemesis;
mod owner;
mod plant;
mod planted;
mod recorder;
mod settle;
mod site;
mod steps;
mod summary;
mod worker;

pub use self::{
    coordinator::{Options, Outcome, RunError, run},
    faults::{FaultKind, Faults},
    owner::{OwnerSettings, own},
    plant::Plant,
    planted::Planted,
    site::{STORES, Site},
    summary::Summary,
    worker::{WorkerSettings, work},
};
