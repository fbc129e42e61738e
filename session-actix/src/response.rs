//! From what the handler did to what the browser is told.

use actix_web::{
    Error as ActixError, HttpResponse, ResponseError,
    body::{BoxBody, EitherBody, MessageBody},
    dev::ServiceResponse,
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderValue},
    },
};
use session_core::{CookieChange, OnServerError, RecordedChanges, Session};

use crate::{Error, config::Shared};

/// Commits, then lets the response go: as it is with the cookie it needs, or replaced if the commit failed.
pub(crate) async fn settle<B: MessageBody>(
    shared: &Shared,
    session: &Session,
    response: ServiceResponse<B>,
) -> ServiceResponse<EitherBody<B>> {
    let mut response = match session.finish(changes(shared, response.status())).await {
        Ok(()) => response.map_into_left_body(),
        Err(error) => response.into_response(Error::from(error).error_response().map_into_right_body()),
    };
    tell(shared, session, response.headers_mut());
    response
}

/// The same for an error that an inner middleware returned instead of a response.
pub(crate) async fn settle_error(shared: &Shared, session: &Session, error: ActixError) -> ActixError {
    let error = match session.finish(changes(shared, error.as_response_error().status_code())).await {
        Ok(()) => error,
        Err(error) => Error::from(error).into(),
    };
    Told { error, headers: headers(shared, session) }.into()
}

/// The error that stands for a panic. What was recorded is dropped, for it is a 500.
pub(crate) fn panicked() -> ActixError {
    // The panic's own message went to standard error; it is not repeated here, because it can hold anything.
    tracing::error!("a request handler panicked; its recorded session changes are dropped");
    actix_web::error::InternalError::new("the request failed", StatusCode::INTERNAL_SERVER_ERROR).into()
}

fn changes(shared: &Shared, status: StatusCode) -> RecordedChanges {
    match shared.policy.on_server_error {
        OnServerError::DropChanges if status.is_server_error() => RecordedChanges::Drop,
        OnServerError::DropChanges | OnServerError::KeepChanges => RecordedChanges::Commit,
    }
}

/// Adds what the session has to tell the browser.
///
/// A changed cookie must not be kept by any cache (OWASP); and every answer that a session went into differs by cookie.
fn tell(shared: &Shared, session: &Session, headers: &mut HeaderMap) {
    let cookie = match session.cookie() {
        CookieChange::Keep => None,
        CookieChange::Issue { id, max_age } => Some(shared.codec.issue(&id, max_age)),
        CookieChange::Remove => Some(shared.codec.remove()),
    };
    // The codec writes visible ASCII only, so its text is always a header value.
    if let Some(value) = cookie.and_then(|cookie| HeaderValue::try_from(cookie).ok()) {
        headers.append(header::SET_COOKIE, value);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    let varies = headers.get_all(header::VARY).filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    if !varies.map(str::trim_ascii).any(|field| field == "*" || field.eq_ignore_ascii_case("cookie")) {
        headers.append(header::VARY, HeaderValue::from_static("Cookie"));
    }
}

fn headers(shared: &Shared, session: &Session) -> HeaderMap {
    let mut headers = HeaderMap::new();
    tell(shared, session, &mut headers);
    headers
}

/// An application's error that carries the session's headers along.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
struct Told {
    error: ActixError,
    headers: HeaderMap,
}

impl ResponseError for Told {
    fn status_code(&self) -> StatusCode {
        self.error.as_response_error().status_code()
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = self.error.error_response();
        for (name, value) in &self.headers {
            if *name == header::CACHE_CONTROL {
                response.headers_mut().insert(name.clone(), value.clone());
            } else {
                response.headers_mut().append(name.clone(), value.clone());
            }
        }
        response
    }
}
