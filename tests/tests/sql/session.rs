//! Stores of sessions in SQL databases, and the sessions that tests keep there.

pub(crate) use crate::hands::{PATIENT, connect, listed};
pub(crate) use tests::session::{LONG, Session, is_done, principal};
