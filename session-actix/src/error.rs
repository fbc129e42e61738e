//! The errors of this crate, and the response of each.

use std::{borrow::Cow, error::Error as StdError, fmt};

use actix_web::{
    HttpResponse, ResponseError,
    body::BoxBody,
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderValue},
    },
};
use session_core::{InvalidPrincipal, InvalidShortText, Rejection, SessionError, StoreError};

/// The reason why a call of a session, or a request that used a session, failed.
///
/// A handler returns it, or converts it with `?` into an [`actix_web::Error`]. The client receives
/// a status and a fixed sentence. The middleware logs the causes. Neither contains an id, a value
/// or a password.
///
/// If an error type of the application wraps it, its `error_response` should use
/// [`complete`](Self::complete): then the middleware logs the causes too.
///
/// | cause | status |
/// |---|---|
/// | the store does not answer, or is full | 503, with `Retry-After` |
/// | the session ended or got a new id meanwhile, or too many requests changed it | 409 |
/// | the data of the session exceeds the limit | 413 |
/// | the name of a value or a user, a label or an `acr` is not valid | 400 |
/// | `add` to a value that is not an integer, or with a sum outside `i64` | 400 |
/// | a change of the session over plain http, if the cookie is https-only | 403 |
/// | any other cause | 500 |
///
/// With [`SessionMiddlewareBuilder::error_response`](crate::SessionMiddlewareBuilder::error_response)
/// the application makes the response, for example as JSON.
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
    /// The handler panicked. This error occurs only with
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

/// Shows the text of `Display` with all causes, because `main` and logs often print errors with
/// `Debug`.
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
        let text = format!("{}\n", self.client_text());
        let mut response = HttpResponse::with_body(status, BoxBody::new(text));
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        self.complete(response)
    }
}

impl Error {
    /// Makes `response` complete as the response to this error: adds `Cache-Control: no-store` and,
    /// with status 503, `Retry-After`, unless they are set, and lets the middleware log the causes.
    ///
    /// Call it in the `error_response` of an error type that wraps this error. The response of
    /// [`error_response`](crate::SessionMiddlewareBuilder::error_response) of the builder is
    /// completed by the middleware.
    #[must_use]
    pub fn complete(&self, mut response: HttpResponse) -> HttpResponse {
        add_error_headers(response.status(), response.headers_mut());
        response.extensions_mut().insert(LogEntry::of(self));
        response
    }

    /// A sentence for the client. The text of `Display` is for the log: it can name the store and
    /// its settings.
    #[must_use]
    pub fn client_text(&self) -> Cow<'static, str> {
        let text = match (self.status_code(), self) {
            (StatusCode::SERVICE_UNAVAILABLE, _) => {
                "the session cannot be reached right now; try again"
            }
            (StatusCode::CONFLICT, Self::Session(SessionError::Gone)) => {
                "the session has ended; sign in again"
            }
            (StatusCode::CONFLICT, Self::Session(SessionError::Superseded)) => {
                "another request renewed the session's id; send this one again"
            }
            (StatusCode::CONFLICT, _) => {
                "the session changed while the request was being served; send it again"
            }
            // The text contains the two sizes, which the client knows, and the remedy.
            (StatusCode::PAYLOAD_TOO_LARGE, _) => {
                return format!("{self}; this change is not saved").into();
            }
            (StatusCode::BAD_REQUEST, _) => "the session cannot store this",
            (StatusCode::FORBIDDEN, _) => "sessions need https here",
            _ => "the request failed",
        };
        text.into()
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

/// What the middleware logs about an error: the error with all its causes.
///
/// It travels in the extensions of the error's response. So the middleware also finds it if the
/// application wraps the error in its own error type, which returns this response.
#[derive(Debug)]
pub(crate) struct LogEntry {
    status: StatusCode,
    concerns_operator: bool,
    text: String,
}

impl LogEntry {
    pub(crate) fn of(error: &Error) -> Self {
        let status = error.status_code();
        // Plain http where https was expected is a fault of the proxy or of the configuration, so
        // the operator has to see it.
        let concerns_operator =
            status.is_server_error() || matches!(error, Error::Session(SessionError::PlainHttp));
        Self { status, concerns_operator, text: format!("{error:?}") }
    }

    /// Call it once for each request.
    pub(crate) fn log(&self) {
        let (status, error) = (self.status.as_u16(), &self.text);
        if self.concerns_operator {
            tracing::warn!(status, error, "session call failed");
        } else {
            tracing::debug!(status, error, "session call refused");
        }
    }
}
