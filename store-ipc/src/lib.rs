#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "store-ipc needs Linux: it uses close-on-exec descriptor passing and compares CLOCK_BOOTTIME \
     between processes"
);

mod check;
mod client;
mod config;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handover;
mod owner;
mod owner_handle;
mod store;
mod trusted_owner;
mod wire;

pub use check::check;
pub use config::Config;
pub use error::{ConfigError, OwnerError};
pub use handover::{HandoverError, HandoverReport, TakeoverError};
pub use owner::{Owner, OwnerBuilder, Stats};
pub use owner_handle::OwnerHandle;
pub use store::IpcStore;
