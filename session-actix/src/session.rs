//! The session as handlers receive it.

use std::{fmt, time::Duration};

use actix_web::{
    FromRequest, HttpRequest,
    dev::{Payload, ServiceRequest},
};
use futures_util::future::{Ready, ready};
use serde::{Serialize, de::DeserializeOwned};
use session_core::{
    Device, Handle, Json, Liveness, Name, Persistence, Principal, ShortText, SignIn, StreamEnd,
};

use crate::{Error, error::LogEntry, request::RequestSession};

/// The session of a request, as an extractor.
///
/// It has the calls of [`session_core::Session`], which describes each of them in full. The errors
/// of these calls have the type [`Error`], so `?` works in handlers that return [`Error`] or
/// [`actix_web::Result`].
///
/// | call | when it reaches the store |
/// |---|---|
/// | [`get`](Self::get), [`json`](Self::json), [`contains`](Self::contains), [`names`](Self::names), [`take`](Self::take), [`principal`](Self::principal), [`acr`](Self::acr), [`age`](Self::age), [`ttl`](Self::ttl), [`handle`](Self::handle), [`authenticated_within`](Self::authenticated_within) | the first of them loads the session |
/// | [`insert`](Self::insert), [`insert_json`](Self::insert_json), [`remove`](Self::remove), [`clear`](Self::clear), [`sign_in`](Self::sign_in), [`renew`](Self::renew), [`reauthenticated`](Self::reauthenticated), `set_…` | recorded; one commit before the response head is sent |
/// | [`add`](Self::add), [`update`](Self::update), [`destroy`](Self::destroy), [`others`](Self::others), [`destroy_other`](Self::destroy_other), [`destroy_others`](Self::destroy_others), [`destroy_all`](Self::destroy_all), [`credentials_changed`](Self::credentials_changed) | immediately, after the changes recorded before |
/// | [`commit`](Self::commit) | immediately |
/// | [`is_alive`](Self::is_alive), [`refresh`](Self::refresh), [`ended`](Self::ended) | each time |
///
/// # Examples
/// ```
/// # use session_actix::Session;
/// async fn greet(session: Session) -> actix_web::Result<String> {
///     Ok(match session.principal().await? {
///         Some(user) => format!("hello, {user}"),
///         None => "please sign in".to_owned(),
///     })
/// }
/// ```
#[derive(Clone)]
pub struct Session(session_core::Session);

/// Calls that read and change values.
impl Session {
    /// The value under `name`, decoded into `T`. `None` if there is none. See
    /// [`get`](session_core::Session::get).
    ///
    /// # Errors
    /// The store cannot load the session, or the value is not a `T`.
    pub async fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        Ok(self.0.get(name).await?)
    }

    /// Whether there is a value under `name`. See [`contains`](session_core::Session::contains).
    ///
    /// # Errors
    /// The store cannot load the session.
    pub async fn contains(&self, name: &str) -> Result<bool, Error> {
        Ok(self.0.contains(name).await?)
    }

    /// The names of all values. See [`names`](session_core::Session::names).
    ///
    /// # Errors
    /// The store cannot load the session.
    pub async fn names(&self) -> Result<Vec<Name>, Error> {
        Ok(self.0.names().await?)
    }

    /// The value under `name` as JSON text. See [`json`](session_core::Session::json).
    ///
    /// # Errors
    /// The store cannot load the session.
    pub async fn json(&self, name: &str) -> Result<Option<Json>, Error> {
        Ok(self.0.json(name).await?)
    }

    /// Sets a value when the response is built. See [`insert`](session_core::Session::insert).
    ///
    /// # Errors
    /// The name is not valid, or the value cannot be written as JSON.
    pub fn insert<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<(), Error> {
        Ok(self.0.insert(name, value)?)
    }

    /// Sets a value to a JSON text when the response is built. See
    /// [`insert_json`](session_core::Session::insert_json).
    ///
    /// # Errors
    /// The name is not valid.
    pub fn insert_json(&self, name: &str, value: Json) -> Result<(), Error> {
        Ok(self.0.insert_json(name, value)?)
    }

    /// Removes a value when the response is built. See [`remove`](session_core::Session::remove).
    ///
    /// # Errors
    /// The name is not valid.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        Ok(self.0.remove(name)?)
    }

    /// Reads a value, and removes it when the response is built. See
    /// [`take`](session_core::Session::take).
    ///
    /// # Errors
    /// The errors of [`get`](Self::get) and [`remove`](Self::remove).
    pub async fn take<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        Ok(self.0.take(name).await?)
    }

    /// Removes all values when the response is built. See [`clear`](session_core::Session::clear).
    pub fn clear(&self) {
        self.0.clear();
    }

    /// Adds to an integer immediately, in one atomic step, and returns the sum. No concurrent
    /// addition is lost. See [`add`](session_core::Session::add).
    ///
    /// # Errors
    /// The value is not an integer, the sum overflows, the session has ended or got a new id
    /// meanwhile, or the store does not answer.
    pub async fn add(&self, name: &str, by: i64) -> Result<i64, Error> {
        Ok(self.0.add(name, by).await?)
    }

    /// Replaces a value by the result of a function, immediately, and returns the new value. If
    /// another request changes the session in between, the function is called again with the newer
    /// value, so that no change is lost. See [`update`](session_core::Session::update).
    ///
    /// # Errors
    /// The value is not a `T`, other requests changed the session in each of 200 attempts, the
    /// session has ended or got a new id meanwhile, or the store does not answer.
    pub async fn update<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        change: impl FnMut(Option<T>) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        Ok(self.0.update(name, change).await?)
    }

    /// Commits the recorded changes immediately, for example in a stream that runs for hours. See
    /// [`commit`](session_core::Session::commit).
    ///
    /// # Errors
    /// The session has ended or got a new id meanwhile, or the store does not answer.
    pub async fn commit(&self) -> Result<(), Error> {
        Ok(self.0.commit().await?)
    }
}

