//! What handlers hold.

mod at_once;
mod context;
mod devices;
mod driver;
mod error;
mod flush;
mod liveness;
mod state;

use std::{fmt, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

pub use context::SessionContext;
pub use devices::Device;
pub use driver::{CookieChange, CookieDelivery, RecordedChanges, SessionDriver};
pub use error::SessionError;
pub use liveness::{Liveness, StreamEnd};

use crate::{
    Change, Handle, InvalidShortText, Json, Name, Persistence, Policy, Principal, ShortText,
    SignIn,
    plan::{Reauthentication, Recorded, SessionKnowledge},
};
use state::State;

/// The session of one request.
///
/// A clone is the same session, and it may be used from several tasks, also after the response has
/// left: a long-lived body then calls [`Self::commit`] itself.
///
/// The first call that needs the stored record loads it, once; later calls see that snapshot with
/// this request's own changes. Most changes are recorded and committed in one step before the
/// response head leaves; a few act at once, and say so.
///
/// | call | when it reaches the store |
/// |---|---|
/// | `get`, `contains`, `names`, `take`, `principal`, `acr`, `age`, `ttl`, `handle`, `authenticated_within` | the first of them loads |
/// | `insert`, `remove`, `clear`, `sign_in`, `renew`, `reauthenticated`, `set_…` | recorded; one commit when the response is built |
/// | `add`, `update`, `destroy`, `others`, `destroy_other`, `destroy_others`, `destroy_all`, `credentials_changed` | at once, after what was recorded before |
/// | `is_alive`, `refresh`, `ended` | each time |
///
/// Of several requests of one browser, one can give the session a new id. The others then hold a
/// *superseded* id: they read an anonymous session, except for the grace after [`Self::renew`], and
/// writes return [`SessionError::Superseded`] for a while.
///
/// # Examples
/// ```
/// # use std::{sync::Arc, time::Instant};
/// # use session_core::{CookieDelivery, MemoryStore, Policy, SessionContext, SessionDriver, cookie::VerifiedCookies};
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let context = Arc::new(SessionContext::new(Arc::new(MemoryStore::new()), Policy::default()));
/// let driver = SessionDriver::open(context, VerifiedCookies::default(), CookieDelivery::Possible, Instant::now());
/// let session = driver.session();
/// session.insert("theme", "dark")?;
/// assert_eq!(session.get::<String>("theme").await?.as_deref(), Some("dark"));
/// assert_eq!(session.add("visits", 1).await?, 1);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    context: Arc<SessionContext>,
    delivery: CookieDelivery,
    /// Held over every store call, so that one session makes one call at a time and a second `get`
    /// waits for the first one's load. Always taken before `state`.
    call_lock: tokio::sync::Mutex<()>,
    /// Never held over an await.
    state: parking_lot::Mutex<State>,
}

impl Session {
    /// The value under `name`, read into `T`. `None` if there is none.
    ///
    /// # Errors
    /// [`SessionError::Store`] if the record cannot be loaded; [`SessionError::Decode`] if the
    /// value is not a `T`.
    pub async fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, SessionError> {
        let settled = self.state().is_settled(name);
        if !settled {
            self.load().await?;
        }
        // Decoding runs code of the application, so the lock is gone by then.
        let value = self.state().value(name).cloned();
        decode(name, value.as_ref())
    }

    /// Whether there is a value under `name`.
    ///
    /// # Errors
    /// [`SessionError::Store`] if the record cannot be loaded.
    pub async fn contains(&self, name: &str) -> Result<bool, SessionError> {
        self.load().await?;
        Ok(self.state().value(name).is_some())
    }

    /// The names of all values, in the order of their bytes.
    ///
    /// # Errors
    /// [`SessionError::Store`] if the record cannot be loaded.
    pub async fn names(&self) -> Result<Vec<Name>, SessionError> {
        self.load().await?;
        Ok(self.state().names())
    }

    /// The JSON text under `name`, as it was written. `None` if there is none.
    ///
    /// # Errors
    /// [`SessionError::Store`] if the record cannot be loaded.
    pub async fn json(&self, name: &str) -> Result<Option<Json>, SessionError> {
        self.load().await?;
        Ok(self.state().value(name).cloned())
    }

    /// Who is signed in, counting a sign-in of this request.
    ///
    /// # Errors
    /// [`SessionError::Store`] if the record cannot be loaded.
    pub async fn principal(&self) -> Result<Option<Principal>, SessionError> {
        self.load().await?;
        let state = self.state();
        let signs_in = state.recorded.sign_in.as_ref().map(|sign_in| sign_in.principal.clone());
        Ok(signs_in.or_else(|| state.record()?.principal.clone()))
    }

