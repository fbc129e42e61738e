//! S17, S23, S25 to S27, S29 and S30: limits and protected output of the demo. The demo keeps the
//! sessions itself, because these guarantees do not depend on the store.

mod ipc;
