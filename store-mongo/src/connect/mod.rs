//! Connections to MongoDB: the driver's clients, the deadline of a call, and the server's time.

pub(crate) mod clients;
pub(crate) mod clock;
pub(crate) mod driver_options;
pub(crate) mod elections;
pub(crate) mod faults;
pub(crate) mod hello;
pub(crate) mod inner;
pub(crate) mod probe;
