//! All sessions of the signed-in user.

use std::time::Duration;

use super::{Session, SessionError, context::EventKind};
use crate::{
    Claim, Deleted, EndCause, Handle, Principal, SessionSummary, ShortText, StoreError,
    plan::{Reauthentication, SessionKnowledge},
};

/// How many sessions one page of a walk over a user's sessions asks for.
const PAGE: usize = 500;

/// Another session of the same user: one row of a device list. It holds no id, and its handle opens
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Device {
    /// Its public name. It stays the same through every rotation.
    pub handle: Handle,
    /// The label of its sign-in, such as `Firefox on Linux`.
    pub label: Option<ShortText>,
    /// How long ago it was created.
    pub age: Duration,
    /// How long ago the user signed in on it, or proved who they are once more.
    pub authenticated: Duration,
    /// How long it lives if it is not used again.
    pub ttl: Duration,
}

impl Session {
    /// The other live sessions of the signed-in user, the latest authentication first; none if no
    /// user is signed in. What was recorded before is committed first.
    ///
    /// # Errors
    /// As [`Self::commit`], and [`SessionError::Store`] if the store cannot answer.
    /// [`SessionError::Superseded`] if the request's id is not the session's current one.
    pub async fn others(&self) -> Result<Vec<Device>, SessionError> {
        let listed = self.list_others().await?;
        let device =
            |SessionSummary { key, age, authenticated, ttl, attributes }: SessionSummary| Device {
                handle: key.handle(),
                label: attributes.label,
                age,
                authenticated,
                ttl,
            };
        Ok(listed.into_iter().map(device).collect())
    }

    /// Ends the other session of the same user that has this handle, at once, also if it got a new
    /// id meanwhile. `false` if the user has none: a handle of another user's session does nothing.
    ///
    /// # Errors
    /// As [`Self::others`]; then it did not happen, or may have not.
    pub async fn destroy_other(&self, handle: Handle) -> Result<bool, SessionError> {
        let listed = self.list_others().await?;
        let principal = self.state().record().and_then(|record| record.principal.clone());
        match listed.into_iter().find(|other| other.key.handle() == handle) {
            Some(other) => {
                Ok(self.end_other(&other, principal.as_ref(), EndCause::Revoked).await?
                    == Deleted::Ended)
            }
            None => Ok(false),
        }
    }

    /// Ends all sessions of the signed-in user but this one, at once, and says how many; 0 if no
    /// user is signed in.
    ///
    /// # Errors
    /// As [`Self::others`]; some may have ended.
    pub async fn destroy_others(&self) -> Result<u64, SessionError> {
        let _call = self.0.call_lock.lock().await;
        let (Some(principal), Some(key)) = (self.stored_principal().await?, self.key()) else {
            return Ok(0);
        };
        Ok(self.store().delete_all(&principal, Some(&key)).await?)
    }

    /// Ends all sessions of the signed-in user, this one too, at once, and says how many. The
    /// response removes the cookie. If no user is signed in it is [`Self::destroy`].
    ///
    /// # Errors
    /// As [`Self::others`]; some may have ended, and the cookie stays. A request with a superseded
    /// id ends its own session, as [`Self::destroy`] does, and no other:
    /// [`SessionError::Superseded`].
    pub async fn destroy_all(&self) -> Result<u64, SessionError> {
        let _call = self.0.call_lock.lock().await;
        let principal = match self.stored_principal().await {
            Ok(Some(principal)) => principal,
            Ok(None) => {
                self.end_own_sessions().await?;
                return Ok(0);
            }
            Err(SessionError::Superseded) => {
                self.end_own_sessions().await?;
                return Err(SessionError::Superseded);
            }
            Err(error) => return Err(error),
        };
        let ended = self.delete_all(&principal, EndCause::SignedOut).await?;
        // Another cookie of this request may belong to another user's session, or to a visitor's.
        let alone = self.state().others.is_empty();
        if alone {
            self.state().ended();
        } else {
            self.end_own_sessions().await?;
        }
        Ok(ended)
    }

    /// After a change of the user's password or other credentials: gives this session a new secret,
    /// as [`Self::reauthenticated`] does, and ends all other sessions of the user. Returns how many
    /// ended. Does nothing if no user is signed in.
    ///
    /// Call it after the user has proved who they are and the new credentials are stored: every
    /// other session that the old ones opened has ended then, and a copy of this browser's cookie
    /// opens nothing. If somebody gave this session a new secret before, which can be a thief with
    /// a copy of the cookie, this session ends too: [`Self::principal`] is `None` then, and the
    /// user signs in again.
    ///
    /// # Errors
    /// As [`Self::others`], [`SessionError::HeadSent`] and [`SessionError::PlainHttp`]; some
    /// sessions may have ended, this one goes on. [`SessionError::Gone`] if this session was ended
    /// before. [`SessionError::Superseded`] if the request's id was superseded before the request
    /// read the session. After both, nothing has changed.
    pub async fn credentials_changed(&self) -> Result<u64, SessionError> {
        let _call = self.0.call_lock.lock().await;
        self.check_delivery()?;
        let read = self.state().record().and_then(|record| record.principal.clone());
        let principal = match self.stored_principal().await {
            Ok(Some(principal)) => principal,
            Ok(None) => return Ok(0),
            Err(SessionError::Superseded) => return self.end_all_sessions_of(read).await,
            Err(error) => return Err(error),
        };
        self.state().recorded.reauthenticated = Some(Reauthentication { acr: None });
        match self.commit_recorded().await {
            Ok(_) => {}
            Err(SessionError::Superseded) => {
                return self.end_all_sessions_of(Some(principal)).await;
            }
            Err(error) => return Err(error),
        }
        // The rotation came first, so a copy of the cookie is dead before the walk over the others,
        // and a session that was ended meanwhile stays ended.
        let Some(key) = self.key() else { return Err(SessionError::Gone) };
        Ok(self.store().delete_all(&principal, Some(&key)).await?)
    }

