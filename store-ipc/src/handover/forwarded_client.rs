//! A client that the successor has forwarded, and its stream.

use std::{io, net::Shutdown, os::unix::net::UnixStream as StdUnixStream, sync::Arc};

use socket2::SockRef;
use tokio::{net::UnixStream, sync::watch};

use crate::owner::{
    connection::{ClientOrigin, OwnerConnection},
    serve::admit,
    shared::{OwnerShared, TaskToken},
};

/// A client of the successor that the predecessor serves. Dropping it shuts the stream down, even
/// if another process holds a duplicate, unless the client was released.
pub(super) struct ForwardedClient {
    pub(super) id: u64,
    connection: OwnerConnection,
    token: Option<TaskToken>,
    released: bool,
}

impl ForwardedClient {
    /// Admits a client. If the owner has too many connections, or the operating system cannot watch
    /// the stream, closes the client and returns `None`.
    pub(super) fn admit(owner: &Arc<OwnerShared>, id: u64, client: StdUnixStream) -> Option<Self> {
        let guarded = ShutdownOnDrop::new(client);
        let stream = guarded.duplicate().and_then(UnixStream::from_std);
        let stream = stream
            .inspect_err(|error| tracing::warn!(%error, "could not serve a forwarded client"))
            .ok()?;
        let token = admit(owner, &stream).ok().flatten()?;
        guarded.release();
        let connection = OwnerConnection::new(Arc::clone(owner), stream, ClientOrigin::Provided);
        Some(Self { id, connection, token: Some(token), released: false })
    }

    /// Serves until the client leaves or `freeze` becomes true. Returns `None` if the client left.
    /// Otherwise no call of the client is in flight and none will start.
    pub(super) async fn serve(
        mut self,
        owner: Arc<OwnerShared>,
        mut freeze: watch::Receiver<bool>,
    ) -> Option<Self> {
        let ended = tokio::select! {
            biased;
            // Checked before the owner's stop, which follows at once: a forwarded client need not
            // read its replies before the handover.
            () = frozen(&mut freeze) => self.connection.finish_calls().await,
            () = owner.stopped() => {
                let ended = self.connection.drain(self.token.as_mut()).await;
                self.connection.log_end(ended);
                return None;
            }
            ended = self.connection.run() => {
                self.connection.log_end(ended);
                return None;
            }
        };
        match ended {
            Ok(()) => {
                self.token = None;
                Some(self)
            }
            ended => {
                self.connection.log_end(ended);
                None
            }
        }
    }

    pub(super) fn connection(&self) -> &OwnerConnection {
        &self.connection
    }

    /// Leaves the client to the process that holds the other duplicate of its stream.
    pub(super) fn release(mut self) {
        self.released = true;
    }
}

impl Drop for ForwardedClient {
    fn drop(&mut self) {
        if !self.released {
            shut_down(self.connection.stream());
        }
    }
}

/// Waits until the forwarded clients are to be frozen. If the handover task ends instead, this
/// stays pending and is dropped with the task.
async fn frozen(freeze: &mut watch::Receiver<bool>) {
    if freeze.wait_for(|freeze| *freeze).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// A client's stream. Dropping it shuts the stream down, even if another process holds a duplicate,
/// unless the stream was released.
pub(super) struct ShutdownOnDrop(Option<StdUnixStream>);

impl ShutdownOnDrop {
    pub(super) fn new(client: StdUnixStream) -> Self {
        Self(Some(client))
    }

    pub(super) fn release(mut self) -> Option<StdUnixStream> {
        self.0.take()
    }

    pub(super) fn stream(&self) -> Option<&StdUnixStream> {
        self.0.as_ref()
    }

    fn duplicate(&self) -> io::Result<StdUnixStream> {
        self.0
            .as_ref()
            .map_or_else(|| Err(io::ErrorKind::NotConnected.into()), StdUnixStream::try_clone)
    }
}

impl Drop for ShutdownOnDrop {
    fn drop(&mut self) {
        if let Some(client) = &self.0 {
            shut_down(client);
        }
    }
}

/// Ends the connection itself, not only this process's descriptor: the client sees the end, and no
/// process can serve it any more.
fn shut_down<'a>(stream: impl Into<SockRef<'a>>) {
    // Fails only if the client is gone already.
    let _ = stream.into().shutdown(Shutdown::Both);
}
