#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod backend;
mod connect;
mod error;

pub use backend::{Backend, backend, backends};
pub use connect::{check, check_url, connect};
pub use error::ConnectError;
