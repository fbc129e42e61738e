//! [`RouteError`]: why a route cannot serve a request, and its response.

use actix_web::{HttpResponse, ResponseError, body::BoxBody, http::StatusCode};
use session_core::{SessionError, StoreError};

/// Why a route cannot serve a request.
///
/// The response describes a mistake of the client in full. For any other error it has the status
/// only.
#[derive(Debug, thiserror::Error)]
pub(super) enum RouteError {
    #[error(transparent)]
    Session(#[from] session_actix::Error),
    #[error("{0}")]
    BadRequest(String),
    #[error("no user is signed in; POST /login {{\"user\":\"name\"}} first")]
    SignedOut,
    #[error("you have no other session with this handle")]
    NoSuchDevice,
    #[error("the site stops; use another server")]
    Stopping,
}

impl ResponseError for RouteError {
    fn status_code(&self) -> StatusCode {
        match self {
            // The client chose the type with its route, and stored the value itself.
            Self::Session(session_actix::Error::Session(SessionError::Decode { .. })) => {
                StatusCode::BAD_REQUEST
            }
            Self::Session(error) => error.status_code(),
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::SignedOut => StatusCode::UNAUTHORIZED,
            Self::NoSuchDevice => StatusCode::NOT_FOUND,
            Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let status = self.status_code();
        match self {
            Self::Session(error) if !(is_client_mistake(error) && status.is_client_error()) => {
                error.error_response()
            }
            _ => HttpResponse::build(status)
                .content_type("text/plain; charset=utf-8")
                .body(format!("{self}\n")),
        }
    }
}

/// Whether the error describes only the name or the value that the client sent.
fn is_client_mistake(error: &session_actix::Error) -> bool {
    matches!(
        error,
        session_actix::Error::Session(
            SessionError::Name(_)
                | SessionError::Decode { .. }
                | SessionError::Store(StoreError::Rejected(_))
        )
    )
}
