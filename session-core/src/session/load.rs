//! Loading the record, and choosing among several cookies.

use futures_util::future::join_all;

use super::{context::EventKind, error::SessionError, request::Session, state::Identity};
use crate::{
    Claim, EndCause, OnSupersededId, Opened, StoreError, Stored, Superseded, cookie::SignedBy,
    expiry::RenewalDecision, plan::SessionKnowledge,
};

impl Session {
    /// Loads the record unless the request already knows whether there is one.
    pub(super) async fn load(&self) -> Result<(), SessionError> {
        if !self.needs_load() {
            return Ok(());
        }
        let _call = self.0.call_lock.lock().await;
        // Another task of this request may have loaded it while this one waited.
        if self.needs_load() { self.fetch().await } else { Ok(()) }
    }

    fn needs_load(&self) -> bool {
        matches!(self.state().known, SessionKnowledge::Unloaded | SessionKnowledge::Alive(_))
    }

    /// Loads the record. The caller holds the call lock.
    pub(super) async fn fetch(&self) -> Result<(), SessionError> {
        if self.state().has_unchosen_cookies() {
            return self.choose_cookie().await;
        }
        let Some(identity) = self.state().identity.clone() else {
            return Ok(());
        };
        let stored = self.store().load(&identity.key).await?;
        let (identity, opened) = self.open_stored(identity, stored);
        self.apply_opened(identity, opened).await
    }

    /// Opens the record of the request's id. If the answer to a rotation of this request was lost
    /// and the rotation took effect, the drawn id opens the record and replaces the request's id.
    pub(super) fn open_stored(
        &self,
        identity: Identity,
        stored: Option<Stored>,
    ) -> (Identity, Option<Opened>) {
        if let Some(drawn) = self.state().drawn_rotation_of(&identity)
            && let Some(stored) = &stored
            && let current @ Opened::Current(_) = stored.clone().open(&drawn.secret)
        {
            return (drawn, Some(current));
        }
        let opened = stored.map(|stored| stored.open(&identity.secret));
        (identity, opened)
    }

    /// Chooses among several cookies that verified: the first with the current secret, else the
    /// first in the grace, else the first whose session lives. All are loaded concurrently, so that
    /// they share one deadline. A corrupt record is an error only if no other session is usable.
    /// The caller holds the call lock.
    pub(super) async fn choose_cookie(&self) -> Result<(), SessionError> {
        let candidates: Vec<Identity> = {
            let state = self.state();
            if !state.has_unchosen_cookies() {
                return Ok(());
            }
            state
                .identity
                .iter()
                .cloned()
                .chain(state.others.iter().cloned().map(Identity::from))
                .collect()
        };
        let loads = candidates.iter().map(|candidate| self.store().load(&candidate.key));
        let loaded = join_all(loads).await;
        let mut opened = Vec::with_capacity(candidates.len());
        for (identity, stored) in candidates.into_iter().zip(loaded) {
            let stored = match stored {
                Err(error) if !matches!(error, StoreError::Corrupt { .. }) => {
                    return Err(error.into());
                }
                stored => stored,
            };
            let found = stored.map(|stored| stored.map(|stored| stored.open(&identity.secret)));
            opened.push((identity, found));
        }
        let rank = |(_, found): &(Identity, Result<Option<Opened>, StoreError>)| match found {
            Ok(Some(Opened::Current(_))) => 0,
            Ok(Some(Opened::Grace(_))) => 1,
            Err(_) => 2,
            Ok(Some(Opened::Superseded(_))) => 3,
            Ok(None) => 4,
        };
        let best = (0..opened.len()).min_by_key(|at| rank(&opened[*at])).unwrap_or_default();
        let (identity, found) = opened.swap_remove(best);
        let found = found?;
        {
            let mut state = self.state();
            state.others = opened.into_iter().map(|(other, _)| other.into()).collect();
            state.identity = Some(identity.clone());
        }
        self.apply_opened(identity, found).await
    }

    /// Records what the store answered for the request's id.
    pub(super) async fn apply_opened(
        &self,
        identity: Identity,
        opened: Option<Opened>,
    ) -> Result<(), SessionError> {
        match opened {
            None => self.state().missing(),
            Some(Opened::Current(record))
                if self.renewal_decision(&record) == RenewalDecision::Expired =>
            {
                self.expire(&identity, record.principal.as_ref()).await?;
            }
            Some(Opened::Current(record)) => {
                let drawn = self.state().is_drawn(&identity);
                if drawn {
                    self.adopt_record(identity, record).await;
                } else {
                    self.state().loaded(record);
                }
            }
            // A client that makes up a cookie for a known key must not learn anything. So without a
            // signature a wrong secret counts as absent.
            Some(Opened::Grace(_) | Opened::Superseded(_))
                if identity.signed_by == SignedBy::None =>
            {
                self.state().missing();
            }
            Some(Opened::Grace(record)) => self.state().in_grace(record),
            Some(Opened::Superseded(superseded)) => {
                let late =
                    self.state().superseded(identity.clone(), superseded.clone(), self.policy());
                if late {
                    self.report_superseded(&identity, &superseded).await;
                }
            }
        }
        Ok(())
    }

    /// Reports an id of the current sign-in that was used long after it was replaced.
    async fn report_superseded(&self, identity: &Identity, superseded: &Superseded) {
        let principal = superseded.principal.as_ref();
        self.0.context.emit(&identity.key, principal, EventKind::SupersededIdUsed);
        if self.policy().on_superseded_id == OnSupersededId::EndSession {
            let claim = Claim::Generation(identity.id.generation());
            // The request reads an anonymous session in any case. An error would hide the reason,
            // so the failure is logged for the operator.
            if let Err(error) =
                self.end(identity, claim, principal, EndCause::SupersededIdUsed).await
            {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "session whose superseded id was used could not be ended"
                );
            }
        }
    }
}
