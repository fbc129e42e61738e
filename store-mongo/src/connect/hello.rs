//! The command `hello`: what kind of server the store is connected to, and what time it is there.

use mongodb::{
    bson::{DateTime, Document, rawdoc},
    options::{ReadPreference, SelectionCriteria},
};

use crate::{
    error::{ClientError, OLDEST_SERVER},
    index::SessionCollection,
};

/// What kind of server responds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerKind {
    /// A standalone server or a member of a replica set.
    Mongod,
    /// The router of a sharded cluster.
    Mongos,
}

/// Checks the version of the server, and that a direct connection does not lead to a member of a
/// replica set.
pub(crate) async fn check_server(
    sessions: &SessionCollection,
    is_direct: bool,
) -> Result<ServerKind, ClientError> {
    let hello = hello(sessions).await?;
    let wire_version = hello.get_i32("maxWireVersion").unwrap_or(0);
    if wire_version < OLDEST_SERVER.1 {
        return Err(ClientError::UnsupportedServer { found: wire_version });
    }
    // The driver reads from a direct connection even after the member became a secondary. A
    // secondary may still have sessions that were ended.
    if is_direct && hello.contains_key("setName") {
        return Err(ClientError::DirectConnection);
    }
    let is_router = matches!(hello.get_str("msg"), Ok("isdbgrid"));
    Ok(if is_router { ServerKind::Mongos } else { ServerKind::Mongod })
}

/// Asks the server for its time, in a separate round trip.
pub(crate) async fn server_time(sessions: &SessionCollection) -> Result<DateTime, ClientError> {
    hello(sessions)
        .await?
        .get_datetime("localTime")
        .copied()
        .map_err(|_| ClientError::UnexpectedResponse("hello contains no localTime"))
}

async fn hello(sessions: &SessionCollection) -> Result<Document, ClientError> {
    let database = sessions.client().database(&sessions.namespace().db);
    let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
    Ok(database.run_raw_command(rawdoc! { "hello": 1 }).selection_criteria(primary).await?)
}
