//! What the demo answers when it cannot do what was asked.

use actix_web::{HttpResponse, ResponseError, body::BoxBody, http::StatusCode};
use session_core::{SessionError, StoreError};

/// A request that cannot be served.
///
/// What the client itself sent wrong is said in full; what went wrong behind it only as a status.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Session(#[from] session_actix::Error),
    #[error("{0}")]
    BadRequest(String),
    #[error("nobody is signed in; POST /login {{\"user\":\"name\"}} first")]
    SignedOut,
    #[error("no such session among yours")]
    NoSuchDevice,
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        match self {
            // The type is what the client asked for with its route, and the value what it put
            // there.
            Self::Session(session_actix::Error::Session(SessionError::Decode { .. })) => {
                StatusCode::BAD_REQUEST
            }
            Self::Session(error) => error.status_code(),
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::SignedOut => StatusCode::UNAUTHORIZED,
            Self::NoSuchDevice => StatusCode::NOT_FOUND,
        }
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let status = self.status_code();
        match self {
            Self::Session(error) if !(is_clients_fault(error) && status.is_client_error()) => {
                error.error_response()
            }
            _ => HttpResponse::build(status)
                .content_type("text/plain; charset=utf-8")
                .body(format!("{self}\n")),
        }
    }
}

/// Whether the error speaks only of what the client sent: its name, its value.
fn is_clients_fault(error: &session_actix::Error) -> bool {
    matches!(
        error,
        session_actix::Error::Session(
            SessionError::Name(_)
                | SessionError::Decode { .. }
                | SessionError::Store(StoreError::Rejected(_))
        )
    )
}
