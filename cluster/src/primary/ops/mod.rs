//! The operations on a running cluster, one at a time: reload, scale, recycle, upgrade, take over.

pub(super) mod recycle;
mod reload;
mod scale;
pub(super) mod take_over;
mod upgrade;
