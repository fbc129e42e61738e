//! Takeover: this primary, started by an upgrade, replaces its predecessor.

use std::{io, os::unix::net::UnixStream as StdUnixStream, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::sleep,
};

use crate::{
    model::{Phase, SlotState},
    os::fds::{GRANTED, READY, REFUSED},
    primary::{cluster::Cluster, table::WorkerTable},
};

/// How long a stop waits for the answer of the predecessor, whose process may be stopped.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes the connection to the predecessor usable in the runtime.
pub(in crate::primary) fn connect(connection: StdUnixStream) -> io::Result<UnixStream> {
    connection.set_nonblocking(true)?;
    UnixStream::from_std(connection)
}

/// Takes over when all workers serve, or when the predecessor has died.
pub(in crate::primary) async fn take_over(mut predecessor: UnixStream, cluster: Arc<Cluster>) {
    let shared = &cluster.shared;
    let mut phase = shared.lifecycle.watch_phase();
    let ready = tokio::select! {
        // Cannot fail: the sender lives in `shared`.
        _ = phase.wait_for(|phase| *phase > Phase::Running) => return,
        // The predecessor sends nothing before it receives something, so this is its end.
        _ = predecessor.read_u8() => return take_over_alone(&cluster),
        ready = shared.ready() => ready,
    };
    if ready.is_err() || shared.read(any_given_up) {
        tracing::error!(
            "takeover failed: a slot of this new primary was given up; this primary ends"
        );
        return shared.stop(Phase::Stopping);
    }
    // The cluster must not end before the answer arrives, even if it is told to stop. After a
    // positive answer, ports and files belong to this primary, which must close them.
    let _succeeding = cluster.succeeding.lock().await;
    if shared.lifecycle.is_stopping() {
        return;
    }
    tracing::info!("all workers serve; asking the predecessor to drain");
    // A failure appears as the end of the stream.
    let _ = predecessor.write_u8(READY).await;
    let no_answer = async {
        // Cannot fail: the sender lives in `shared`.
        let _ = phase.wait_for(|phase| *phase > Phase::Running).await;
        sleep(ANSWER_TIMEOUT).await;
    };
    let answer = tokio::select! {
        biased;
        answer = predecessor.read_u8() => answer,
        () = no_answer => {
            return tracing::error!(
                "the predecessor does not answer; this primary ends and leaves ports and files to \
                 the predecessor"
            );
        }
    };
    match answer {
        Ok(GRANTED) => {
            tracing::info!("taken over from the predecessor");
            cluster.take_charge();
        }
        Ok(REFUSED) => tracing::warn!("the predecessor continues; this primary ends"),
        Ok(_) | Err(_) => take_over_alone(&cluster),
    }
}

fn take_over_alone(cluster: &Cluster) {
    tracing::warn!("the predecessor has died; taken over without it");
    cluster.take_charge();
}

impl Cluster {
    fn take_charge(&self) {
        self.endpoints.take_charge();
        self.shared.take_charge();
    }
}

fn any_given_up(table: &WorkerTable) -> bool {
    table.slots().iter().any(|slot| slot.state == SlotState::GaveUp)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::ErrorKind, net::TcpStream, num::NonZeroUsize};

    use super::*;
    use crate::{
        builder::{ClusterBuilder, Workers},
        model::{ListenSpec, Slot, WorkerId},
        os::{executable::Executable, fds::ExclusiveFiles},
    };

    /// Stops a primary that waits for the answer of its predecessor, then sends `answer`. Returns
    /// whether the primary took charge, and the error of a client that connects to its port.
    async fn stop_before_the_answer(answer: Option<u8>) -> (bool, Option<ErrorKind>) {
        let builder = ClusterBuilder::new(Executable::of_this_process().unwrap(), None)
            .workers(Workers::Exactly(NonZeroUsize::MIN))
            .listen("main", ListenSpec::tcp("127.0.0.1:0"));
        let files = Some(ExclusiveFiles::default());
        let cluster = Arc::new(Cluster::open(builder, BTreeMap::new(), files).unwrap().0);
        let shared = &cluster.shared;
        shared.update(|table| table.set(Slot::new(0), SlotState::Serving(WorkerId::new(1))));
        // Copies, as the predecessor and the workers have them.
        let _port = shared.sockets().unwrap();
        let address = shared.addresses["main"].tcp().unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let taking_over = tokio::spawn(take_over(ours, Arc::clone(&cluster)));
        assert_eq!(theirs.read_u8().await.unwrap(), READY);
        shared.stop(Phase::Stopping);
        if let Some(answer) = answer {
            theirs.write_u8(answer).await.unwrap();
        }
        drop(theirs);
        taking_over.await.unwrap();
        let error = TcpStream::connect_timeout(&address, Duration::from_millis(100)).err();
        (shared.lifecycle.is_in_charge(), error.map(|error| error.kind()))
    }

    #[tokio::test]
    async fn k12_stop_before_the_answer_leaves_one_owner_of_the_ports() {
        // Granted: this primary owns the port and has closed it to new connections.
        let refused = Some(ErrorKind::ConnectionRefused);
        assert_eq!(stop_before_the_answer(Some(GRANTED)).await, (true, refused));
        // The predecessor has died.
        assert_eq!(stop_before_the_answer(None).await, (true, refused));
        // Refused: the predecessor continues, and the port stays open.
        assert_eq!(stop_before_the_answer(Some(REFUSED)).await, (false, None));
    }
}
