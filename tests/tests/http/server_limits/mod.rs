//! S17, S23, S25 to S27, S29: what bounds and hides in the demo. The store is the demo's own,
//! because none of it reaches a store.

mod ipc;
