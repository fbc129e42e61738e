//! All work on connections: addresses, making and replacing connections, sending commands.

pub(crate) mod address;
pub(crate) mod bounded;
mod client;
pub(crate) mod clock;
pub(crate) mod command;
pub(crate) mod connections;
pub(crate) mod connector;
pub(crate) mod decode;
mod login;
mod reconnecting;
mod resolver;
pub(crate) mod script;
mod sentinels;
mod thread_affinity;
mod tls;