/// Calls about the signed-in user and their sessions.
impl Session {
    /// The signed-in user. See [`principal`](session_core::Session::principal).
    ///
    /// # Errors
    /// The store cannot load the session.
    pub async fn principal(&self) -> Result<Option<Principal>, Error> {
        Ok(self.0.principal().await?)
    }

    /// Signs a user in when the response is built. The session gets a new id, and the former id no
    /// longer opens it. `sign_in` is a [`Principal`], or a [`SignIn`] with options. See
    /// [`sign_in`](session_core::Session::sign_in).
    pub fn sign_in(&self, sign_in: impl Into<SignIn>) {
        self.0.sign_in(sign_in);
    }

    /// The label that the sign-in set, for example the name of the device. See
    /// [`label`](session_core::Session::label).
    ///
    /// # Errors
    /// The store cannot load the session.
    pub async fn label(&self) -> Result<Option<ShortText>, Error> {
        Ok(self.0.label().await?)
    }

    /// The strength of the authentication that the sign-in or a reauthentication set. See
    /// [`acr`](session_core::Session::acr).
    ///
    /// # Errors
    /// The store cannot load the session.
    pub async fn acr(&self) -> Result<Option<ShortText>, Error> {
        Ok(self.0.acr().await?)
    }

    /// Whether the user proved their identity within the last `time`. See
    /// [`authenticated_within`](session_core::Session::authenticated_within).
    ///
    /// # Errors
    /// The store cannot load the session.
    pub async fn authenticated_within(&self, time: Duration) -> Result<bool, Error> {
        Ok(self.0.authenticated_within(time).await?)
    }

    /// Records that the user proved their identity again. The session gets a new id. See
    /// [`reauthenticated`](session_core::Session::reauthenticated).
    pub fn reauthenticated(&self) {
        self.0.reauthenticated();
    }

    /// The same as [`reauthenticated`](Self::reauthenticated), with the strength of this
    /// authentication. See [`reauthenticated_with`](session_core::Session::reauthenticated_with).
    ///
    /// # Errors
    /// `acr` is empty, longer than 40 bytes, or has a control character.
    pub fn reauthenticated_with(&self, acr: impl AsRef<str>) -> Result<(), Error> {
        Ok(self.0.reauthenticated_with(acr)?)
    }

    /// After a change of the password: gives this session a new id immediately, ends all other
    /// sessions of the user, and returns how many. See
    /// [`credentials_changed`](session_core::Session::credentials_changed).
    ///
    /// # Errors
    /// The session has ended or got a new id meanwhile, a new id cannot reach the browser, or the
    /// store does not answer.
    pub async fn credentials_changed(&self) -> Result<u64, Error> {
        Ok(self.0.credentials_changed().await?)
    }

    /// Signs the user out: ends this session immediately. See
    /// [`destroy`](session_core::Session::destroy).
    ///
    /// # Errors
    /// The store does not answer, so the session may or may not have ended. Or the id is from
    /// before a sign-in a moment ago, or an https-only cookie came over plain http.
    pub async fn destroy(&self) -> Result<(), Error> {
        Ok(self.0.destroy().await?)
    }

