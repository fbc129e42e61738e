//! The audit trail: events of sessions as log lines.

use session_core::{EndCause, SessionEvent, SessionEvents};

/// Logs sign-ins, rotations and ends of sessions. A line has the session's public handle and the
/// user, never a session id.
#[derive(Debug)]
pub(crate) struct AuditTrail;

impl SessionEvents for AuditTrail {
    fn created(&self, event: &SessionEvent<'_>) {
        tracing::debug!(session = %event.handle, outcome = ?event.outcome, "session created");
    }

    fn signed_in(&self, event: &SessionEvent<'_>) {
        tracing::info!(
            session = %event.handle,
            principal = ?event.principal,
            outcome = ?event.outcome,
            "signed in"
        );
    }

    fn rotated(&self, event: &SessionEvent<'_>) {
        tracing::debug!(
            session = %event.handle,
            principal = ?event.principal,
            outcome = ?event.outcome,
            "session id rotated"
        );
    }

    fn superseded_id_used(&self, event: &SessionEvent<'_>) {
        tracing::warn!(
            session = %event.handle,
            principal = ?event.principal,
            "a superseded session id was used"
        );
    }

    fn ended(&self, event: &SessionEvent<'_>, cause: EndCause) {
        tracing::info!(
            session = %event.handle,
            principal = ?event.principal,
            ?cause,
            outcome = ?event.outcome,
            "session ended"
        );
    }
}