    /// The strength of the authentication, as [`SignIn::acr`] or [`Self::reauthenticated_with`] set
    /// it, counting this request's own. `None` for an anonymous session.
    ///
    /// # Errors
    /// [`SessionError::Store`] if the record cannot be loaded.
    pub async fn acr(&self) -> Result<Option<ShortText>, SessionError> {
        self.load().await?;
        let state = self.state();
        if let Some(sign_in) = &state.recorded.sign_in {
            return Ok(sign_in.attributes.acr.clone());
        }
        let Some(record) = state.record().filter(|record| record.principal.is_some()) else {
            return Ok(None);
        };
        let raised = state
            .recorded
            .reauthenticated
            .as_ref()
            .and_then(|reauthenticated| reauthenticated.acr.clone());
        Ok(raised.or_else(|| record.attributes.acr.clone()))
    }

    /// Whether the user proved who they are at most `time` ago: by a sign-in or by
    /// [`Self::reauthenticated`], counting this request's own. `false` for an anonymous session.
    ///
    /// # Errors
    /// [`SessionError::Store`] if the record cannot be loaded.
    pub async fn authenticated_within(&self, time: Duration) -> Result<bool, SessionError> {
        self.load().await?;
        let state = self.state();
        if state.recorded.sign_in.is_some() {
            return Ok(true);
        }
        let Some(age) = state.record().and_then(|record| record.authenticated) else {
            return Ok(false);
        };
        Ok(state.recorded.reauthenticated.is_some() || age + state.elapsed() <= time)
    }

    /// How long ago the session was created, when it was loaded. `None` if there is none yet.
    ///
    /// # Errors
    /// [`SessionError::Store`] if the record cannot be loaded.
    pub async fn age(&self) -> Result<Option<Duration>, SessionError> {
        self.load().await?;
        Ok(self.state().record().map(|record| record.age))
    }

    /// How long the session would live if it were not used again. `None` if there is none yet.
    ///
    /// # Errors
    /// [`SessionError::Store`] if the record cannot be loaded.
    pub async fn ttl(&self) -> Result<Option<Duration>, SessionError> {
        self.load().await?;
        Ok(self.state().record().map(|record| record.ttl))
    }

    /// The public name of the session, for logs and pages. `None` if there is none yet. It stays
    /// the same through every rotation.
    ///
    /// # Errors
    /// [`SessionError::Store`] if it takes a load to know whether the session lives, and that
    /// fails.
    pub async fn handle(&self) -> Result<Option<Handle>, SessionError> {
        let unknown = matches!(self.state().known, SessionKnowledge::Unloaded);
        if unknown {
            self.load().await?;
        }
        let state = self.state();
        // A superseded id reads anonymous, so it does not learn the handle either.
        let key =
            if matches!(state.known, SessionKnowledge::Superseded) { None } else { state.key() };
        Ok(key.map(|key| key.handle()))
    }

    /// Records that the value under `name` becomes `value`. A value equal to the stored one is no
    /// change if the record was loaded.
    ///
    /// # Errors
    /// [`SessionError::Name`] or [`SessionError::Encode`]; nothing is recorded then.
    pub fn insert<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<(), SessionError> {
        let key = Name::new(name)?;
        let json = Json::encode(value)
            .map_err(|source| SessionError::Encode { name: name.to_owned(), source })?;
        self.state().recorded.changes.insert(key, Change::Set(json));
        Ok(())
    }

    /// Records that the value under `name` becomes this JSON text, exactly as it stands.
    ///
    /// # Errors
    /// [`SessionError::Name`]; nothing is recorded then.
    pub fn insert_json(&self, name: &str, value: Json) -> Result<(), SessionError> {
        let name = Name::new(name)?;
        self.state().recorded.changes.insert(name, Change::Set(value));
        Ok(())
    }

    /// Records that the value under `name` goes. Fine if there is none.
    ///
    /// # Errors
    /// [`SessionError::Name`]; nothing is recorded then.
    pub fn remove(&self, name: &str) -> Result<(), SessionError> {
        let name = Name::new(name)?;
        self.state().recorded.changes.insert(name, Change::Remove);
        Ok(())
    }

