//! The context that all sessions of an application share.

use std::sync::Arc;

use crate::{
    EndCause, EventOutcome, Policy, Principal, SessionEvent, SessionEvents, SessionStore,
    StoreError, StoreKey,
};

/// The context that all sessions of an application share: the store, the policy and the receiver of
/// events.
#[derive(Debug, Clone)]
pub struct SessionContext {
    pub(super) store: Arc<dyn SessionStore>,
    pub(super) policy: Policy,
    events: Option<Arc<dyn SessionEvents>>,
}

/// What happened to a session.
#[derive(Debug, Clone, Copy)]
pub(super) enum EventKind {
    Created,
    SignedIn,
    Rotated,
    SupersededIdUsed,
    Ended(EndCause),
}

impl SessionContext {
    /// A context with this store and policy, and without a receiver of events.
    #[must_use]
    pub fn new(store: Arc<dyn SessionStore>, policy: Policy) -> Self {
        Self { store, policy, events: None }
    }

    /// Replaces the policy.
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the receiver of events.
    #[must_use]
    pub fn events(mut self, events: Arc<dyn SessionEvents>) -> Self {
        self.events = Some(events);
        self
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn SessionStore> {
        &self.store
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(super) fn emit(&self, key: &StoreKey, principal: Option<&Principal>, kind: EventKind) {
        self.emit_with(key, principal, kind, EventOutcome::Confirmed);
    }

    /// Emits an event with an unknown outcome if `error` leaves it open whether the call took
    /// effect.
    pub(super) fn emit_unknown(
        &self,
        key: &StoreKey,
        principal: Option<&Principal>,
        kind: EventKind,
        error: &StoreError,
    ) {
        if error.is_transient() {
            self.emit_with(key, principal, kind, EventOutcome::Unknown);
        }
    }

    fn emit_with(
        &self,
        key: &StoreKey,
        principal: Option<&Principal>,
        kind: EventKind,
        outcome: EventOutcome,
    ) {
        // The handle costs a hash, so it is computed only for a receiver.
        let Some(events) = &self.events else { return };
        let event = SessionEvent { handle: key.handle(), principal, outcome };
        match kind {
            EventKind::Created => events.created(&event),
            EventKind::SignedIn => events.signed_in(&event),
            EventKind::Rotated => events.rotated(&event),
            EventKind::SupersededIdUsed => events.superseded_id_used(&event),
            EventKind::Ended(cause) => events.ended(&event, cause),
        }
    }
}
