//! Abuse of a store's own doors, past the demo.

mod ipc;
