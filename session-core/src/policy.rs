//! The policy of an application: how long sessions live, and how the adapter reacts to conflicts
//! and failures.

use std::time::Duration;

use crate::{Attributes, Limits, Persistence, expiry::Timeouts, principal::SessionKind};

/// The rules for every session of an application. A session can have other timeouts in its
/// [`Attributes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// How long a session lives without being used. 30 minutes by default (OWASP: 15 to 30 for a
    /// low-risk application).
    pub idle_timeout: Duration,
    /// How long an anonymous session lives without being used. `None`, the default, means the idle
    /// timeout.
    pub anonymous_idle_timeout: Option<Duration>,
    /// The maximum lifetime of a session, however much it is used. It counts from the last proof of
    /// identity (a sign-in or [`reauthenticated`](crate::Session::reauthenticated)), or from the
    /// creation of an anonymous session. 8 hours by default (OWASP: 4 to 8, a working day).
    pub absolute_timeout: Duration,
    /// How long the browser keeps the cookie. Until it closes, by default.
    pub persistence: Persistence,
    /// The response if the session has ended meanwhile. A 409 by default.
    pub on_session_ended: OnSessionEnded,
    /// What happens to recorded changes if the response is a 5xx. They are dropped by default.
    pub on_server_error: OnServerError,
    /// How long the former id may still read after [`Session::renew`](crate::Session::renew), so
    /// that parallel requests of the same page stay signed in. 10 seconds by default, at most 60,
    /// zero for none. No other rotation has a grace.
    pub rotation_grace: Duration,
    /// How long after a rotation a write with the former id is refused as a conflict. After that,
    /// the id counts as absent: the first write starts a new session. 10 seconds by default.
    pub rotation_settles: Duration,
    /// The reaction to a superseded id of the signed-in user that is used after that time. It is
    /// reported by default.
    pub on_superseded_id: OnSupersededId,
}

/// The response to a request whose changes cannot be saved, because the session was signed out,
/// revoked or expired meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnSessionEnded {
    /// The response is replaced by a conflict (409), so that a client does not assume the changes
    /// were saved. The cookie stays unchanged.
    Conflict,
    /// The original response is sent, without the changes and with a removal of the cookie. If the
    /// user signs in at the same moment, the removal can reach the browser after the new cookie and
    /// remove that one.
    Serve,
}

/// What happens to recorded changes if the response is a 5xx or the handler panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnServerError {
    /// They are dropped, so that a failed request does not save a part of its changes.
    DropChanges,
    /// They are committed like those of any other request. After a panic this needs an adapter that
    /// catches the panic.
    KeepChanges,
}

/// The reaction to a superseded id that was issued since the current principal signed in, and that
/// is used outside the grace and [`Policy::rotation_settles`]. Either the browser never received
/// the new cookie, or an attacker has a copy of the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnSupersededId {
    /// [`SessionEvents::superseded_id_used`](crate::SessionEvents::superseded_id_used) is emitted,
    /// and the session continues.
    Report,
    /// The event is emitted, and the session ends (the reuse detection of RFC 9700, 4.14.2).
    EndSession,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(30 * 60),
            anonymous_idle_timeout: None,
            absolute_timeout: Duration::from_secs(8 * 3600),
            persistence: Persistence::BrowserSession,
            on_session_ended: OnSessionEnded::Conflict,
            on_server_error: OnServerError::DropChanges,
            rotation_grace: Duration::from_secs(10),
            rotation_settles: Duration::from_secs(10),
            on_superseded_id: OnSupersededId::Report,
        }
    }
}

impl Policy {
    /// Sets the idle timeout.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Sets the idle timeout of sessions without a principal.
    #[must_use]
    pub fn anonymous_idle_timeout(mut self, timeout: Duration) -> Self {
        self.anonymous_idle_timeout = Some(timeout);
        self
    }

    /// Sets the absolute timeout.
    #[must_use]
    pub fn absolute_timeout(mut self, timeout: Duration) -> Self {
        self.absolute_timeout = timeout;
        self
    }

    /// Sets the persistence of the cookie.
    #[must_use]
    pub fn persistence(mut self, persistence: Persistence) -> Self {
        self.persistence = persistence;
        self
    }

    /// Sets the response to a session that has ended.
    #[must_use]
    pub fn on_session_ended(mut self, on_session_ended: OnSessionEnded) -> Self {
        self.on_session_ended = on_session_ended;
        self
    }

    /// Sets what happens to the changes of failed requests.
    #[must_use]
    pub fn on_server_error(mut self, on_server_error: OnServerError) -> Self {
        self.on_server_error = on_server_error;
        self
    }

    /// Sets the grace after a renewal. Zero for none.
    #[must_use]
    pub fn rotation_grace(mut self, grace: Duration) -> Self {
        self.rotation_grace = grace;
        self
    }

    /// Sets how long a write with the former id is a conflict.
    #[must_use]
    pub fn rotation_settles(mut self, time: Duration) -> Self {
        self.rotation_settles = time;
        self
    }

    /// Sets the reaction to superseded ids.
    #[must_use]
    pub fn on_superseded_id(mut self, reaction: OnSupersededId) -> Self {
        self.on_superseded_id = reaction;
        self
    }

    /// The grace to request from a store after a renewal.
    pub(crate) fn grace(&self) -> Option<Duration> {
        Some(self.rotation_grace.min(Limits::LONGEST_GRACE))
            .filter(|grace| *grace >= Duration::from_millis(1))
    }

    /// The timeouts of a session with these attributes.
    pub(crate) fn timeouts(&self, attributes: &Attributes, kind: SessionKind) -> Timeouts {
        let idle = match kind {
            SessionKind::SignedIn => self.idle_timeout,
            SessionKind::Anonymous => self.anonymous_idle_timeout.unwrap_or(self.idle_timeout),
        };
        Timeouts {
            idle: attributes.idle_timeout.unwrap_or(idle),
            absolute: attributes.absolute_timeout.unwrap_or(self.absolute_timeout),
        }
    }

    /// The persistence of the cookie of a session with these attributes.
    pub(crate) fn persistence_of(&self, attributes: &Attributes) -> Persistence {
        attributes.persistence.unwrap_or(self.persistence)
    }
}
