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
use session_core::{
    CookieChange, OnServerError, RecordedChanges, SessionDriver,
    caching::{CACHE_CONTROL_WITH_COOKIE, CACHE_CONTROL_WITHOUT_COOKIE},
};

use crate::{Error, config::Shared};

/// Commits, then lets the response go: as it is with the cookie it needs, or replaced if the commit
/// failed.
pub(crate) async fn settle<B: MessageBody>(
    shared: &Shared,
    session: &SessionDriver,
    response: ServiceResponse<B>,
) -> ServiceResponse<EitherBody<B>> {
    let mut response = match session.finish(changes(shared, response.status())).await {
        Ok(()) => response.map_into_left_body(),
        Err(error) => {
            response.into_response(Error::from(error).error_response().map_into_right_body())
        }
    };
    tell(cookie(shared, session), response.headers_mut());
    response
}

/// The same for an error that an inner middleware returned instead of a response.
pub(crate) async fn settle_error(
    shared: &Shared,
    session: &SessionDriver,
    error: ActixError,
) -> ActixError {
    let error = match session.finish(changes(shared, error.as_response_error().status_code())).await
    {
        Ok(()) => error,
        Err(error) => Error::from(error).into(),
    };
    Told { error, cookie: cookie(shared, session) }.into()
}

/// The error that stands for a panic. What was recorded is dropped, for it is a 500.
pub(crate) fn panicked() -> ActixError {
    // The panic's own message went to standard error; it is not repeated here, because it can hold
    // anything.
    tracing::error!("a request handler panicked; its recorded session changes are dropped");
    actix_web::error::InternalError::new("the request failed", StatusCode::INTERNAL_SERVER_ERROR)
        .into()
}

fn changes(shared: &Shared, status: StatusCode) -> RecordedChanges {
    match shared.context.policy().on_server_error {
        OnServerError::DropChanges if status.is_server_error() => RecordedChanges::Drop,
        OnServerError::DropChanges | OnServerError::KeepChanges => RecordedChanges::Commit,
    }
}

/// The `Set-Cookie` value that the browser has to be sent. `Debug` of a response or an error does
/// not show it.
fn cookie(shared: &Shared, session: &SessionDriver) -> Option<HeaderValue> {
    let cookie = match session.cookie() {
        CookieChange::Keep => return None,
        CookieChange::Issue { id, max_age } => shared.codec.issue(&id, max_age),
        CookieChange::Remove => shared.codec.remove(),
    };
    // The codec writes visible ASCII only, so its text is always a header value.
    let mut cookie = HeaderValue::try_from(cookie).ok()?;
    cookie.set_sensitive(true);
    Some(cookie)
}

/// Adds the session's headers to the response of a request that used the session.
///
/// [`session_core::caching`] has the reasons for the two values of `Cache-Control`. Every such
/// response depends on the cookie.
fn tell(cookie: Option<HeaderValue>, headers: &mut HeaderMap) {
    if let Some(cookie) = cookie {
        headers.append(header::SET_COOKIE, cookie);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHE_CONTROL_WITH_COOKIE));
    } else if !headers.contains_key(header::CACHE_CONTROL) {
        headers
            .insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHE_CONTROL_WITHOUT_COOKIE));
    }
    let varies = headers
        .get_all(header::VARY)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    if !varies
        .map(str::trim_ascii)
        .any(|field| field == "*" || field.eq_ignore_ascii_case("cookie"))
    {
        headers.append(header::VARY, HeaderValue::from_static("Cookie"));
    }
}

/// An application's error that carries the session's cookie along.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
struct Told {
    error: ActixError,
    cookie: Option<HeaderValue>,
}

impl ResponseError for Told {
    fn status_code(&self) -> StatusCode {
        self.error.as_response_error().status_code()
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = self.error.error_response();
        tell(self.cookie.clone(), response.headers_mut());
        response
    }
}