    /// Ends all sessions of the user immediately, including this one, and returns how many. See
    /// [`destroy_all`](session_core::Session::destroy_all).
    ///
    /// # Errors
    /// The session has ended or got a new id meanwhile, or the store does not answer.
    pub async fn destroy_all(&self) -> Result<u64, Error> {
        Ok(self.0.destroy_all().await?)
    }

    /// The other sessions of the user, the latest proof of identity first. See
    /// [`others`](session_core::Session::others).
    ///
    /// # Errors
    /// The session has ended or got a new id meanwhile, or the store does not answer.
    pub async fn others(&self) -> Result<Vec<Device>, Error> {
        Ok(self.0.others().await?)
    }

    /// Ends the other session of the user that has this handle, immediately. `false` if the user
    /// has no such session. See [`destroy_other`](session_core::Session::destroy_other).
    ///
    /// # Errors
    /// The errors of [`others`](Self::others).
    pub async fn destroy_other(&self, handle: Handle) -> Result<bool, Error> {
        Ok(self.0.destroy_other(handle).await?)
    }

    /// Ends all other sessions of the user immediately, and returns how many. See
    /// [`destroy_others`](session_core::Session::destroy_others).
    ///
    /// # Errors
    /// The errors of [`others`](Self::others).
    pub async fn destroy_others(&self) -> Result<u64, Error> {
        Ok(self.0.destroy_others().await?)
    }
}

/// Calls about the lifetime and the id of the session.
impl Session {
    /// The public name of the session. It does not open the session, so a page or a log may show
    /// it. See [`handle`](session_core::Session::handle).
    ///
    /// # Errors
    /// The store cannot load the session.
    pub async fn handle(&self) -> Result<Option<Handle>, Error> {
        Ok(self.0.handle().await?)
    }

    /// The time since the session was created. See [`age`](session_core::Session::age).
    ///
    /// # Errors
    /// The store cannot load the session.
    pub async fn age(&self) -> Result<Option<Duration>, Error> {
        Ok(self.0.age().await?)
    }

    /// The time until the session expires if it is not used. See
    /// [`ttl`](session_core::Session::ttl).
    ///
    /// # Errors
    /// The store cannot load the session.
    pub async fn ttl(&self) -> Result<Option<Duration>, Error> {
        Ok(self.0.ttl().await?)
    }

    /// Gives the session a new id when the response is built. See
    /// [`renew`](session_core::Session::renew).
    pub fn renew(&self) {
        self.0.renew();
    }

    /// Sets the idle timeout of this session. See
    /// [`set_idle_timeout`](session_core::Session::set_idle_timeout).
    pub fn set_idle_timeout(&self, timeout: Duration) {
        self.0.set_idle_timeout(timeout);
    }

    /// Sets the absolute timeout of this session. See
    /// [`set_absolute_timeout`](session_core::Session::set_absolute_timeout).
    pub fn set_absolute_timeout(&self, timeout: Duration) {
        self.0.set_absolute_timeout(timeout);
    }

    /// Sets how long the browser keeps the cookie of this session. See
    /// [`set_persistence`](session_core::Session::set_persistence).
    pub fn set_persistence(&self, persistence: Persistence) {
        self.0.set_persistence(persistence);
    }

    /// Asks the store whether the session still lives. See
    /// [`is_alive`](session_core::Session::is_alive).
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn is_alive(&self) -> Result<Liveness, Error> {
        Ok(self.0.is_alive().await?)
    }

    /// Loads the session again, so that later reads return its present values. See
    /// [`refresh`](session_core::Session::refresh).
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn refresh(&self) -> Result<Liveness, Error> {
        Ok(self.0.refresh().await?)
    }

    /// Waits until the session has ended, for streams and web sockets. See
    /// [`ended`](session_core::Session::ended).
    pub async fn ended(&self) -> StreamEnd {
        self.0.ended().await
    }

    /// The session of `session-core`, for code that does not depend on actix-web.
    #[must_use]
    pub fn into_inner(self) -> session_core::Session {
        self.0
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromRequest for Session {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(request.session().ok_or_else(|| {
            // The middleware logs errors, and this route has no middleware.
            LogEntry::of(&Error::NoMiddleware).log();
            Error::NoMiddleware
        }))
    }
}

/// Gives a middleware or a guard the session of the request.
pub trait SessionExt {
    /// The session. `None` if no [`SessionMiddleware`](crate::SessionMiddleware) wraps the
    /// application.
    fn session(&self) -> Option<Session>;
}

impl SessionExt for HttpRequest {
    fn session(&self) -> Option<Session> {
        Some(Session(RequestSession::of(self)?.open(self).session().clone()))
    }
}

impl SessionExt for ServiceRequest {
    fn session(&self) -> Option<Session> {
        self.request().session()
    }
}
