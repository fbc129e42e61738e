//! From the handler's result to the response that the browser receives.

use std::fmt;

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

use crate::{
    Error,
    builder::{ErrorResponse, Shared},
    error::{LogEntry, add_error_headers},
};

/// Commits the session and returns the response. If the commit fails, an error response replaces
/// it.
pub(crate) async fn finish<B: MessageBody>(
    shared: &Shared,
    session: &SessionDriver,
    response: ServiceResponse<B>,
) -> ServiceResponse<EitherBody<B>> {
    let changes = recorded_changes(shared, response.status());
    let response = match session.finish(changes).await {
        Ok(()) => response.map_into_left_body(),
        Err(error) => {
            let failed = HttpResponse::from_error(Error::from(error));
            response.into_response(failed.map_into_right_body())
        }
    };
    let mut response = replace_body(shared, response);
    add_session_headers(cookie(shared, session), response.headers_mut());
    response
}

/// The same as [`finish`] for an error that an inner middleware returned instead of a response.
pub(crate) async fn finish_error(
    shared: &Shared,
    session: &SessionDriver,
    error: ActixError,
) -> ActixError {
    let changes = recorded_changes(shared, error.as_response_error().status_code());
    let error = match session.finish(changes).await {
        Ok(()) => error,
        Err(error) => Error::from(error).into(),
    };
    with_session(shared, error, SessionUse::Used { cookie: cookie(shared, session) })
}

/// The response of a route that did not use the session. It can still contain an error of this
/// crate.
pub(crate) fn present<B: MessageBody>(
    shared: &Shared,
    response: ServiceResponse<B>,
) -> ServiceResponse<EitherBody<B>> {
    replace_body(shared, response.map_into_left_body())
}

/// The same as [`present`] for an error.
pub(crate) fn present_error(shared: &Shared, error: ActixError) -> ActixError {
    if error.as_error::<Error>().is_some() {
        with_session(shared, error, SessionUse::Unused)
    } else {
        error
    }
}

/// If the response was made from an error of this crate, logs the error and lets
/// `error_response` of the application make the response. The response keeps its error.
fn replace_body<B: MessageBody>(
    shared: &Shared,
    response: ServiceResponse<EitherBody<B>>,
) -> ServiceResponse<EitherBody<B>> {
    let Some(error) = response.response().error().and_then(|error| error.as_error::<Error>())
    else {
        // An error of the application may wrap an error of this crate.
        if let Some(entry) = response.response().extensions().get::<LogEntry>() {
            entry.log();
        }
        return response;
    };
    LogEntry::of(error).log();
    let Some(respond) = &shared.error_response else { return response };
    let (mut head, body) = respond(error).into_parts();
    add_error_headers(head.status(), head.headers_mut());
    let mut response = response.map_body(|_, _| EitherBody::right(body));
    *response.response_mut().status_mut() = head.status();
    *response.response_mut().headers_mut() = std::mem::take(head.headers_mut());
    response
}

fn recorded_changes(shared: &Shared, status: StatusCode) -> RecordedChanges {
    let policy = shared.context.policy().on_server_error;
    if policy == OnServerError::DropChanges && status.is_server_error() {
        RecordedChanges::Drop
    } else {
        RecordedChanges::Commit
    }
}

/// The `Set-Cookie` value of the response. The `Debug` form of a response or an error does not show
/// it.
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
/// [`session_core::caching`] explains the two values of `Cache-Control`. `Vary` contains `Cookie`,
/// because every such response depends on the cookie.
fn add_session_headers(cookie: Option<HeaderValue>, headers: &mut HeaderMap) {
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

/// Wraps an error so that its response has the application's body and the session's headers.
fn with_session(shared: &Shared, error: ActixError, session: SessionUse) -> ActixError {
    if let Some(error) = error.as_error::<Error>() {
        LogEntry::of(error).log();
    }
    SessionErrorResponse { error, respond: shared.error_response.clone(), session }.into()
}

/// An error whose response has the headers of the session.
#[derive(thiserror::Error)]
#[error("{error}")]
struct SessionErrorResponse {
    error: ActixError,
    respond: Option<ErrorResponse>,
    session: SessionUse,
}

/// Whether the request used the session. If it did, the cookie that its response sets.
enum SessionUse {
    Unused,
    Used { cookie: Option<HeaderValue> },
}

impl fmt::Debug for SessionErrorResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl ResponseError for SessionErrorResponse {
    fn status_code(&self) -> StatusCode {
        self.error.as_response_error().status_code()
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = match (&self.respond, self.error.as_error::<Error>()) {
            (Some(respond), Some(error)) => {
                let mut response = respond(error);
                add_error_headers(response.status(), response.headers_mut());
                response
            }
            _ => self.error.error_response(),
        };
        if let SessionUse::Used { cookie } = &self.session {
            add_session_headers(cookie.clone(), response.headers_mut());
        }
        response
    }
}
