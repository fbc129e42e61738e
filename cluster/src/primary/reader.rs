use std::sync::Arc;

use tokio::net::unix::OwnedReadHalf;
use tokio::sync::watch;

use super::core::Core;
use crate::event::Event;
use crate::frame::{self, PROTOCOL, ToPrimary};
use crate::id::WorkerId;
use crate::message::Message;

/// How far a worker says it has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    pub(super) online: bool,
    pub(super) ready: bool,
    pub(super) draining: bool,
}

/// Reads all that a worker says, until its end of the control socket closes.
///
/// It never waits for a reader of the events, so a worker cannot be stopped by a slow one.
pub(super) async fn read(id: WorkerId, mut socket: OwnedReadHalf, progress: watch::Sender<Progress>, core: Arc<Core>) {
    loop {
        match frame::read(&mut socket).await {
            Ok(Some(ToPrimary::Hello { protocol: PROTOCOL })) => {
                progress.send_modify(|progress| progress.online = true);
                core.emit(Event::Online(id));
            }
            Ok(Some(ToPrimary::Hello { protocol })) => {
                tracing::error!(worker = %id, protocol, expected = PROTOCOL, "a worker of another build is not heard");
                return;
            }
            Ok(Some(ToPrimary::Listening { name, addr })) => core.emit(Event::Listening { id, name, addr }),
            Ok(Some(ToPrimary::Ready)) => {
                // The board first: who sees the event finds the worker serving.
                core.note(|board| board.ready(id));
                progress.send_modify(|progress| progress.ready = true);
                core.emit(Event::Ready(id));
            }
            Ok(Some(ToPrimary::Draining)) => progress.send_modify(|progress| progress.draining = true),
            Ok(Some(ToPrimary::Message(bytes))) => core.emit(Event::Message { from: id, message: Message::from_bytes(bytes) }),
            Ok(None) => return,
            Err(e) => {
                tracing::warn!(worker = %id, error = %e, "the control socket of a worker failed");
                return;
            }
        }
    }
}
