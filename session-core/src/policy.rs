//! How long sessions live and what the adapter does in the two cases that users see differently.

use std::time::Duration;

use crate::{Lifetime, Persistence, expiry::Timeouts};

/// The rules that hold for every session of an application. One session can ask for other timeouts with its own [`Lifetime`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// How long a session lives without being used. 30 minutes by default (OWASP: 15 to 30 for a low-risk application).
    pub idle_timeout: Duration,
    /// How long a session lives in all, however much it is used. 8 hours by default (OWASP: 4 to 8, a working day).
    pub absolute_timeout: Duration,
    /// How long the browser keeps the cookie. Until it closes, by default.
    pub persistence: Persistence,
    /// What a response becomes whose session has gone meanwhile. A 409 by default.
    pub on_gone: OnGone,
    /// What happens to recorded changes when the response is a 5xx. They are dropped by default.
    pub on_server_error: OnServerError,
}

/// What a response becomes when its changes cannot be saved, because the session was signed out, revoked or expired meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnGone {
    /// The response is replaced by a conflict (409), so that nobody takes the changes for saved. The cookie is left alone.
    Conflict,
    /// The response goes out as it is, without the changes and with the cookie removed. If the user signs in at the same moment, the removal
    /// can reach the browser after the new cookie and take that away.
    Serve,
}

/// What happens to recorded changes when the response is a 5xx or the handler panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnServerError {
    /// They are dropped: a request that failed leaves no half of its work behind.
    DropChanges,
    /// They are committed like any other.
    KeepChanges,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(30 * 60),
            absolute_timeout: Duration::from_secs(8 * 3600),
            persistence: Persistence::BrowserSession,
            on_gone: OnGone::Conflict,
            on_server_error: OnServerError::DropChanges,
        }
    }
}

impl Policy {
    /// The same with another idle timeout.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// The same with another absolute timeout.
    #[must_use]
    pub fn absolute_timeout(mut self, timeout: Duration) -> Self {
        self.absolute_timeout = timeout;
        self
    }

    /// The same with another persistence of the cookie.
    #[must_use]
    pub fn persistence(mut self, persistence: Persistence) -> Self {
        self.persistence = persistence;
        self
    }

    /// The same with another answer to a session that has gone.
    #[must_use]
    pub fn on_gone(mut self, on_gone: OnGone) -> Self {
        self.on_gone = on_gone;
        self
    }

    /// The same with another treatment of changes in failed requests.
    #[must_use]
    pub fn on_server_error(mut self, on_server_error: OnServerError) -> Self {
        self.on_server_error = on_server_error;
        self
    }

    /// The timeouts that hold for a session with this lifetime.
    #[must_use]
    pub(crate) fn timeouts(&self, lifetime: &Lifetime) -> Timeouts {
        Timeouts {
            idle: lifetime.idle_timeout.unwrap_or(self.idle_timeout),
            absolute: lifetime.absolute_timeout.unwrap_or(self.absolute_timeout),
        }
    }

    /// The cookie's persistence that holds for a session with this lifetime.
    #[must_use]
    pub(crate) fn persistence_of(&self, lifetime: &Lifetime) -> Persistence {
        lifetime.persistence.unwrap_or(self.persistence)
    }
}
