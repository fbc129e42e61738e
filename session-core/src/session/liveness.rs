//! Checks whether a session is still alive, for streams and web sockets.

use std::time::Duration;

use tokio::time::Instant;

use super::{error::SessionError, request::Session, state::Identity};
use crate::{Opened, Record, cookie::SignedBy, expiry::RenewalDecision, principal::SessionKind};

/// The state of a session compared with the start of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Liveness {
    /// It lives, and the id of the request is its current one.
    Current,
    /// It lives under the same sign-in with a newer id, because the browser renewed it.
    Superseded,
    /// It has ended or expired, another sign-in replaced it, or it never existed.
    Ended,
}

/// The reason why [`Session::ended`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEnd {
    /// The session has ended.
    Ended,
    /// The store did not answer for a minute, so the state of the session is unknown.
    Outage,
}

/// The average pause between two checks of [`Session::ended`].
const CHECK_INTERVAL: Duration = Duration::from_secs(3);
/// How long [`Session::ended`] tolerates an outage of the store.
const LONGEST_OUTAGE: Duration = Duration::from_secs(60);

impl Session {
    /// Asks the store whether the session still lives. Each call makes one load. The values that
    /// the request has read stay unchanged.
    ///
    /// # Errors
    /// [`SessionError::Store`] if the store cannot answer.
    pub async fn is_alive(&self) -> Result<Liveness, SessionError> {
        let _call = self.0.call_lock.lock().await;
        Ok(self.check_liveness().await?.map_or(Liveness::Ended, |(_, liveness, _)| liveness))
    }

    /// Loads the record again, so that later reads return its present values, and answers as
    /// [`Self::is_alive`]. Recorded changes stay recorded.
    ///
    /// # Errors
    /// [`SessionError::Store`] if the store cannot answer.
    pub async fn refresh(&self) -> Result<Liveness, SessionError> {
        let _call = self.0.call_lock.lock().await;
        let Some((identity, liveness, opened)) = self.check_liveness().await? else {
            return Ok(Liveness::Ended);
        };
        // An id that counts as absent stays absent.
        if self.state().identity.is_some() {
            self.apply_opened(identity, opened).await?;
        }
        Ok(liveness)
    }

    /// Loads the session of the request's id. The caller holds the call lock.
    async fn check_liveness(
        &self,
    ) -> Result<Option<(Identity, Liveness, Option<Opened>)>, SessionError> {
        self.choose_cookie().await?;
        let identity = {
            let state = self.state();
            state
                .identity
                .clone()
                .or_else(|| state.superseded.as_ref().map(|superseded| superseded.identity.clone()))
        };
        let Some(identity) = identity else { return Ok(None) };
        let stored = self.store().load(&identity.key).await?;
        let (identity, opened) = self.open_stored(identity, stored);
        let liveness = match &opened {
            None => Liveness::Ended,
            Some(Opened::Current(record) | Opened::Grace(record))
                if self.renewal_decision(record) == RenewalDecision::Expired =>
            {
                Liveness::Ended
            }
            Some(Opened::Current(_)) => Liveness::Current,
            Some(_) if identity.signed_by == SignedBy::None => Liveness::Ended,
            Some(Opened::Superseded(superseded)) if identity.id.generation() < superseded.since => {
                Liveness::Ended
            }
            Some(Opened::Grace(_) | Opened::Superseded(_)) => Liveness::Superseded,
        };
        Ok(Some((identity, liveness, opened)))
    }

    /// Waits until the session has ended: signed out, revoked, expired or replaced by another
    /// sign-in. For `select!` in streams and web sockets. It checks about every three seconds. A
    /// check is not a use: it does not extend the ttl. A renewal by the same user does not end the
    /// wait. While the store cannot answer, the wait continues for at most a minute.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn ended(&self) -> StreamEnd {
        let mut heard = Instant::now();
        loop {
            // The pause varies by a quarter in both directions, so that streams that started
            // together do not check at the same time.
            tokio::time::sleep(CHECK_INTERVAL.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
            match self.is_alive().await {
                Ok(Liveness::Ended) => return StreamEnd::Ended,
                Ok(Liveness::Current | Liveness::Superseded) => heard = Instant::now(),
                Err(_) if heard.elapsed() >= LONGEST_OUTAGE => return StreamEnd::Outage,
                Err(error) => {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "liveness check of a stream failed; it retries"
                    );
                }
            }
        }
    }

    /// What a use of the session means for its ttl, by the current timeouts of the policy.
    pub(super) fn renewal_decision(&self, record: &Record) -> RenewalDecision {
        let timeouts = self
            .policy()
            .timeouts(&record.attributes, SessionKind::of(record.authenticated.as_ref()));
        timeouts.decide(record.timeout_age(), record.ttl)
    }
}
