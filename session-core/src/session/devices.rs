//! All sessions of the signed-in user: the device list, and sign-out on several devices.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{context::EventKind, error::SessionError, request::Session};
use crate::{
    Claim, Deleted, EndCause, Handle, Principal, SessionSummary, ShortText, StoreError,
    plan::SessionKnowledge,
};

/// The page size when the session lists all sessions of a user.
const PAGE: usize = 500;

/// Another session of the same user, as one row of a device list. It contains no id, and its handle
/// does not open the session.
///
/// In its serialized form, for example as JSON for a page, the three durations are numbers of
/// seconds with a fraction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Device {
    /// The public name of the session. It stays the same through every rotation.
    pub handle: Handle,
    /// The label of the sign-in, such as `Firefox on Linux`.
    pub label: Option<ShortText>,
    /// The time since the session was created.
    #[serde(serialize_with = "seconds")]
    pub age: Duration,
    /// The time since the user last proved their identity in it: by a sign-in or a
    /// reauthentication.
    #[serde(serialize_with = "seconds")]
    pub authenticated: Duration,
    /// The remaining lifetime if the session is not used again.
    #[serde(serialize_with = "seconds")]
    pub ttl: Duration,
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

impl Session {
    /// The other live sessions of the signed-in user, the latest authentication first. Empty if no
    /// user is signed in. Changes that were recorded before are committed first.
    ///
    /// # Errors
    /// The errors of [`Self::commit`], and [`SessionError::Store`] if the store cannot answer.
    /// [`SessionError::Superseded`] if the id of the request is not the current one.
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

    /// Ends the other session of the same user that has this handle, immediately, also if its id
    /// has rotated. `false` if the user has no such session: the handle of another user's session
    /// has no effect.
    ///
    /// # Errors
    /// The errors of [`Self::others`]. The session may or may not have ended.
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

    /// Ends all other sessions of the signed-in user immediately, and returns how many. 0 if no
    /// user is signed in.
    ///
    /// # Errors
    /// The errors of [`Self::others`]. Some sessions may have ended.
    pub async fn destroy_others(&self) -> Result<u64, SessionError> {
        let _call = self.0.call_lock.lock().await;
        let (Some(principal), Some(key)) = (self.stored_principal().await?, self.key()) else {
            return Ok(0);
        };
        Ok(self.store().delete_all(&principal, Some(&key)).await?)
    }

