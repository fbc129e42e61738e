//! The messages between predecessor and successor.
//!
//! The types have no `Debug`, because they hold keys and data. A change of this type or of
//! [`Exported`] needs a new [`HANDOVER_VERSION`](super::stream::HANDOVER_VERSION).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use session_core::Exported;

#[derive(Serialize, Deserialize)]
pub(crate) enum Message {
    /// From the successor, with the descriptor of a client's stream. The number identifies the
    /// client from then on.
    Client(u64),
    /// From the predecessor: the handover begins. It takes at most this time.
    Prepare(Duration),
    /// From the successor: it has forwarded all clients and forwards no more.
    Prepared,
    /// From the predecessor, like all messages up to `Activate` except `Imported`: the sessions
    /// follow.
    Snapshot {
        /// The store's clock when the export began.
        taken_at: Duration,
        /// `CLOCK_BOOTTIME` shortly before the export began.
        stamp: Duration,
    },
    Sessions(Vec<Exported>),
    /// The connection of a forwarded client. Its bytes follow.
    Connection {
        client: u64,
        request_bytes: u64,
        reply_bytes: Option<u64>,
    },
    /// Bytes from the client that was named last. They are not a whole request.
    Unread(Vec<u8>),
    /// Bytes for that client, which it has not taken.
    Unwritten(Vec<u8>),
    End {
        sessions: u64,
        connections: u64,
    },
    /// From the successor: it has everything that `End` counts.
    Imported,
    /// From the predecessor: the successor may serve.
    Activate,
    /// From the successor: it serves. This is the last message.
    Serving,
}
