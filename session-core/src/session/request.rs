//! The session of one request, for handlers: reading values and recording changes.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::{context::SessionContext, delivery::CookieDelivery, error::SessionError, state::State};
use crate::{
    Change, Handle, InvalidShortText, Json, Name, Persistence, Policy, Principal, SessionStore,
    ShortText, SignIn, StoreKey,
    plan::{Recorded, SessionKnowledge},
};

/// The session of one request.
///
/// A clone is the same session. It may be used from several tasks, also after the response has been
/// sent: a long-lived body then calls [`Self::commit`] itself.
///
/// The first call that needs the stored record loads it, once. Later calls see that snapshot with
/// the changes of this request. Most changes are recorded and committed in one step before the
/// response head is sent. A few calls act immediately, as the table shows.
///
/// | call | when it reaches the store |
/// |---|---|
/// | `get`, `json`, `contains`, `names`, `take`, `principal`, `acr`, `age`, `ttl`, `handle`, `authenticated_within` | the first of them loads the record |
/// | `insert`, `insert_json`, `remove`, `clear`, `sign_in`, `renew`, `reauthenticated`, `set_…` | recorded; one commit when the response is built |
/// | `add`, `update`, `destroy`, `others`, `destroy_other`, `destroy_others`, `destroy_all`, `credentials_changed` | immediately, after the changes recorded before |
/// | `commit` | immediately |
/// | `is_alive`, `refresh`, `ended` | each time |
///
/// Of several parallel requests of one browser, one can give the session a new id. The others then
/// hold a *superseded* id: they read an anonymous session, except during the grace after
/// [`Self::renew`], and for a while their writes return [`SessionError::Superseded`].
///
/// # Examples
/// ```
/// # use std::{sync::Arc, time::Instant};
/// # use session_core::{
/// #     CookieDelivery, MemoryStore, Policy, SessionContext, SessionDriver,
/// #     cookie::VerifiedCookies,
/// # };
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let context = Arc::new(SessionContext::new(Arc::new(MemoryStore::new()), Policy::default()));
/// let cookies = VerifiedCookies::default();
/// let driver = SessionDriver::open(context, cookies, CookieDelivery::Possible, Instant::now());
/// let session = driver.session();
/// session.insert("theme", "dark")?;
/// assert_eq!(session.get::<String>("theme").await?.as_deref(), Some("dark"));
/// assert_eq!(session.add("visits", 1).await?, 1);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Session(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) context: Arc<SessionContext>,
    pub(super) delivery: CookieDelivery,
    /// Held during every store call, so that a session makes one call at a time and a second `get`
    /// waits for the load of the first. Always locked before `state`.
    pub(super) call_lock: tokio::sync::Mutex<()>,
    /// Never held across an await.
    pub(super) state: parking_lot::Mutex<State>,
}

