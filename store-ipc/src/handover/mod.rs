//! Hands the sessions of one owner over to the next one.
//!
//! The two owners exchange these messages over their own stream:
//!
//! | predecessor | successor |
//! |---|---|
//! | hello | hello |
//! | | `Client` with a client's stream, any number of times: serve this client for me |
//! | `Prepare` | |
//! | | `Prepared`: the successor forwards no client after this |
//! | *starts no call from here on* | |
//! | `Snapshot`, `Sessions`…, for each forwarded client `Connection`, `Unread`…, `Unwritten`…; `End` | |
//! | | `Imported`: everything has arrived; *the successor does not serve yet* |
//! | `Activate`: *the point of no return* | |
//! | | `Serving` |
//!
//! After the predecessor has stopped, it serves no client, whatever the outcome. The successor
//! serves no client before `Activate`. So two owners never serve at the same time. If one of them
//! ends or stops answering in between, none serves.

mod clock;
pub(crate) mod error;
mod forwarded_client;
pub(crate) mod message;
pub(crate) mod receiver;
mod sender;
pub(crate) mod stream;
#[cfg(test)]
mod tests;

pub use self::error::{HandoverError, HandoverReport, TakeoverError};
pub(crate) use self::{receiver::HandoverReceiver, sender::HandoverSender};
