use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::handle::ClusterHandle;
use crate::call::Requests;
use crate::error::RequestError;
use crate::id::WorkerId;
use crate::line::WhenFull;
use crate::message;

impl ClusterHandle {
    /// Asks a worker, and waits for its reply: `let load: f64 = cluster.request(id,
    /// &Question::Load, within).await?`.
    ///
    /// It goes through the same queue of 4 MiB as what is [sent](Self::send), so both arrive in the
    /// order in which they were queued. A worker that boots finds the request when it connects: ask
    /// such as are [ready](crate::Worker::ready), for one that does not read requests yet refuses
    /// it.
    ///
    /// Cancel safe: a request is sent whole or not at all, and its reply is dropped if nobody waits
    /// for it any more. The worker is not told.
    ///
    /// # Errors
    ///
    /// [`RequestError::Full`] at once when the queue of the worker is full, [`RequestError::Gone`]
    /// when there is no such worker or it ends before it replies, [`RequestError::Late`] after
    /// `within`. [`RequestError::NobodyListens`], [`RequestError::Busy`] and
    /// [`RequestError::NotAnswered`] come from the worker. The others are for the request or the
    /// reply itself.
    pub async fn request<R: DeserializeOwned>(
        &self,
        id: WorkerId,
        request: &(impl Serialize + Sync + ?Sized),
        within: Duration,
    ) -> Result<R, RequestError> {
        let body = message::encode(request)?;
        let line = self
            .0
            .see(|board| board.live().get(&id).map(|live| live.line.clone()))
            .ok_or(RequestError::Gone)?;
        let reply = line.ask(body, within, WhenFull::Refuse).await;
        if matches!(reply, Err(RequestError::Full)) {
            self.0.note(|board| board.refused(id));
        }
        reply
    }

    /// The requests of all workers, in the order in which they came. It ends with the cluster.
    ///
    /// There is one reader: a further call takes over, and the stream before it ends. While there
    /// is none, workers that ask are told [`RequestError::NobodyListens`].
    #[must_use]
    pub fn requests(&self) -> Requests {
        self.0.desk.sit()
    }
}
