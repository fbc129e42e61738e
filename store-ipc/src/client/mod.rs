//! The client side of the connection to the owner.

mod call;
mod connection;
mod io_buffers;
mod io_task;
mod pending_calls;
pub(crate) mod reconnecting;