impl Session {
    /// The value under `name`, decoded into `T`. `None` if there is none.
    ///
    /// # Errors
    /// [`SessionError::Store`] if the record cannot be loaded, [`SessionError::Decode`] if the
    /// value is not a `T`.
    pub async fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, SessionError> {
        let settled = self.state().is_settled(name);
        if !settled {
            self.load().await?;
        }
        // Decoding runs code of the application, so the lock is released first.
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

    /// The names of all values, in byte order.
    ///
    /// # Errors
    /// [`SessionError::Store`] if the record cannot be loaded.
    pub async fn names(&self) -> Result<Vec<Name>, SessionError> {
        self.load().await?;
        Ok(self.state().names())
    }

    /// The JSON text under `name`, byte for byte. `None` if there is none.
    ///
    /// # Errors
    /// [`SessionError::Store`] if the record cannot be loaded.
    pub async fn json(&self, name: &str) -> Result<Option<Json>, SessionError> {
        self.load().await?;
        Ok(self.state().value(name).cloned())
    }

    /// The signed-in user, including a sign-in of this request.
    ///
    /// # Errors
    /// [`SessionError::Store`] if the record cannot be loaded.
    pub async fn principal(&self) -> Result<Option<Principal>, SessionError> {
        self.load().await?;
        let state = self.state();
        let signs_in = state.recorded.sign_in.as_ref().map(|sign_in| sign_in.principal.clone());
        Ok(signs_in.or_else(|| state.record()?.principal.clone()))
    }

    /// The label that [`SignIn::label`] or [`SignIn::label_from`] set. `None` for an anonymous
    /// session and for a sign-in without a label.
    ///
    /// # Errors
    /// [`SessionError::Store`] if the record cannot be loaded.
    pub async fn label(&self) -> Result<Option<ShortText>, SessionError> {
        self.load().await?;
        let state = self.state();
        if let Some(sign_in) = &state.recorded.sign_in {
            return Ok(sign_in.attributes.label.clone());
        }
        let record = state.record().filter(|record| record.principal.is_some());
        Ok(record.and_then(|record| record.attributes.label.clone()))
    }

    /// The strength of the authentication that [`SignIn::acr`] or [`Self::reauthenticated_with`]
    /// set, including those of this request. `None` for an anonymous session.
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

    /// Whether the user proved their identity at most `time` ago, by a sign-in or by
    /// [`Self::reauthenticated`], including those of this request. `false` for an anonymous
    /// session.
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

    /// The age of the session at the time of the load. `None` if there is no session yet.
    ///
    /// # Errors
    /// [`SessionError::Store`] if the record cannot be loaded.
    pub async fn age(&self) -> Result<Option<Duration>, SessionError> {
        self.load().await?;
        Ok(self.state().record().map(|record| record.age))
    }

    /// The remaining lifetime at the time of the load, if the session is not used again. `None` if
    /// there is no session yet.
    ///
    /// # Errors
    /// [`SessionError::Store`] if the record cannot be loaded.
    pub async fn ttl(&self) -> Result<Option<Duration>, SessionError> {
        self.load().await?;
        Ok(self.state().record().map(|record| record.ttl))
    }

    /// The public name of the session, for logs and pages. `None` if there is no session yet. It
    /// stays the same through every rotation.
    ///
    /// # Errors
    /// [`SessionError::Store`] if the call has to load the record and that fails.
    pub async fn handle(&self) -> Result<Option<Handle>, SessionError> {
        let unknown = matches!(self.state().known, SessionKnowledge::Unloaded);
        if unknown {
            self.load().await?;
        }
        let state = self.state();
        // A superseded id reads an anonymous session, so it does not get the handle either.
        let key =
            if matches!(state.known, SessionKnowledge::Superseded) { None } else { state.key() };
        Ok(key.map(|key| key.handle()))
    }

    /// Records that the value under `name` becomes `value`. If the record was loaded and the stored
    /// value is equal, nothing is written.
    ///
    /// # Errors
    /// [`SessionError::Name`] or [`SessionError::Encode`]; nothing is recorded.
    pub fn insert<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<(), SessionError> {
        let key = Name::new(name)?;
        let json = Json::encode(value)
            .map_err(|source| SessionError::Encode { name: name.to_owned(), source })?;
        self.state().recorded.changes.insert(key, Change::Set(json));
        Ok(())
    }

    /// Records that the value under `name` becomes this JSON text, byte for byte.
    ///
    /// # Errors
    /// [`SessionError::Name`]; nothing is recorded.
    pub fn insert_json(&self, name: &str, value: Json) -> Result<(), SessionError> {
        let name = Name::new(name)?;
        self.state().recorded.changes.insert(name, Change::Set(value));
        Ok(())
    }

    /// Records that the value under `name` is removed. Succeeds if there is none.
    ///
    /// # Errors
    /// [`SessionError::Name`]; nothing is recorded.
    pub fn remove(&self, name: &str) -> Result<(), SessionError> {
        let name = Name::new(name)?;
        self.state().recorded.changes.insert(name, Change::Remove);
        Ok(())
    }

    /// Reads the value under `name` and records its removal. Two concurrent requests can both get
    /// it. For a value that must be used once, [`Self::update`] removes it for exactly one of them.
    ///
    /// # Errors
    /// The errors of [`Self::get`] and [`Self::remove`]; nothing is recorded.
    pub async fn take<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, SessionError> {
        let value = self.get(name).await?;
        if value.is_some() {
            self.remove(name)?;
        }
        Ok(value)
    }

    /// Records that all values are removed. Values inserted later in this request stay.
    pub fn clear(&self) {
        let mut state = self.state();
        state.recorded.changes.clear();
        state.recorded.clears = state.recorded.clears.saturating_add(1);
    }

    /// Records that this user signs in.
    ///
    /// The session gets a new id, and the old id loses all power over it (against session fixation:
    /// OWASP asks for a new id at every change of privilege). The session starts with the timeouts
    /// and persistence of the policy, or with those of the [`SignIn`]. The absolute timeout counts
    /// from now. The values of an anonymous session are kept; call [`Self::clear`] before to drop
    /// them. If another user was signed in, that session ends, and a new one starts with the values
    /// inserted in this request.
    ///
    /// A sign-in always works: if the request's own id is superseded, or its session has ended, it
    /// starts a new session. A sign-in with a timeout below a millisecond is rejected when it is
    /// committed ([`Rejection::Ttl`](crate::Rejection::Ttl)). A sign-in drops what
    /// [`Self::reauthenticated_with`] recorded before it.
    pub fn sign_in(&self, sign_in: impl Into<SignIn>) {
        self.state().recorded.set_sign_in(sign_in.into());
    }

    /// Records that the session gets a new id. Values, principal and age stay.
    ///
    /// The old id may still read for [`Policy::rotation_grace`], so that parallel requests of the
    /// same page stay signed in.
    pub fn renew(&self) {
        self.state().recorded.renew = true;
    }

    /// Records that the signed-in user has just proved their identity again, for example with a
    /// password before a payment. [`Self::authenticated_within`] and the absolute timeout then
    /// count from now. The session gets a new id, and the old one is dead at once. In an anonymous
    /// session the call only renews the id.
    pub fn reauthenticated(&self) {
        self.state().recorded.reauthenticate(None);
    }

    /// The same as [`Self::reauthenticated`], and sets the strength of the authentication, such as
    /// `mfa`. After [`Self::sign_in`] in the same request, it replaces [`SignIn::acr`].
    ///
    /// # Errors
    /// [`InvalidShortText`] if `acr` is empty, longer than 40 bytes or has a control character;
    /// nothing is recorded.
    pub fn reauthenticated_with(&self, acr: impl AsRef<str>) -> Result<(), InvalidShortText> {
        let acr = Some(ShortText::new(acr)?);
        self.state().recorded.reauthenticate(acr);
        Ok(())
    }

    /// Records the idle timeout of this session, which is stored with it. The absolute timeout of
    /// the policy still applies.
    pub fn set_idle_timeout(&self, timeout: Duration) {
        self.state().recorded.attributes.idle_timeout = Some(timeout);
    }

    /// Records that this session ends at most `timeout` from now, however much it is used. The
    /// timeout is stored with the session.
    pub fn set_absolute_timeout(&self, timeout: Duration) {
        self.state().recorded.attributes.absolute_timeout = Some(timeout);
    }

    /// Records how long the browser keeps the cookie of this session. The setting is stored with
    /// the session.
    pub fn set_persistence(&self, persistence: Persistence) {
        self.state().recorded.attributes.persistence = Some(persistence);
    }

    /// The key of the record, if there may be one.
    pub(super) fn key(&self) -> Option<StoreKey> {
        self.state().key()
    }

    /// The store itself. A call on the `Arc` around it would allocate a second future.
    pub(super) fn store(&self) -> &dyn SessionStore {
        &*self.0.context.store
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.0.context.policy
    }

    pub(super) fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        self.0.state.lock()
    }
}

/// Shows the public handle and the names of the recorded changes, but no id and no value.
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

pub(super) fn decode<T: DeserializeOwned>(
    name: &str,
    value: Option<&Json>,
) -> Result<Option<T>, SessionError> {
    value
        .map(Json::decode)
        .transpose()
        .map_err(|source| SessionError::Decode { name: name.to_owned(), source })
}
