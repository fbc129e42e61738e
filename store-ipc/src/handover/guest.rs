//! A client of the successor at the predecessor.

use std::{os::unix::net::UnixStream as StdUnixStream, sync::Arc};

use socket2::SockRef;
use tokio::{net::UnixStream, sync::watch};

use crate::{
    owner::Shared,
    presence::Place,
    serve::{Connection, Origin, admit},
};

/// A client of the successor. It ends with this, whoever else holds a duplicate of its stream,
/// unless it was let go.
pub(super) struct Guest {
    pub(super) id: u64,
    connection: Connection,
    place: Option<Place>,
    let_go: bool,
}

impl Guest {
    /// Takes a client in. `None` if there is no place for it, or the operating system does not
    /// watch its stream; it was closed then.
    pub(super) fn admit(owner: &Arc<Shared>, id: u64, client: StdUnixStream) -> Option<Self> {
        let severed = Severed(Some(client));
        let stream = severed.duplicate().and_then(UnixStream::from_std);
        let stream = stream
            .inspect_err(|error| tracing::warn!(%error, "a successor's client could not be served"))
            .ok()?;
        let place = admit(owner, &stream).ok().flatten()?;
        severed.keep();
        let connection = Connection::new(Arc::clone(owner), stream, Origin::Given);
        Some(Self { id, connection, place: Some(place), let_go: false })
    }

    /// Serves until the client leaves, which is `None`, or `freeze` is true: then no call of it is
    /// in flight, and none will be.
    pub(super) async fn serve(
        mut self,
        owner: Arc<Shared>,
        mut freeze: watch::Receiver<bool>,
    ) -> Option<Self> {
        let ended = tokio::select! {
            biased;
            // Before the owner's end, which comes right after: a guest's replies need not go out
            // before the hand-over.
            () = frozen(&mut freeze) => self.connection.settle().await,
            () = owner.stopped() => {
                let ended = self.connection.finish_in_time(self.place.as_mut()).await;
                self.connection.report(ended);
                return None;
            }
            ended = self.connection.run() => {
                self.connection.report(ended);
                return None;
            }
        };
        match ended {
            Ok(()) => {
                self.place = None;
                Some(self)
            }
            ended => {
                self.connection.report(ended);
                None
            }
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Leaves the client to the other holder of its stream.
    pub(super) fn let_go(mut self) {
        self.let_go = true;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if !self.let_go {
            sever(self.connection.stream());
        }
    }
}

/// Waits until the guests are to be frozen. Never ready if the succession ends instead, which drops
/// whoever waits.
async fn frozen(freeze: &mut watch::Receiver<bool>) {
    if freeze.wait_for(|freeze| *freeze).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// A client's stream that ends with this, whoever holds a duplicate, unless it is kept.
pub(super) struct Severed(Option<StdUnixStream>);

impl Severed {
    pub(super) fn new(client: StdUnixStream) -> Self {
        Self(Some(client))
    }

    pub(super) fn keep(mut self) -> Option<StdUnixStream> {
        self.0.take()
    }

    pub(super) fn stream(&self) -> Option<&StdUnixStream> {
        self.0.as_ref()
    }

    fn duplicate(&self) -> std::io::Result<StdUnixStream> {
        self.0
            .as_ref()
            .map_or_else(|| Err(std::io::ErrorKind::NotConnected.into()), StdUnixStream::try_clone)
    }
}

impl Drop for Severed {
    fn drop(&mut self) {
        if let Some(client) = &self.0 {
            sever(client);
        }
    }
}

/// Ends the connection itself and not just this process's descriptor of it: the client sees the
/// end, and nobody can serve it any more.
fn sever<'a>(stream: impl Into<SockRef<'a>>) {
    // An error says that the client is gone already.
    let _ = stream.into().shutdown(std::net::Shutdown::Both);
}