    /// Ends all sessions of the user that this request read before its id was superseded, or reads
    /// in the grace: the application asked that user for a proof.
    async fn end_all_sessions_of(&self, read: Option<Principal>) -> Result<u64, SessionError> {
        let in_grace = self.state().record().and_then(|record| record.principal.clone());
        let principal = in_grace.or(read).ok_or(SessionError::Superseded)?;
        let ended = self.delete_all(&principal, EndCause::CredentialsChanged).await?;
        self.state().ended();
        Ok(ended)
    }

    /// After a sign-in: ends the user's sessions beyond the `most` latest. Concurrent sign-ins
    /// order them alike and end the same ones.
    pub(super) async fn end_oldest_sessions(&self, principal: &Principal, most: usize) {
        let trimmed = async {
            for excess in self.list_sessions(principal).await?.iter().skip(most) {
                let _ = self.end_other(excess, Some(principal), EndCause::TooManySessions).await?;
            }
            Ok::<(), SessionError>(())
        };
        if let Err(error) = trimmed.await {
            tracing::warn!(%error, most, "a user has more sessions than allowed, and the oldest could not be ended");
        }
    }

    async fn end_other(
        &self,
        other: &SessionSummary,
        principal: Option<&Principal>,
        cause: EndCause,
    ) -> Result<Deleted, StoreError> {
        let deleted = self.store().delete(&other.key, Claim::Any).await;
        match &deleted {
            Ok(Deleted::Ended) => {
                self.0.context.emit(&other.key, principal, EventKind::Ended(cause))
            }
            Ok(_) => {}
            Err(error) => {
                self.0.context.emit_unknown(&other.key, principal, EventKind::Ended(cause), error)
            }
        }
        deleted
    }

    /// Ends all sessions of the user, and emits the end of this one: the store does not say which
    /// others there were.
    async fn delete_all(
        &self,
        principal: &Principal,
        cause: EndCause,
    ) -> Result<u64, SessionError> {
        let ended = self.store().delete_all(principal, None).await;
        if let Some(key) = self.key() {
            match &ended {
                Ok(_) => self.0.context.emit(&key, Some(principal), EventKind::Ended(cause)),
                Err(error) => self.0.context.emit_unknown(
                    &key,
                    Some(principal),
                    EventKind::Ended(cause),
                    error,
                ),
            }
        }
        Ok(ended?)
    }

    /// All live sessions of a user, the latest authentication first; of two at the same moment the
    /// one with the lesser key.
    async fn list_sessions(
        &self,
        principal: &Principal,
    ) -> Result<Vec<SessionSummary>, SessionError> {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = self.store().list(principal, after, PAGE).await?;
            listed.extend(page.sessions);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        listed.sort_unstable_by(|one, other| {
            (one.authenticated, &one.key).cmp(&(other.authenticated, &other.key))
        });
        listed.dedup_by(|one, other| one.key == other.key);
        Ok(listed)
    }

    async fn list_others(&self) -> Result<Vec<SessionSummary>, SessionError> {
        let _call = self.0.call_lock.lock().await;
        let Some(principal) = self.stored_principal().await? else {
            return Ok(Vec::new());
        };
        let mut listed = self.list_sessions(&principal).await?;
        let own = self.key();
        listed.retain(|other| Some(&other.key) != own.as_ref());
        Ok(listed)
    }

    /// Who is signed in according to the store, now and not when the request began, after what was
    /// recorded is there: a session that was revoked meanwhile ends no others. The caller holds the
    /// call lock.
    async fn stored_principal(&self) -> Result<Option<Principal>, SessionError> {
        self.commit_recorded_first().await?;
        self.fetch().await?;
        let state = self.state();
        match &state.known {
            SessionKnowledge::Gone => Err(SessionError::Gone),
            SessionKnowledge::Grace(_) | SessionKnowledge::Superseded => {
                Err(SessionError::Superseded)
            }
            // Neither does an id that counts as absent tell anything of the user's devices.
            SessionKnowledge::Absent if state.superseded.is_some() => Err(SessionError::Superseded),
            _ => Ok(state.record().and_then(|record| record.principal.clone())),
        }
    }
}
