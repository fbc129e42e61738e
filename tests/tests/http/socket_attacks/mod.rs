//! S22: attacks on the socket of a store, without the demo.

mod ipc;
