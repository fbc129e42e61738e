use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::board::Board;
use super::core::Core;
use super::handle::ClusterHandle;
use crate::status::{Phase, SlotState};
use crate::succession::{READY, YOURS};

/// The way to the predecessor.
pub(super) fn open(link: StdUnixStream) -> io::Result<UnixStream> {
    link.set_nonblocking(true)?;
    UnixStream::from_std(link)
}

/// Takes over from the predecessor when all workers serve, or when it is gone.
pub(super) async fn take_over(mut link: UnixStream, core: Arc<Core>) {
    let mut phase = core.phase.subscribe();
    let cluster = ClusterHandle::new(Arc::clone(&core));
    let ready = tokio::select! {
        // The sender lives in the core.
        _ = phase.wait_for(|phase| *phase > Phase::Running) => return,
        // It says nothing before it is told something, so this is its end.
        _ = link.read_u8() => return take_over_alone(&core),
        ready = cluster.ready() => ready,
    };
    if ready.is_err() || core.see(has_given_up) {
        tracing::error!("a slot of the new primary was given up, so it does not take over and ends");
        return core.stop(Phase::Stopping);
    }
    tracing::info!("all workers serve; the predecessor is asked to leave");
    // A failure shows by the end of the stream.
    let _ = link.write_u8(READY).await;
    let answer = tokio::select! {
        _ = phase.wait_for(|phase| *phase > Phase::Running) => return,
        answer = link.read_u8() => answer,
    };
    if answer.is_ok_and(|said| said == YOURS) {
        tracing::info!("taken over from the predecessor");
        core.take_charge();
    } else {
        take_over_alone(&core);
    }
}

fn take_over_alone(core: &Core) {
    tracing::warn!("the predecessor has died; taken over without it");
    core.take_charge();
}

fn has_given_up(board: &Board) -> bool {
    board.slots().iter().any(|slot| slot.state == SlotState::GaveUp)
}
