//! Routes for sign-in, sign-out, reauthentication and the devices of a user.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use session_actix::Session;
use session_core::{Handle, InvalidShortText, Principal, SignIn, StreamEnd};

use super::error::RouteError;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginBody {
    user: String,
    /// How long the browser and the session remember the user, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    remember: Option<u64>,
    /// The most sessions of this user. A sign-in above the limit ends the oldest.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_sessions: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReauthenticateBody {
    acr: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct AuthenticatedQuery {
    seconds: u64,
}

#[derive(Debug, Serialize)]
struct AuthenticatedReply {
    within: bool,
    acr: Option<String>,
}

#[derive(Debug, Serialize)]
struct DeviceView {
    handle: String,
    label: Option<String>,
    age: f64,
    ttl: f64,
    current: bool,
}

#[derive(Debug, Serialize)]
struct EndedCount {
    ended: u64,
}

/// `POST /login`: signs in the user that the body names. The demo does not check a password.
pub(super) async fn login(session: Session, body: web::Bytes) -> Result<HttpResponse, RouteError> {
    let bad_request = |reason: &dyn std::fmt::Display| {
        RouteError::BadRequest(format!("send {{\"user\":\"name\"}}: {reason}"))
    };
    let login: LoginBody = serde_json::from_slice(&body).map_err(|error| bad_request(&error))?;
    if login.remember == Some(0) {
        return Err(bad_request(&"remember is at least 1 second"));
    }
    let sign_in =
        options(&login, Principal::new(&login.user).map_err(|error| bad_request(&error))?)
            .map_err(|error| bad_request(&error))?;
    session.sign_in(sign_in);
    Ok(HttpResponse::Ok().json(login))
}

fn options(login: &LoginBody, principal: Principal) -> Result<SignIn, InvalidShortText> {
    let mut sign_in = SignIn::new(principal);
    if let Some(seconds) = login.remember {
        sign_in = sign_in.remember(Duration::from_secs(seconds));
    }
    if let Some(sessions) = login.max_sessions {
        sign_in = sign_in.max_sessions(sessions);
    }
    if let Some(acr) = &login.acr {
        sign_in = sign_in.acr(acr)?;
    }
    match &login.label {
        Some(label) => sign_in.label(label),
        None => Ok(sign_in),
    }
}

/// `POST /reauthenticate`: records that the user has authenticated again, with `{"acr":"mfa"}` at
/// that level. The demo does not check a password.
pub(super) async fn reauthenticate(
    session: Session,
    body: web::Bytes,
) -> Result<HttpResponse, RouteError> {
    signed_in(&session).await?;
    let bad_request = |reason: &dyn std::fmt::Display| {
        RouteError::BadRequest(format!("send nothing or {{\"acr\":\"mfa\"}}: {reason}"))
    };
    let reauthenticate: ReauthenticateBody = if body.is_empty() {
        ReauthenticateBody::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| bad_request(&error))?
    };
    match reauthenticate.acr {
        Some(acr) => session.reauthenticated_with(acr).map_err(|error| bad_request(&error))?,
        None => session.reauthenticated(),
    }
    Ok(HttpResponse::NoContent().finish())
}

/// `GET /authenticated?seconds=N`: whether the user has authenticated within the last N seconds,
/// and at which level.
pub(super) async fn authenticated(
    session: Session,
    query: web::Query<AuthenticatedQuery>,
) -> Result<HttpResponse, RouteError> {
    let acr = session.acr().await?.map(|acr| acr.as_str().to_owned());
    let within = session.authenticated_within(Duration::from_secs(query.seconds)).await?;
    Ok(HttpResponse::Ok().json(AuthenticatedReply { within, acr }))
}

/// `POST /credentials-changed`: gives this session a new id and ends all other sessions of the
/// user, as after a change of the password.
pub(super) async fn credentials_changed(session: Session) -> Result<HttpResponse, RouteError> {
    signed_in(&session).await?;
    Ok(HttpResponse::Ok().json(EndedCount { ended: session.credentials_changed().await? }))
}

/// `GET /watch`: server-sent events: one at once, and one when the session has ended.
pub(super) async fn watch(session: Session) -> Result<HttpResponse, RouteError> {
    signed_in(&session).await?;
    let first = stream::once(async {
        Ok::<_, std::io::Error>(web::Bytes::from_static(b"data: signed in\n\n"))
    });
    let last = stream::once(async move {
        Ok(web::Bytes::from_static(match session.ended().await {
            StreamEnd::Ended => b"data: ended\n\n",
            // `Outage`, or a reason that a later version of the library added.
            _ => b"data: outage\n\n",
        }))
    });
    Ok(HttpResponse::Ok().content_type("text/event-stream").streaming(first.chain(last)))
}

/// `POST /logout`: ends the session. Also succeeds without a session.
pub(super) async fn logout(session: Session) -> Result<HttpResponse, RouteError> {
    session.destroy().await?;
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /renew`: gives the session a new id.
pub(super) async fn renew(session: Session) -> HttpResponse {
    session.renew();
    HttpResponse::NoContent().finish()
}

/// `GET /devices`: lists the sessions of the user by public handle, this session first.
pub(super) async fn devices(session: Session) -> Result<HttpResponse, RouteError> {
    signed_in(&session).await?;
    let mut rows = Vec::new();
    if let (Some(handle), Some(age), Some(ttl)) =
        (session.handle().await?, session.age().await?, session.ttl().await?)
    {
        rows.push(DeviceView {
            handle: handle.to_string(),
            label: None,
            age: age.as_secs_f64(),
            ttl: ttl.as_secs_f64(),
            current: true,
        });
    }
    rows.extend(session.others().await?.into_iter().map(|device| DeviceView {
        handle: device.handle.to_string(),
        label: device.label.map(|label| label.as_str().to_owned()),
        age: device.age.as_secs_f64(),
        ttl: device.ttl.as_secs_f64(),
        current: false,
    }));
    Ok(HttpResponse::Ok().json(rows))
}

/// `DELETE /devices/{handle}`: ends one other session of the user. The session of another user is
/// not found.
pub(super) async fn end_device(
    session: Session,
    handle: web::Path<String>,
) -> Result<HttpResponse, RouteError> {
    signed_in(&session).await?;
    let ended = match Handle::parse(&handle) {
        Some(handle) => session.destroy_other(handle).await?,
        None => false,
    };
    if ended { Ok(HttpResponse::NoContent().finish()) } else { Err(RouteError::NoSuchDevice) }
}

/// `POST /logout-others`: ends all other sessions of the user.
pub(super) async fn logout_others(session: Session) -> Result<HttpResponse, RouteError> {
    signed_in(&session).await?;
    Ok(HttpResponse::Ok().json(EndedCount { ended: session.destroy_others().await? }))
}

/// `POST /logout-everywhere`: ends all sessions of the user, including this one.
pub(super) async fn logout_everywhere(session: Session) -> Result<HttpResponse, RouteError> {
    signed_in(&session).await?;
    Ok(HttpResponse::Ok().json(EndedCount { ended: session.destroy_all().await? }))
}

async fn signed_in(session: &Session) -> Result<Principal, RouteError> {
    session.principal().await?.ok_or(RouteError::SignedOut)
}