    /// Ends all sessions of the signed-in user immediately, including this one, and returns how
    /// many. The response removes the cookie. If no user is signed in, it acts as
    /// [`Self::destroy`].
    ///
    /// # Errors
    /// The errors of [`Self::others`]. Some sessions may have ended, and the cookie stays. A
    /// request with a superseded id ends its own session as [`Self::destroy`] does, ends no other
    /// session, and returns [`SessionError::Gone`]: the user signs in again and repeats it.
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
                return Err(SessionError::Gone);
            }
            Err(error) => return Err(error),
        };
        let ended = self.delete_all(&principal, EndCause::SignedOut).await?;
        // Another cookie of this request may belong to a session of another user or of a visitor.
        let alone = self.state().others.is_empty();
        if alone {
            self.state().ended();
        } else {
            self.end_own_sessions().await?;
        }
        Ok(ended)
    }

    /// Call it after a change of the user's password or other credentials. It gives this session a
    /// new secret, as [`Self::reauthenticated`] does, and ends all other sessions of the user.
    /// Returns how many ended. Does nothing if no user is signed in.
    ///
    /// Call it after the user has proved their identity and the new credentials are stored. Then
    /// every other session that was opened with the old credentials has ended, and a copy of this
    /// browser's cookie opens no session. If another client rotated the secret of this session
    /// before, possibly a thief with a copy of the cookie, this session ends too:
    /// [`Self::principal`] is then `None`, and the user signs in again.
    ///
    /// # Errors
    /// The errors of [`Self::others`], [`SessionError::HeadSent`] and [`SessionError::PlainHttp`]:
    /// some sessions may have ended, and this one continues. [`SessionError::Gone`] if this session
    /// had ended before. [`SessionError::Superseded`] if the id of the request was superseded
    /// before the request read the session. After `Gone` and `Superseded` nothing has changed.
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
        self.state().recorded.reauthenticate(None);
        match self.commit_recorded().await {
            Ok(_) => {}
            Err(SessionError::Superseded) => {
                return self.end_all_sessions_of(Some(principal)).await;
            }
            Err(error) => return Err(error),
        }
        // The rotation comes first. So a copy of the cookie is dead before the other sessions end,
        // and a session that was ended meanwhile stays ended.
        let Some(key) = self.key() else { return Err(SessionError::Gone) };
        Ok(self.store().delete_all(&principal, Some(&key)).await?)
    }

    /// Ends all sessions of the user that this request read before its id was superseded, or reads
    /// in the grace: the application has verified the identity of that user.
    async fn end_all_sessions_of(&self, read: Option<Principal>) -> Result<u64, SessionError> {
        let in_grace = self.state().record().and_then(|record| record.principal.clone());
        let principal = in_grace.or(read).ok_or(SessionError::Superseded)?;
        let ended = self.delete_all(&principal, EndCause::CredentialsChanged).await?;
        self.state().ended();
        Ok(ended)
    }

    /// After a sign-in: ends the user's sessions except the `most` latest. Concurrent sign-ins use
    /// the same order and end the same sessions.
    pub(super) async fn end_oldest_sessions(&self, principal: &Principal, most: usize) {
        let trimmed = async {
            for excess in self.list_sessions(principal).await?.iter().skip(most) {
                let _ = self.end_other(excess, Some(principal), EndCause::TooManySessions).await?;
            }
            Ok::<(), SessionError>(())
        };
        if let Err(error) = trimmed.await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                most,
                "oldest sessions could not be ended; the user has more sessions than allowed"
            );
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
                self.0.context.emit(&other.key, principal, EventKind::Ended(cause));
            }
            Ok(_) => {}
            Err(error) => {
                self.0.context.emit_unknown(&other.key, principal, EventKind::Ended(cause), error);
            }
        }
        deleted
    }

    /// Ends all sessions of the user, and emits the end of this one. The store does not return the
    /// others.
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

    /// All live sessions of a user, the latest authentication first. If two were authenticated at
    /// the same moment, the one with the smaller key comes first.
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

    /// The principal in the store now, after a commit of the recorded changes. The stored state
    /// decides, so that a session that was revoked meanwhile ends no other session. The caller
    /// holds the call lock.
    async fn stored_principal(&self) -> Result<Option<Principal>, SessionError> {
        self.commit_recorded_first().await?;
        self.fetch().await?;
        let state = self.state();
        match &state.known {
            SessionKnowledge::Gone => Err(SessionError::Gone),
            SessionKnowledge::Grace(_) | SessionKnowledge::Superseded => {
                Err(SessionError::Superseded)
            }
            // An id that counts as absent does not give access to the user's devices either.
            SessionKnowledge::Absent if state.superseded.is_some() => Err(SessionError::Superseded),
            _ => Ok(state.record().and_then(|record| record.principal.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_serializes_its_durations_in_seconds() {
        let handle = crate::StoreKey::from_text("key").handle();
        let device = Device {
            handle,
            label: Some(ShortText::new("Firefox on Linux").unwrap()),
            age: Duration::from_millis(1_500),
            authenticated: Duration::from_secs(1),
            ttl: Duration::from_secs(1_800),
        };
        assert_eq!(
            serde_json::to_value(device).unwrap(),
            serde_json::json!({
                "handle": handle.as_str(),
                "label": "Firefox on Linux",
                "age": 1.5,
                "authenticated": 1.0,
                "ttl": 1800.0,
            })
        );
    }
}
