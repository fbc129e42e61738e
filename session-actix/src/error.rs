//! The errors of this crate, and the response of each.

use std::{error::Error as StdError, fmt};

use actix_web::{
    HttpResponse, ResponseError,
    body::BoxBody,
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderValue},
    },
};
use session_core::{InvalidPrincipal, InvalidShortText, Rejection, SessionError, StoreError};

/// Why a session call, or a request that used a session, failed.
///
/// A handler returns it, or converts it with `?` into an [`actix_web::Error`]. The client sees a
/// status and a fixed sentence for it. The middleware logs the causes. Neither holds an id, a value
/// or a password.
///
/// | cause | status |
/// |---|---|
/// | the store does not answer, or is full | 503, with `Retry-After` |
/// | the session ended or got a new id meanwhile, or too many requests changed it | 409 |
/// | too much data | 413 |
/// | a bad name of a value or a user, or adding to a value that is not an integer | 400 |
/// | an https-only cookie on plain http | 403 |
/// | everything else | 500 |
///
/// [`SessionMiddlewareBuilder::error_response`](crate::SessionMiddlewareBuilder::error_response)
/// replaces the text by a response of the application's own, such as JSON.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call of the session failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The name of a user is not valid.
    #[error(transparent)]
    Principal(#[from] InvalidPrincipal),
    /// A label or an authentication strength is not valid.
    #[error(transparent)]
    ShortText(#[from] InvalidShortText),
    /// The handler panicked. Only with
    /// [`catch_panics`](crate::SessionMiddlewareBuilder::catch_panics).
    #[error("the request handler panicked")]
    Panic,
    /// No [`SessionMiddleware`](crate::SessionMiddleware) wraps the route.
    #[error("no SessionMiddleware wraps this route: add .wrap(sessions.clone()) to the App")]
    NoMiddleware,
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Session(error.into())
    }
}

/// The text of `Display` with all causes, because `main` and logs often print errors with `Debug`.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut source = self.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        let error = match self {
            Self::Session(error) => error,
            Self::Principal(_) | Self::ShortText(_) => return StatusCode::BAD_REQUEST,
            Self::Panic | Self::NoMiddleware => return StatusCode::INTERNAL_SERVER_ERROR,
        };
        match error {
            SessionError::Store(StoreError::Rejected(rejection)) => match rejection {
                Rejection::DataTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                Rejection::NotAnInteger { .. } | Rejection::Overflow { .. } => {
                    StatusCode::BAD_REQUEST
                }
                Rejection::Full { .. } => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            },
            SessionError::Store(error) if error.is_transient() => StatusCode::SERVICE_UNAVAILABLE,
            SessionError::Gone | SessionError::Superseded | SessionError::Contended { .. } => {
                StatusCode::CONFLICT
            }
            SessionError::Name(_) => StatusCode::BAD_REQUEST,
            SessionError::PlainHttp => StatusCode::FORBIDDEN,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let status = self.status_code();
        let text = match (status, self) {
            (StatusCode::SERVICE_UNAVAILABLE, _) => {
                "the session cannot be reached right now; try again\n"
            }
            (StatusCode::CONFLICT, Self::Session(SessionError::Gone)) => {
                "the session has ended; sign in again\n"
            }
            (StatusCode::CONFLICT, Self::Session(SessionError::Superseded)) => {
                "another request renewed the session's id; send this one again\n"
            }
            (StatusCode::CONFLICT, _) => {
                "the session changed while the request was being served; send it again\n"
            }
            // The text has the two sizes, which the client knows, and the remedy.
            (StatusCode::PAYLOAD_TOO_LARGE, _) => &format!("{self}; this change is not saved\n"),
            (StatusCode::BAD_REQUEST, _) => "the session cannot store this\n",
            (StatusCode::FORBIDDEN, _) => "sessions need https here\n",
            _ => "the request failed\n",
        };
        let mut response = HttpResponse::with_body(status, BoxBody::new(text.to_owned()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        add_error_headers(status, headers);
        response
    }
}

/// Adds the headers that every error response has, unless they are set.
pub(crate) fn add_error_headers(status: StatusCode, headers: &mut HeaderMap) {
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE && !headers.contains_key(header::RETRY_AFTER) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
}

/// Logs an error with all its causes, once for each request.
pub(crate) fn log(error: &Error) {
    let status = error.status_code();
    // Plain http where https was expected is a fault of the proxy or of the configuration, so the
    // operator has to see it.
    if status.is_server_error() || matches!(error, Error::Session(SessionError::PlainHttp)) {
        tracing::warn!(status = status.as_u16(), error = ?error, "session call failed");
    } else {
        tracing::debug!(status = status.as_u16(), error = ?error, "session call refused");
    }
}
