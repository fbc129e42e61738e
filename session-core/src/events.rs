//! Events of sessions, for an audit trail.

use std::{fmt, sync::Arc};

use crate::{Handle, Principal};

/// Receives the events of sessions. By default every method does nothing.
///
/// The process that received the store's answer emits an event, at most once. A session that
/// expires in the store emits no event. The methods run on the thread of the request, so an
/// implementation passes slow work to a task. An event never contains an id, a key or a value.
///
/// # Examples
/// ```
/// # use session_core::{EndCause, SessionEvent, SessionEvents};
/// #[derive(Debug)]
/// struct AuditTrail;
///
/// impl SessionEvents for AuditTrail {
///     fn signed_in(&self, event: &SessionEvent<'_>) {
///         tracing::info!(session = %event.handle, user = ?event.principal, "signed in");
///     }
///     fn ended(&self, event: &SessionEvent<'_>, cause: EndCause) {
///         tracing::info!(session = %event.handle, user = ?event.principal, ?cause, "ended");
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

    /// A request used an id that a rotation had replaced more than
    /// [`Policy::rotation_settles`](crate::Policy::rotation_settles) ago. Either the browser never
    /// received the new cookie, or an attacker has a copy of the old one.
    fn superseded_id_used(&self, _event: &SessionEvent<'_>) {}

    /// A session ended.
    fn ended(&self, _event: &SessionEvent<'_>, _cause: EndCause) {}
}

/// Forwards every event to the receiver inside the `Arc`.
impl<T: SessionEvents + ?Sized> SessionEvents for Arc<T> {
    fn created(&self, event: &SessionEvent<'_>) {
        (**self).created(event);
    }

    fn signed_in(&self, event: &SessionEvent<'_>) {
        (**self).signed_in(event);
    }

    fn rotated(&self, event: &SessionEvent<'_>) {
        (**self).rotated(event);
    }

    fn superseded_id_used(&self, event: &SessionEvent<'_>) {
        (**self).superseded_id_used(event);
    }

    fn ended(&self, event: &SessionEvent<'_>, cause: EndCause) {
        (**self).ended(event, cause);
    }
}

/// The session, the user and the certainty of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionEvent<'a> {
    /// The public name of the session.
    pub handle: Handle,
    /// The signed-in user, if the request knows it. A sign-out of a request that did not load the
    /// session does not know it.
    pub principal: Option<&'a Principal>,
    /// Whether the store confirmed the event.
    pub outcome: EventOutcome,
}

/// Whether the store confirmed an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventOutcome {
    /// The store confirmed it.
    Confirmed,
    /// The store did not answer. The event may have happened.
    Unknown,
}

/// The reason why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndCause {
    /// A request of the session itself ended it.
    SignedOut,
    /// Another session of the same user ended it.
    Revoked,
    /// A later sign-in exceeded [`SignIn::max_sessions`](crate::SignIn::max_sessions).
    TooManySessions,
    /// The user's credentials changed, and the id of the calling request had been superseded. With
    /// a current id the session continues, and [`SessionEvents::rotated`] is emitted instead.
    CredentialsChanged,
    /// The age of the session exceeded a timeout that was shortened after the record was stored.
    TimedOut,
    /// A superseded id was used, and the policy is
    /// [`OnSupersededId::EndSession`](crate::OnSupersededId::EndSession).
    SupersededIdUsed,
}
