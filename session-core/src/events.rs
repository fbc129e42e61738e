//! What happens to sessions, for an audit trail.

use std::fmt;

use crate::{Handle, Principal};

/// Receives what happens to sessions. Every method does nothing by default.
///
/// The process that got the store's answer emits an event, at most once. A session that the store
/// expires by itself emits none. Methods run on the request's thread: hand slow work to a task. No
/// event holds an id, a key or a value.
///
/// # Examples
/// ```
/// # use session_core::{EndCause, SessionEvent, SessionEvents};
/// #[derive(Debug)]
/// struct AuditTrail;
///
/// impl SessionEvents for AuditTrail {
///     fn signed_in(&self, event: &SessionEvent<'_>) {
///         tracing::info!(session = %event.handle, principal = ?event.principal, "signed in");
///     }
///     fn ended(&self, event: &SessionEvent<'_>, cause: EndCause) {
///         tracing::info!(session = %event.handle, principal = ?event.principal, ?cause, "session ended");
///     }
/// }
/// ```
pub trait SessionEvents: fmt::Debug + Send + Sync {
    /// A session was created.
    fn created(&self, _event: &SessionEvent<'_>) {}

    /// A user signed in.
    fn signed_in(&self, _event: &SessionEvent<'_>) {}

    /// A session got a new id without a sign-in.
    fn rotated(&self, _event: &SessionEvent<'_>) {}

    /// An id was used that a rotation had replaced more than
    /// [`Policy::rotation_settles`](crate::Policy::rotation_settles) ago. Either the browser never
    /// received the new cookie, or a copy of the old one is in other hands.
    fn superseded_id_used(&self, _event: &SessionEvent<'_>) {}

    /// A session ended.
    fn ended(&self, _event: &SessionEvent<'_>, _cause: EndCause) {}
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionEvent<'a> {
    /// The public name of the session.
    pub handle: Handle,
    /// Who is signed in, as far as the request knows: a blind sign-out does not load the session.
    pub principal: Option<&'a Principal>,
    /// Whether the store confirmed it.
    pub outcome: EventOutcome,
}

/// Whether the store confirmed what an event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventOutcome {
    /// It happened.
    Confirmed,
    /// The store did not answer: it may have happened.
    Unknown,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndCause {
    /// Its own request ended it.
    SignedOut,
    /// Another session of the same user ended it.
    Revoked,
    /// A later sign-in exceeded [`SignIn::max_sessions`](crate::SignIn::max_sessions).
    TooManySessions,
    /// The user's credentials changed, and this session's id was superseded meanwhile. Otherwise
    /// the session goes on, and [`SessionEvents::rotated`] is emitted.
    CredentialsChanged,
    /// It outlived a timeout that was shortened after it was stored.
    TimedOut,
    /// A superseded id was used, and the policy ends the session then.
    SupersededIdUsed,
}
