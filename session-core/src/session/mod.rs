//! What handlers touch.

mod at_once;
mod devices;
mod error;
mod flush;
mod state;

use std::{fmt, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

pub use devices::Device;
pub use error::SessionError;

use crate::{
    Change, Handle, Json, Name, Persistence, Policy, Principal, SessionId, SessionStore,
    cookie::Presented,
    plan::{Known, Recorded},
};
use state::{Head, State};

/// The session of one request.
///
/// A clone is the same session, and it may be used from several tasks, also after the response has left: a long-lived body then calls
/// [`Self::commit`] itself.
///
/// The first call that needs the stored record loads it, once; later calls see that snapshot with this request's own changes. Most
/// changes are recorded and committed in one step before the response head leaves; a few act at once, and say so.
///
/// | call | when it reaches the store |
/// |---|---|
/// | `get`, `contains`, `names`, `take`, `principal`, `age`, `ttl`, `handle` | the first of them loads |
/// | `insert`, `remove`, `clear`, `sign_in`, `renew`, `set_…` | recorded; one commit when the response is built |
/// | `add`, `update`, `destroy`, `others`, `destroy_other`, `destroy_others`, `destroy_all` | at once, after what was recorded before |
///
/// # Examples
/// ```
/// # use std::sync::Arc;
/// # use session_core::{Delivery, MemoryStore, Policy, Session};
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let session = Session::open(Arc::new(MemoryStore::new()), Policy::default(), None, Delivery::Possible);
/// session.insert("theme", "dark")?;
/// assert_eq!(session.get::<String>("theme").await?.as_deref(), Some("dark"));
/// assert_eq!(session.add("visits", 1).await?, 1);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    store: Arc<dyn SessionStore>,
    policy: Policy,
    delivery: Delivery,
    /// Held over every store call, so that one session makes one call at a time and a second `get` waits for the first one's load.
    /// Always taken before `state`.
    flight: tokio::sync::Mutex<()>,
    /// Never held over an await.
    state: parking_lot::Mutex<State>,
}

/// Whether a new id can reach the browser on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The connection may carry the cookie.
    Possible,
    /// The cookie is https only and the connection is plain http: no session is created, nothing is rotated.
    Refused,
}

/// What happens to changes that are still recorded when the response is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordedChanges {
    /// They are committed.
    Commit,
    /// They are forgotten: the request failed.
    Drop,
}

/// What the response has to tell the browser.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum CookieChange {
    /// Nothing.
    Keep,
    /// To hold this id, for so long; until the browser closes with `None`.
    Issue {
        /// The id.
        id: SessionId,
        /// How long the browser keeps it.
        max_age: Option<Duration>,
    },
    /// To forget the id.
    Remove,
}

impl Session {
    /// Opens the session of one request. Nothing is loaded.
    ///
    /// Adapters call it with what [`CookieCodec::read`](crate::cookie::CookieCodec::read) found; a test calls it with `None`.
    #[must_use]
    pub fn open(store: Arc<dyn SessionStore>, policy: Policy, presented: Option<Presented>, delivery: Delivery) -> Self {
        let state = parking_lot::Mutex::new(State::new(presented));
        Self(Arc::new(Inner { store, policy, delivery, flight: tokio::sync::Mutex::new(()), state }))
    }

    /// The value under `name`, read into `T`. `None` if there is none.
    ///
    /// # Errors
    /// [`SessionError::Store`] if the record cannot be loaded; [`SessionError::Decode`] if the value is not a `T`.
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
        Ok(state.recorded.principal.clone().or_else(|| state.record()?.principal.clone()))
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

    /// The public name of the session, for logs and pages. `None` if there is none yet; a rotation changes it.
    ///
    /// # Errors
    /// [`SessionError::Store`] if it takes a load to know whether the session lives, and that fails.
    pub async fn handle(&self) -> Result<Option<Handle>, SessionError> {
        let unknown = matches!(self.state().known, Known::Presented);
        if unknown {
            self.load().await?;
        }
        Ok(self.key().map(|key| key.handle()))
    }

    /// Records that the value under `name` becomes `value`. A value equal to the stored one is no change if the record was loaded.
    ///
    /// # Errors
    /// [`SessionError::Name`] or [`SessionError::Encode`]; nothing is recorded then.
    pub fn insert<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<(), SessionError> {
        let key = Name::new(name)?;
        let json = Json::encode(value).map_err(|source| SessionError::Encode { name: name.to_owned(), source })?;
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

    /// Reads the value under `name` and records that it goes. Two requests at the same time can both get it; for what must be used once,
    /// [`Self::update`] removes it for exactly one of them.
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

    /// Records that `principal` is signed in.
    ///
    /// The session gets a new id and the old one is dead at once (session fixation: OWASP asks for it at every change of privilege).
    /// The values of an anonymous session stay; call [`Self::clear`] before to drop them. If another user was signed in, all values
    /// but those inserted in this request go.
    pub fn sign_in(&self, principal: Principal) {
        self.state().recorded.principal = Some(principal);
    }

    /// Records that the session gets a new id. The old one is dead at once; values, principal and age stay.
    pub fn renew(&self) {
        self.state().recorded.renew = true;
    }

    /// Records another idle timeout for this session, kept with it. The policy's absolute timeout still caps it.
    pub fn set_idle_timeout(&self, timeout: Duration) {
        self.state().recorded.lifetime.idle_timeout = Some(timeout);
    }

    /// Records that this session ends at the latest `timeout` from now, however much it is used, kept with it. Called beside
    /// [`Self::sign_in`] it makes the time count from the sign-in; otherwise it counts from the session's creation.
    pub fn set_absolute_timeout(&self, timeout: Duration) {
        self.state().recorded.lifetime.absolute_timeout = Some(timeout);
    }

    /// Records how long the browser keeps this session's cookie, kept with it.
    pub fn set_persistence(&self, persistence: Persistence) {
        self.state().recorded.lifetime.persistence = Some(persistence);
    }

    /// Says that the response head has left, or that there will be none: from now on no id can reach the browser, so none is made. For
    /// adapters; [`Self::finish`] does it too.
    pub fn seal(&self) {
        self.state().head = Head::Sent;
    }

    /// What the response has to tell the browser, after [`Self::finish`]. For adapters.
    pub fn cookie(&self) -> CookieChange {
        self.state().cookie(&self.0.policy)
    }

    /// The key to ask the store with, if there may be a record.
    fn key(&self) -> Option<crate::StoreKey> {
        self.state().key()
    }

    fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        self.0.state.lock()
    }
}

/// Shows the public handle and what is recorded by name; no id, no value.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        let Recorded { changes, clears, principal, renew, .. } = &state.recorded;
        f.debug_struct("Session")
            .field("handle", &state.key().map(|key| key.handle()))
            .field("changes", &changes.keys().collect::<Vec<_>>())
            .field("clears", clears)
            .field("principal", principal)
            .field("renew", renew)
            .finish_non_exhaustive()
    }
}

fn decode<T: DeserializeOwned>(name: &str, value: Option<&Json>) -> Result<Option<T>, SessionError> {
    value.map(Json::decode).transpose().map_err(|source| SessionError::Decode { name: name.to_owned(), source })
}

#[cfg(test)]
mod tests;
