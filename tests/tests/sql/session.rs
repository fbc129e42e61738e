//! Stores of sessions in SQL databases, and the sessions that tests keep there.

pub(crate) use crate::hands::{PATIENT, connect};
pub(crate) use tests::session::{LONG, Session, add, is_done, principal, renew, set};