    /// Reads the value under `name` and records that it goes. Two requests at the same time can
    /// both get it; for what must be used once, [`Self::update`] removes it for exactly one of
    /// them.
    ///
    /// # Errors
    /// As [`Self::get`] and [`Self::remove`]; nothing is recorded then.
    pub async fn take<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, SessionError> {
        let value = self.get(name).await?;
        if value.is_some() {
            self.remove(name)?;
        }
        Ok(value)
    }

    /// Records that all values go. Values inserted later in this request stay.
    pub fn clear(&self) {
        let mut state = self.state();
        state.recorded.changes.clear();
        state.recorded.clears = state.recorded.clears.saturating_add(1);
    }

    /// Records that this user signs in.
    ///
    /// The session gets a new id, and the old one has no power over it any more (session fixation:
    /// OWASP asks for a new id at every change of privilege). The session starts with the policy's
    /// timeouts and persistence, or with those of the [`SignIn`]; the absolute timeout counts from
    /// now. The values of an anonymous session stay; call [`Self::clear`] before to drop them. If
    /// another user was signed in, that session ends, and a new one starts with the values inserted
    /// in this request.
    ///
    /// A sign-in always works: if the request's own id is superseded, or its session has ended, it
    /// starts a new session. One whose timeouts are below a millisecond is refused when it is
    /// committed ([`Rejection::Ttl`](crate::Rejection::Ttl)).
    pub fn sign_in(&self, sign_in: impl Into<SignIn>) {
        self.state().recorded.sign_in = Some(sign_in.into());
    }

    /// Records that the session gets a new id; values, principal and age stay.
    ///
    /// The old one may still read for [`Policy::rotation_grace`], so that requests which the page
    /// sends beside this one stay signed in.
    pub fn renew(&self) {
        self.state().recorded.renew = true;
    }

    /// Records that the signed-in user has just proved who they are once more, for example by their
    /// password before a payment. [`Self::authenticated_within`] then counts from now, as does the
    /// absolute timeout. The session gets a new id, and the old one is dead at once. In an
    /// anonymous session it only renews.
    pub fn reauthenticated(&self) {
        self.state().recorded.reauthenticated = Some(Reauthentication { acr: None });
    }

    /// As [`Self::reauthenticated`], with the strength of the authentication from now on, such as
    /// `mfa`.
    ///
    /// # Errors
    /// [`InvalidShortText`] if `acr` is empty, longer than 40 bytes or has a control character;
    /// nothing is recorded then.
    pub fn reauthenticated_with(&self, acr: impl AsRef<str>) -> Result<(), InvalidShortText> {
        let acr = Some(ShortText::new(acr)?);
        self.state().recorded.reauthenticated = Some(Reauthentication { acr });
        Ok(())
    }

    /// Records another idle timeout for this session, kept with it. The policy's absolute timeout
    /// still caps it.
    pub fn set_idle_timeout(&self, timeout: Duration) {
        self.state().recorded.attributes.idle_timeout = Some(timeout);
    }

    /// Records that this session ends at the latest `timeout` from now, however much it is used,
    /// kept with it.
    pub fn set_absolute_timeout(&self, timeout: Duration) {
        self.state().recorded.attributes.absolute_timeout = Some(timeout);
    }

    /// Records how long the browser keeps this session's cookie, kept with it.
    pub fn set_persistence(&self, persistence: Persistence) {
        self.state().recorded.attributes.persistence = Some(persistence);
    }

    /// The key to ask the store with, if there may be a record.
    fn key(&self) -> Option<crate::StoreKey> {
        self.state().key()
    }

    fn policy(&self) -> &Policy {
        &self.0.context.policy
    }

    fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        self.0.state.lock()
    }
}

/// Shows the public handle and what is recorded by name; no id, no value.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        let Recorded { changes, clears, sign_in, renew, .. } = &state.recorded;
        f.debug_struct("Session")
            .field("handle", &state.key().map(|key| key.handle()))
            .field("changes", &changes.keys().collect::<Vec<_>>())
            .field("clears", clears)
            .field("sign_in", &sign_in.as_ref().map(|sign_in| &sign_in.principal))
            .field("renew", renew)
            .finish_non_exhaustive()
    }
}

fn decode<T: DeserializeOwned>(
    name: &str,
    value: Option<&Json>,
) -> Result<Option<T>, SessionError> {
    value
        .map(Json::decode)
        .transpose()
        .map_err(|source| SessionError::Decode { name: name.to_owned(), source })
}

#[cfg(test)]
mod tests;
