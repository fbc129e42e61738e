use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::unix::OwnedReadHalf;
use tokio::sync::watch;

use super::core::Core;
use crate::event::Event;
use crate::frame::{self, PROTOCOL, ToPrimary};
use crate::id::WorkerId;
use crate::line::Ear;
use crate::message::Message;

/// How far a worker says it has come.
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is heard by itself, and none excludes another"
)]
pub(super) struct Progress {
    pub(super) online: bool,
    pub(super) ready: bool,
    pub(super) draining: bool,
    /// What it says cannot be understood, so nothing further is heard of it.
    pub(super) garbled: bool,
    pub(super) beats: u64,
    pub(super) last_beat: Option<Instant>,
    /// As its last beat told.
    pub(super) requests: u64,
}

/// Reads all that a worker says, until its end of the control socket closes.
///
/// It never waits for a reader of the events, so a worker cannot be stopped by a slow one.
pub(super) async fn read(
    id: WorkerId,
    mut socket: OwnedReadHalf,
    progress: watch::Sender<Progress>,
    ear: Ear,
    core: Arc<Core>,
) {
    loop {
        match frame::read(&mut socket).await {
            Ok(Some(ToPrimary::Hello { protocol: PROTOCOL })) => {
                progress.send_modify(|progress| progress.online = true);
                core.emit(Event::Online(id));
            }
            Ok(Some(ToPrimary::Hello { protocol })) => {
                tracing::error!(worker = %id, protocol, expected = PROTOCOL, "a worker is of another build");
                progress.send_modify(|progress| progress.garbled = true);
                return;
            }
            Ok(Some(ToPrimary::Listening { name, addr })) => {
                core.emit(Event::Listening { id, name, addr })
            }
            Ok(Some(ToPrimary::Ready)) => {
                // The board first: who sees the event finds the worker serving.
                core.note(|board| board.ready(id));
                // Who waits for it lets the old one of its slot go, which is the next event.
                core.emit(Event::Ready(id));
                progress.send_modify(|progress| progress.ready = true);
            }
            Ok(Some(ToPrimary::Draining)) => {
                progress.send_modify(|progress| progress.draining = true)
            }
            Ok(Some(ToPrimary::Message(bytes))) => {
                core.emit(Event::Message { from: id, message: Message::from_bytes(bytes) })
            }
            Ok(Some(ToPrimary::Talk(talk))) => ear.hear(talk),
            Ok(Some(ToPrimary::Beat { requests })) => progress.send_modify(|progress| {
                progress.beats += 1;
                progress.last_beat = Some(Instant::now());
                progress.requests = requests;
            }),
            Ok(None) => return,
            // Also the end inside a frame, which is how a process that was killed leaves its
            // socket: it shows by its exit.
            Err(e) => {
                tracing::warn!(worker = %id, error = %e, "the control socket of a worker failed");
                if e.kind() == io::ErrorKind::InvalidData {
                    progress.send_modify(|progress| progress.garbled = true);
                }
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    use super::*;
    use crate::config::ClusterBuilder;
    use crate::frame::ToPrimary::Hello;
    use crate::image::Image;
    use crate::line::{Line, Room};
    use crate::outbox::Outbox;

    /// What is known of a worker that said so much and left.
    async fn after(said: &[u8]) -> watch::Receiver<Progress> {
        let core = Arc::new(
            Core::open(
                ClusterBuilder::new(Image::of_this_process().unwrap(), None),
                BTreeMap::new(),
                None,
            )
            .unwrap()
            .0,
        );
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (progress, seen) = watch::channel(Progress::default());
        theirs.write_all(said).await.unwrap();
        drop(theirs);
        let (ours, to_worker) = ours.into_split();
        let line =
            Line::new(Outbox::start(to_worker), |talk| frame::encode(&talk), Room::default());
        let ear = Ear::new(&line, &core.desk, Some(WorkerId::new(1)));
        read(WorkerId::new(1), ours, progress, ear, core).await;
        seen
    }

    #[tokio::test]
    async fn k13_only_what_cannot_be_understood_is_garbled() {
        let hello = frame::encode(&Hello { protocol: PROTOCOL }).unwrap();
        let other_build = frame::encode(&Hello { protocol: PROTOCOL + 1 }).unwrap();
        for said in [other_build.as_slice(), &[0xff; 8], &[0, 0, 0, 1, 99]] {
            assert!(after(said).await.borrow().garbled, "{said:?}");
        }
        for said in [hello.as_slice(), &hello[..3], &[]] {
            assert!(!after(said).await.borrow().garbled, "{said:?}");
        }
    }
}
