//! What adapters hold: a session from the request's head to the response's head.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Inner, Session, SessionContext, SessionError, state::ResponseHead, state::State};
use crate::{
    OnSessionEnded, SessionId, cookie::VerifiedCookies, observe, plan::Recorded,
    plan::SessionKnowledge,
};

/// The adapter's side of one request's [`Session`]: it opens the session, finishes it and reads the
/// cookie change.
///
/// An adapter keeps the driver and gives handlers [`Self::session`]. A handler cannot reach the
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

/// Whether a new id can reach the browser on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CookieDelivery {
    /// The connection may carry the cookie.
    Possible,
    /// The cookie is https only and the connection is plain http: no session is created, nothing is
    /// rotated.
    Refused,
}

/// What happens to changes that are still recorded when the response is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordedChanges {
    /// They are committed.
    Commit,
    /// They are forgotten: the request failed.
    Drop,
}

/// What the response has to tell the browser.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum CookieChange {
    /// Nothing.
    Keep,
    /// To hold this id, for so long; until the browser closes with `None`.
    Issue {
        /// The id.
        id: SessionId,
        /// How long the browser keeps it.
        max_age: Option<Duration>,
    },
    /// To forget the id.
    Remove,
}

impl SessionDriver {
    /// Opens the session of a request that began at `began`. Nothing is loaded.
    ///
    /// Adapters call it with what [`CookieCodec::read`](crate::cookie::CookieCodec::read) found;
    /// tests of handlers call it with [`VerifiedCookies::default`].
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

    /// Ends the request's part: commits or drops what is recorded, and extends the session's life
    /// if that is due. Adapters call it before the response head leaves, then send what
    /// [`Self::cookie`] says, whatever this returned.
    ///
    /// # Errors
    /// As [`Session::commit`]. With [`OnSessionEnded::Serve`] a session that has ended is not an error.
    pub async fn finish(&self, changes: RecordedChanges) -> Result<(), SessionError> {
        let session = &self.0;
        let _call = session.0.call_lock.lock().await;
        let finished = match changes {
            RecordedChanges::Drop => {
                session.state().recorded = Recorded::default();
                Ok(())
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

    /// Says that the response head has left, or that there will be none: from now on no id can
    /// reach the browser, so none is made. [`Self::finish`] does it too.
    pub fn seal(&self) {
        self.0.state().head = ResponseHead::Sent;
    }

    /// What the response has to tell the browser, after [`Self::finish`].
    pub fn cookie(&self) -> CookieChange {
        self.0.state().cookie(self.0.policy())
    }

    /// Counts a request that used a session whose life it did not have to extend.
    fn count_touch(&self) {
        let state = self.0.state();
        if matches!(state.known, SessionKnowledge::Alive(_) | SessionKnowledge::Loaded(_))
            && !state.renewed
        {
            observe::count_skipped_touch();
        }
    }
}
