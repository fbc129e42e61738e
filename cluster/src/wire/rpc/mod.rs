//! Requests and replies over one connection, in both directions.

mod calls;
mod channel;
mod dispatcher;
#[cfg(test)]
mod tests;

pub(crate) use calls::RequestQueue;
pub use calls::{Call, Requests};
pub(crate) use channel::{ByteBudget, RpcChannel, WhenFull};
pub(crate) use dispatcher::RpcDispatcher;
