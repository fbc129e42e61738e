use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::sleep;

use super::board::Board;
use super::core::Core;
use super::handle::ClusterHandle;
use crate::status::{Phase, SlotState};
use crate::succession::{NO, READY, YOURS};

/// How long a stop waits for a predecessor that was asked and does not answer: it is stopped
/// itself.
const PATIENCE: Duration = Duration::from_secs(5);

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
        tracing::error!(
            "a slot of the new primary was given up, so it does not take over and ends"
        );
        return core.stop(Phase::Stopping);
    }
    // The cluster does not end before the answer is there, also if it is told to stop: if it is
    // yes, ports and files are this primary's to close.
    let _undecided = core.succeeding.lock().await;
    if core.ends() {
        return;
    }
    tracing::info!("all workers serve; the predecessor is asked to leave");
    // A failure shows by the end of the stream.
    let _ = link.write_u8(READY).await;
    let silence = async {
        // The sender lives in the core.
        let _ = phase.wait_for(|phase| *phase > Phase::Running).await;
        sleep(PATIENCE).await;
    };
    let answer = tokio::select! {
        biased;
        answer = link.read_u8() => answer,
        () = silence => return tracing::error!("the predecessor does not answer; this primary ends, and leaves ports and files to it"),
    };
    match answer {
        Ok(YOURS) => {
            tracing::info!("taken over from the predecessor");
            core.take_charge();
        }
        Ok(NO) => tracing::warn!("the predecessor serves on; this primary ends"),
        Ok(_) | Err(_) => take_over_alone(&core),
    }
}

fn take_over_alone(core: &Core) {
    tracing::warn!("the predecessor has died; taken over without it");
    core.take_charge();
}

fn has_given_up(board: &Board) -> bool {
    board.slots().iter().any(|slot| slot.state == SlotState::GaveUp)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::ErrorKind;
    use std::net::TcpStream;

    use super::*;
    use crate::config::{ClusterBuilder, Workers};
    use crate::held::Held;
    use crate::id::{Slot, WorkerId};
    use crate::image::Image;
    use crate::listener::ListenSpec;

    /// Stops a primary that has asked to take over, and answers then. Returns whether it took
    /// charge, and what a client meets at its port.
    async fn stopped_before_the_answer(answer: Option<u8>) -> (bool, Option<ErrorKind>) {
        let one = Workers::Exactly(std::num::NonZeroUsize::MIN);
        let builder = ClusterBuilder::new(Image::of_this_process().unwrap(), None).workers(one);
        let builder = builder.listen("main", ListenSpec::tcp("127.0.0.1:0"));
        let core = Arc::new(Core::open(builder, BTreeMap::new(), Some(Held::default())).unwrap().0);
        core.note(|board| board.set(Slot::new(0), SlotState::Serving(WorkerId::new(1))));
        // As the predecessor and the workers have it.
        let _port = core.sockets().unwrap();
        let address = core.addresses["main"];
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let taking = tokio::spawn(take_over(ours, Arc::clone(&core)));
        assert_eq!(theirs.read_u8().await.unwrap(), READY);
        core.stop(Phase::Stopping);
        if let Some(answer) = answer {
            theirs.write_u8(answer).await.unwrap();
        }
        drop(theirs);
        taking.await.unwrap();
        let met = TcpStream::connect_timeout(&address, Duration::from_millis(100))
            .err()
            .map(|error| error.kind());
        (core.is_in_charge(), met)
    }

    #[tokio::test]
    async fn k12_a_stop_before_the_answer_leaves_nobody_s_ports_and_files() {
        // Its own now: the door is closed, and who knocks waits.
        assert_eq!(stopped_before_the_answer(Some(YOURS)).await, (true, Some(ErrorKind::TimedOut)));
        // The predecessor has died.
        assert_eq!(stopped_before_the_answer(None).await, (true, Some(ErrorKind::TimedOut)));
        // The predecessor serves on, and lets in whom it likes.
        assert_eq!(stopped_before_the_answer(Some(NO)).await, (false, None));
    }
}
