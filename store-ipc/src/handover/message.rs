//! What predecessor and successor say to each other.
//!
//! The types have no `Debug`, because they hold keys and data. A change here, or of [`Exported`],
//! is a new [`HANDOVER`](super::wire::HANDOVER) version.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use session_core::Exported;

#[derive(Serialize, Deserialize)]
pub(super) enum Message {
    /// From the successor: the descriptor that comes along is a client's; it is to be known by this
    /// number.
    Guest(u64),
    /// From the predecessor: the hand-over begins and will be done within that time.
    Prepare(Duration),
    /// From the successor: all guests were sent, and it keeps others to itself.
    Prepared,
    /// From the predecessor, as all up to `Go` but `Imported`: the sessions follow.
    Snapshot {
        /// The store's clock when the export began.
        taken_at: Duration,
        /// `CLOCK_BOOTTIME` a moment before.
        stamp: Duration,
    },
    Sessions(Vec<Exported>),
    /// A guest's connection; its bytes follow.
    Connection {
        guest: u64,
        request_bytes: u64,
        reply_bytes: Option<u64>,
    },
    /// Bytes from the guest named last that no request was made of.
    Unread(Vec<u8>),
    /// Bytes for it that it did not take.
    Unwritten(Vec<u8>),
    End {
        sessions: u64,
        connections: u64,
    },
    /// From the successor: it has all that `End` counts.
    Imported,
    Go,
    /// From the successor, the last word.
    Serving,
}
