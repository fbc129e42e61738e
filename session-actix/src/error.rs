//! What a client sees when a session call fails.

use std::fmt::Write;

use actix_web::{
    HttpResponse, ResponseError,
    body::BoxBody,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
};
use session_core::{Rejection, SessionError, StoreError};

/// A [`SessionError`] as a response.
///
/// The client sees a status and a sentence that is the same for all causes of that status, with the
/// two sizes if something is too large; the log gets the causes. Neither holds an id, a value or a
/// password.
///
/// | cause | status |
/// |---|---|
/// | the store cannot answer, or is full | 503, with `Retry-After` |
/// | the session ended or got a new id meanwhile, or too many requests changed it | 409 |
/// | too much data | 413 |
/// | a bad name, or adding to what is no integer | 400 |
/// | an https-only cookie on plain http | 403 |
/// | everything else | 500 |
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(#[from] SessionError);

impl Error {
    /// The cause.
    #[must_use]
    pub fn cause(&self) -> &SessionError {
        &self.0
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self(error.into())
    }
}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        match &self.0 {
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
        log(status, &self.0);
        let text = match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                "the session cannot be reached right now; try again\n"
            }
            StatusCode::CONFLICT => match self.0 {
                SessionError::Gone => "the session has ended; sign in again\n",
                SessionError::Superseded => {
                    "another request renewed the session's id; send this one again\n"
                }
                _ => "the session changed while the request was being served; send it again\n",
            },
            // Two sizes, which the client can find out anyway, and what would help.
            StatusCode::PAYLOAD_TOO_LARGE => &format!("{}; this change is not saved\n", self.0),
            StatusCode::BAD_REQUEST => "the session cannot take this\n",
            StatusCode::FORBIDDEN => "sessions need https here\n",
            _ => "the request failed\n",
        };
        let mut response = HttpResponse::with_body(status, BoxBody::new(text.to_owned()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Tells the operator the whole chain of causes, in one line.
fn log(status: StatusCode, error: &SessionError) {
    let mut causes = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        // Writing to a String cannot fail.
        let _ = write!(causes, ": {cause}");
        source = cause.source();
    }
    // Plain http where https was expected is a matter of the proxy or of the configuration, so it
    // is the operator's.
    if status.is_server_error() || matches!(error, SessionError::PlainHttp) {
        tracing::warn!(status = status.as_u16(), error = causes, "a session call failed");
    } else {
        tracing::debug!(status = status.as_u16(), error = causes, "a session call was refused");
    }
}
