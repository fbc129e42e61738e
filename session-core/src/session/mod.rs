//! The session of a request: the types for handlers, the types for adapters, and their calls of the
//! store.

mod commit;
mod context;
mod delivery;
mod destroy;
mod devices;
mod driver;
mod error;
mod liveness;
mod load;
mod request;
mod state;
mod update;

pub use context::SessionContext;
pub use delivery::{CookieChange, CookieDelivery, RecordedChanges};
pub use devices::Device;
pub use driver::SessionDriver;
pub use error::SessionError;
pub use liveness::{Liveness, StreamEnd};
pub use request::Session;

#[cfg(test)]
mod tests;
