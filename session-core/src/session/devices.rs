//! The other sessions of the signed-in user.

use std::time::Duration;

use super::{Session, SessionError};
use crate::{Handle, Listed, Principal, plan::Known};

/// Another session of the same user: one row of a device list. It holds no id, and its handle opens nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its public name.
    pub handle: Handle,
    /// How long ago it was created.
    pub age: Duration,
    /// How long it lives if it is not used again.
    pub ttl: Duration,
}

impl Session {
    /// The other live sessions of the signed-in user, newest first; none if nobody is signed in. What was recorded before is committed
    /// first.
    ///
    /// # Errors
    /// As [`Self::commit`], and [`SessionError::Store`] if the store cannot answer.
    pub async fn others(&self) -> Result<Vec<Device>, SessionError> {
        let listed = self.listed_others().await?;
        let device = |Listed { key, age, ttl }: Listed| Device { handle: key.handle(), age, ttl };
        Ok(listed.into_iter().map(device).collect())
    }

    /// Ends the other session of the same user that has this handle, at once. `false` if the user has none: a handle of somebody else's
    /// session does nothing.
    ///
    /// # Errors
    /// As [`Self::others`]; then it did not happen, or may have not.
    pub async fn destroy_other(&self, handle: Handle) -> Result<bool, SessionError> {
        let listed = self.listed_others().await?;
        match listed.into_iter().find(|other| other.key.handle() == handle) {
            Some(other) => Ok(self.0.store.delete(&other.key).await?),
            None => Ok(false),
        }
    }

    /// Ends all sessions of the signed-in user but this one, at once, and says how many; 0 if nobody is signed in.
    ///
    /// # Errors
    /// As [`Self::others`]; some may have ended.
    pub async fn destroy_others(&self) -> Result<u64, SessionError> {
        let _flight = self.0.flight.lock().await;
        let (Some(principal), Some(key)) = (self.settled_principal().await?, self.key()) else {
            return Ok(0);
        };
        Ok(self.0.store.delete_all(&principal, Some(&key)).await?)
    }

    /// Ends all sessions of the signed-in user, this one too, at once, and says how many. The response removes the cookie. If nobody is
    /// signed in it is [`Self::destroy`].
    ///
    /// # Errors
    /// As [`Self::others`]; some may have ended, and the cookie stays.
    pub async fn destroy_all(&self) -> Result<u64, SessionError> {
        let flight = self.0.flight.lock().await;
        let Some(principal) = self.settled_principal().await? else {
            drop(flight);
            self.destroy().await?;
            return Ok(0);
        };
        let ended = self.0.store.delete_all(&principal, None).await?;
        self.state().ended();
        Ok(ended)
    }

    async fn listed_others(&self) -> Result<Vec<Listed>, SessionError> {
        let _flight = self.0.flight.lock().await;
        let Some(principal) = self.settled_principal().await? else {
            return Ok(Vec::new());
        };
        let mut listed = self.0.store.list(&principal).await?;
        let own = self.key();
        listed.retain(|other| Some(&other.key) != own.as_ref());
        Ok(listed)
    }

    /// Who is signed in according to the store, now and not when the request began, after what was recorded is there: a session that was
    /// revoked meanwhile ends no others. The caller holds the flight lock.
    async fn settled_principal(&self) -> Result<Option<Principal>, SessionError> {
        self.flush_recorded().await?;
        self.fetch().await?;
        let state = self.state();
        match &state.known {
            Known::Gone => Err(SessionError::Gone),
            _ => Ok(state.record().and_then(|record| record.principal.clone())),
        }
    }
}
