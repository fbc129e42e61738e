//! The owner side: serves a store to clients.

mod builder;
pub(crate) mod connection;
pub(crate) mod execute;
pub(crate) mod listener;
pub(crate) mod serve;
pub(crate) mod shared;

pub use self::{
    builder::{Owner, OwnerBuilder},
    shared::Stats,
};
