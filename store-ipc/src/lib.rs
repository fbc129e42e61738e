#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "store-ipc needs Linux: it passes descriptors that no child inherits, and compares CLOCK_BOOTTIME between processes"
);

mod answer;
mod config;
mod connection;
mod driver;
mod error;
mod frame;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handover;
mod link;
mod listener;
mod message;
mod owner;
mod presence;
mod serve;
mod slots;
mod store;
mod thread;

pub use config::Config;
pub use error::{ConfigError, OwnerError};
pub use handover::{HandOverError, HandedOver, TakeoverError};
pub use owner::{Owner, OwnerBuilder, Stats};
pub use store::IpcStore;
pub use thread::OwnerHandle;

/// The name of the client side in errors.
const STORE: &str = "ipc";
