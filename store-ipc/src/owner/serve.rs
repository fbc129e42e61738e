//! Admits a client and serves its connection until it ends.

use std::sync::Arc;

use tokio::net::UnixStream;

use super::{
    connection::{ClientOrigin, OwnerConnection, hello},
    shared::{OwnerShared, TaskToken},
};
use crate::{error::OwnerError, wire::frame::HelloStatus};

/// Serves a client until it leaves or the owner is shut down.
pub(crate) async fn serve(
    owner: Arc<OwnerShared>,
    stream: UnixStream,
    origin: ClientOrigin,
) -> Result<(), OwnerError> {
    let Some(token) = admit(&owner, &stream)? else { return Ok(()) };
    serve_admitted(&owner, OwnerConnection::new(Arc::clone(&owner), stream, origin), token).await;
    Ok(())
}

/// Registers a client. Refuses it and returns `None` if the owner has too many connections.
pub(crate) fn admit(
    owner: &Arc<OwnerShared>,
    stream: &UnixStream,
) -> Result<Option<TaskToken>, OwnerError> {
    let token = owner.track_connection();
    if token.is_none() {
        if owner.is_stopped() {
            return Err(OwnerError::Stopped);
        }
        refuse(stream, HelloStatus::TooManyConnections, owner.settings.frame_bytes);
        tracing::warn!(
            max_connections = owner.settings.max_connections,
            "refused a client: too many connections"
        );
    }
    Ok(token)
}

/// Serves an admitted connection until the client leaves or the owner is shut down.
pub(crate) async fn serve_admitted(
    owner: &OwnerShared,
    mut connection: OwnerConnection,
    mut token: TaskToken,
) {
    let ended = tokio::select! {
        // A stopped owner starts no call, so the shutdown is checked first.
        biased;
        () = owner.stopped() => connection.drain(Some(&mut token)).await,
        ended = connection.run() => ended,
    };
    connection.log_end(ended);
}

/// Sends a client the reason why it is not served, if the socket takes it at once.
pub(crate) fn refuse(stream: &UnixStream, status: HelloStatus, frame_bytes: usize) {
    let _ = stream.try_write(&hello(status, frame_bytes).encode());
}
