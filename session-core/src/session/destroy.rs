//! Ending the session of the request.

use super::{
    context::EventKind,
    delivery::CookieDelivery,
    error::SessionError,
    request::Session,
    state::{Identity, SupersededId},
};
use crate::{
    Claim, Deleted, EndCause, Opened, Principal, StoreError, cookie::SignedBy,
    plan::SessionKnowledge,
};

impl Session {
    /// Ends the session immediately: no cookie and no request in flight can use it again. The
    /// response removes the cookie. Succeeds if there is no session. A value that is inserted later
    /// in this request starts a new session with a new id.
    ///
    /// A superseded id also ends its session if it was issued since the current user signed in. An
    /// id from before the sign-in has no power over the session, and ends nothing.
    ///
    /// # Errors
    /// [`SessionError::Store`] if the store failed: the session may or may not have ended. The
    /// cookie stays, so that the user can try again. [`SessionError::Superseded`] if the id is from
    /// before a sign-in a moment ago: the browser is about to receive the new id.
    /// [`SessionError::PlainHttp`] if an https-only cookie came over plain http.
    ///
    /// # Cancel safety
    /// If the call is dropped, the session may have ended. The cookie then opens no session.
    pub async fn destroy(&self) -> Result<(), SessionError> {
        let _call = self.0.call_lock.lock().await;
        if self.0.delivery == CookieDelivery::Refused {
            return Err(SessionError::PlainHttp);
        }
        self.end_own_sessions().await
    }

    /// Ends the sessions of all ids of this request. The caller holds the call lock.
    pub(super) async fn end_own_sessions(&self) -> Result<(), SessionError> {
        self.end_copied_session().await?;
        let ids = {
            let state = self.state();
            // If the answer to a creation or rotation was lost, the id that this request drew may
            // be in the store. It comes first: of two ids of one session, a claim with the later
            // generation reaches further.
            let drawn = state.drawn.iter().map(|drawn| &drawn.identity);
            // The request knows the principal of its own session only, not those of the other
            // cookies.
            let superseded = state.superseded.as_ref();
            let own = state.record().map_or_else(
                || superseded.and_then(|id| id.record.principal.clone()),
                |record| record.principal.clone(),
            );
            let mut ids: Vec<_> = drawn
                .chain(&state.identity)
                .map(|identity| (identity.clone(), own.clone()))
                .collect();
            // While the rotation settles, the superseded id is also the request's identity.
            if let Some(SupersededId { identity, .. }) =
                superseded.filter(|_| state.identity.is_none())
            {
                ids.push((identity.clone(), own));
            }
            ids.extend(state.others.iter().cloned().map(|other| (other.into(), None)));
            ids
        };
        let mut before_sign_in = Vec::new();
        for (identity, principal) in ids {
            if identity.signed_by == SignedBy::None && !self.opens(&identity).await? {
                continue;
            }
            let claim = Claim::Generation(identity.id.generation());
            if self.end(&identity, claim, principal.as_ref(), EndCause::SignedOut).await?
                == Deleted::Superseded
            {
                before_sign_in.push(identity);
            }
        }
        for identity in before_sign_in {
            if let Some(Opened::Superseded(record)) = self.opened(&identity).await? {
                let mut state = self.state();
                state.superseded(identity, record, self.policy());
                if matches!(state.known, SessionKnowledge::Superseded) {
                    return Err(SessionError::Superseded);
                }
            }
        }
        self.state().ended();
        Ok(())
    }

    async fn opened(&self, identity: &Identity) -> Result<Option<Opened>, SessionError> {
        let stored = self.store().load(&identity.key).await?;
        Ok(stored.map(|stored| stored.open(&identity.secret)))
    }

    /// Whether the id has the current secret. An unsigned id ends its session only in that case,
    /// because any client can make one up.
    async fn opens(&self, identity: &Identity) -> Result<bool, SessionError> {
        match self.opened(identity).await {
            Ok(opened) => Ok(matches!(opened, Some(Opened::Current(_)))),
            Err(SessionError::Store(StoreError::Corrupt { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Ends a session if `claim` reaches it, and emits the event.
    pub(super) async fn end(
        &self,
        identity: &Identity,
        claim: Claim,
        principal: Option<&Principal>,
        cause: EndCause,
    ) -> Result<Deleted, StoreError> {
        let deleted = self.store().delete(&identity.key, claim).await;
        match &deleted {
            Ok(Deleted::Ended) => {
                self.0.context.emit(&identity.key, principal, EventKind::Ended(cause));
            }
            Ok(Deleted::Missing | Deleted::Superseded) => {}
            Err(error) => self.0.context.emit_unknown(
                &identity.key,
                principal,
                EventKind::Ended(cause),
                error,
            ),
        }
        deleted
    }

    /// Deletes a record that outlived a timeout which was shortened after the record was stored.
    /// The claim spares a session with a later sign-in: that sign-in has a new timeout.
    pub(super) async fn expire(
        &self,
        identity: &Identity,
        principal: Option<&Principal>,
    ) -> Result<(), SessionError> {
        let _ = self
            .end(
                identity,
                Claim::Generation(identity.id.generation()),
                principal,
                EndCause::TimedOut,
            )
            .await?;
        self.state().missing();
        Ok(())
    }
}
