//! The session for adapters: from the request head to the response head.

use std::{sync::Arc, time::Instant};

use super::{
    context::SessionContext,
    delivery::{CookieChange, CookieDelivery, RecordedChanges},
    error::SessionError,
    request::{Inner, Session},
    state::{ResponseHead, State},
};
use crate::{
    OnSessionEnded, cookie::VerifiedCookies, observe, plan::Recorded, plan::SessionKnowledge,
};

/// The adapter's side of one request's [`Session`]: it opens the session, finishes it and returns
/// the cookie change.
///
/// An adapter keeps the driver and passes [`Self::session`] to handlers. A handler cannot reach the
/// driver:
///
/// ```compile_fail,E0599
/// # async fn handler(session: session_core::Session) {
/// session.finish(session_core::RecordedChanges::Commit).await;
/// # }
/// ```
/// ```compile_fail,E0599
/// # fn handler(session: session_core::Session) {
/// session.seal();
/// # }
/// ```
/// ```compile_fail,E0599
/// # fn handler(session: session_core::Session) {
/// if let session_core::CookieChange::Issue { id, .. } = session.cookie() {
///     println!("{:?}", id.to_text());
/// }
/// # }
/// ```
/// ```compile_fail,E0599
/// # fn handler(context: std::sync::Arc<session_core::SessionContext>) {
/// let session = session_core::Session::open(context);
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SessionDriver(Session);

impl SessionDriver {
    /// Opens the session of a request that began at `began`. Loads nothing.
    ///
    /// Adapters call it with the result of [`CookieCodec::read`](crate::cookie::CookieCodec::read).
    /// Tests of handlers call it with [`VerifiedCookies::default`].
    #[must_use]
    pub fn open(
        context: Arc<SessionContext>,
        cookies: VerifiedCookies,
        delivery: CookieDelivery,
        began: Instant,
    ) -> Self {
        let state = parking_lot::Mutex::new(State::new(cookies, began));
        Self(Session(Arc::new(Inner {
            context,
            delivery,
            call_lock: tokio::sync::Mutex::new(()),
            state,
        })))
    }

    /// The session, for handlers.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.0
    }

    /// Finishes the request: commits or drops the recorded changes, and extends the ttl if that is
    /// due. Adapters call it before they send the response head. Then they send the change that
    /// [`Self::cookie`] returns, whatever the result of this call.
    ///
    /// # Errors
    /// The errors of [`Session::commit`]. With [`OnSessionEnded::Serve`], an ended session is not
    /// an error. With [`RecordedChanges::Drop`], only [`SessionError::Store`]: an earlier commit of
    /// the request copied the session to a new id, and the first session could not be ended.
    pub async fn finish(&self, changes: RecordedChanges) -> Result<(), SessionError> {
        let session = &self.0;
        let _call = session.0.call_lock.lock().await;
        let finished = match changes {
            RecordedChanges::Drop => {
                session.state().recorded = Recorded::default();
                session.end_copied_session().await.map_err(SessionError::from)
            }
            RecordedChanges::Commit => session.commit_recorded().await.map(|_| self.count_touch()),
        };
        let mut state = session.state();
        let finished = match finished {
            Err(SessionError::Gone)
                if session.policy().on_session_ended == OnSessionEnded::Serve =>
            {
                state.ended();
                Ok(())
            }
            finished => finished,
        };
        state.head = ResponseHead::Sent;
        finished
    }

    /// Tells the session that the response head was sent or will not be sent. From now on no new id
    /// can reach the browser, so the session draws none. [`Self::finish`] does the same.
    pub fn seal(&self) {
        self.0.state().head = ResponseHead::Sent;
    }

    /// The change of the cookie that the response has to send, after [`Self::finish`].
    pub fn cookie(&self) -> CookieChange {
        self.0.state().cookie(self.0.policy())
    }

    /// Counts a request that used a session whose ttl it did not extend.
    fn count_touch(&self) {
        let state = self.0.state();
        if matches!(state.known, SessionKnowledge::Alive(_) | SessionKnowledge::Loaded(_))
            && !state.renewed
        {
            observe::count_skipped_touch();
        }
    }
}
