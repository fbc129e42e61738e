//! How a handler gets its session.

use std::ops::Deref;

use actix_web::{
    Error as ActixError, FromRequest, HttpRequest,
    dev::{Payload, ServiceRequest},
    error::InternalError,
    http::StatusCode,
};
use futures_util::future::{Ready, ready};

use crate::request::slot;

/// The session of a request, as an extractor. It has all calls of [`session_core::Session`].
///
/// ```
/// # use session_actix::{Error, Session};
/// async fn greet(session: Session) -> Result<String, Error> {
///     Ok(match session.principal().await? {
///         Some(principal) => format!("hello, {principal}"),
///         None => "hello, stranger".to_owned(),
///     })
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Session(session_core::Session);

impl Session {
    /// The session itself, for code that knows no actix.
    #[must_use]
    pub fn into_inner(self) -> session_core::Session {
        self.0
    }
}

impl Deref for Session {
    type Target = session_core::Session;

    fn deref(&self) -> &session_core::Session {
        &self.0
    }
}

impl FromRequest for Session {
    type Error = ActixError;
    type Future = Ready<Result<Self, ActixError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(request.session().ok_or_else(|| {
            tracing::error!(
                "a handler asks for a session, but no SessionMiddleware wraps its application"
            );
            InternalError::new("the request failed", StatusCode::INTERNAL_SERVER_ERROR).into()
        }))
    }
}

/// How a middleware or a guard gets the session of the request it holds.
pub trait SessionExt {
    /// The session; `None` if no [`SessionMiddleware`](crate::SessionMiddleware) wraps the
    /// application.
    fn session(&self) -> Option<Session>;
}

impl SessionExt for HttpRequest {
    fn session(&self) -> Option<Session> {
        Some(Session(slot(self)?.open(self).session().clone()))
    }
}

impl SessionExt for ServiceRequest {
    fn session(&self) -> Option<Session> {
        self.request().session()
    }
}
