//! Signing in and out, proofs of identity, and the devices of a user.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use session_actix::Session;
use session_core::{Handle, InvalidShortText, Principal, SignIn, StreamEnd};

use super::error::Failure;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    user: String,
    /// For how many seconds the browser and the session remember the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    remember: Option<u64>,
    /// The most sessions of this user; the oldest end.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_sessions: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proof {
    acr: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Within {
    seconds: u64,
}

#[derive(Debug, Serialize)]
struct Authentication {
    within: bool,
    acr: Option<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    handle: String,
    label: Option<String>,
    age: f64,
    ttl: f64,
    current: bool,
}

#[derive(Debug, Serialize)]
struct Ended {
    ended: u64,
}

/// `POST /login`: signs in the user whom the body names. A demo asks for no password.
pub(super) async fn login(session: Session, body: web::Bytes) -> Result<HttpResponse, Failure> {
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::BadRequest(format!("send {{\"user\":\"name\"}}: {why}"))
    };
    let login: Login = serde_json::from_slice(&body).map_err(|error| wrong(&error))?;
    let sign_in = options(&login, Principal::new(&login.user).map_err(|error| wrong(&error))?)
        .map_err(|error| wrong(&error))?;
    session.sign_in(sign_in);
    Ok(HttpResponse::Ok().json(login))
}

fn options(login: &Login, principal: Principal) -> Result<SignIn, InvalidShortText> {
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

/// `POST /reauthenticate`: the user proves once more who they are, with `{"acr":"mfa"}` at another
/// strength. A demo believes it.
pub(super) async fn reauthenticate(
    session: Session,
    body: web::Bytes,
) -> Result<HttpResponse, Failure> {
    signed_in(&session).await?;
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::BadRequest(format!("send nothing or {{\"acr\":\"mfa\"}}: {why}"))
    };
    let proof: Proof = if body.is_empty() {
        Proof::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| wrong(&error))?
    };
    match proof.acr {
        Some(acr) => session.reauthenticated_with(acr).map_err(|error| wrong(&error))?,
        None => session.reauthenticated(),
    }
    Ok(HttpResponse::NoContent().finish())
}

/// `GET /authenticated?seconds=N`: whether the user proved who they are within so many seconds, and
/// how strongly.
pub(super) async fn authenticated(
    session: Session,
    within: web::Query<Within>,
) -> Result<HttpResponse, Failure> {
    let acr = session.acr().await?.map(|acr| acr.as_str().to_owned());
    let within = session.authenticated_within(Duration::from_secs(within.seconds)).await?;
    Ok(HttpResponse::Ok().json(Authentication { within, acr }))
}

/// `POST /credentials-changed`: ends all sessions of the user and goes on under a new key, as after
/// a change of the password.
pub(super) async fn credentials_changed(session: Session) -> Result<HttpResponse, Failure> {
    signed_in(&session).await?;
    Ok(HttpResponse::Ok().json(Ended { ended: session.credentials_changed().await? }))
}

/// `GET /watch`: server-sent events, one at once and one when the session has ended.
pub(super) async fn watch(session: Session) -> Result<HttpResponse, Failure> {
    signed_in(&session).await?;
    let first = stream::once(async {
        Ok::<_, std::io::Error>(web::Bytes::from_static(b"data: signed in\n\n"))
    });
    let last = stream::once(async move {
        Ok(web::Bytes::from_static(match session.ended().await {
            StreamEnd::Ended => b"data: ended\n\n",
            StreamEnd::Outage => b"data: outage\n\n",
        }))
    });
    Ok(HttpResponse::Ok().content_type("text/event-stream").streaming(first.chain(last)))
}

/// `POST /logout`: ends the session. Succeeds if there is none.
pub(super) async fn logout(session: Session) -> Result<HttpResponse, Failure> {
    session.destroy().await?;
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /renew`: gives the session a new id.
pub(super) async fn renew(session: Session) -> HttpResponse {
    session.renew();
    HttpResponse::NoContent().finish()
}

/// `GET /devices`: where the user is signed in, by public handle, this session first.
pub(super) async fn devices(session: Session) -> Result<HttpResponse, Failure> {
    signed_in(&session).await?;
    let mut rows = Vec::new();
    if let (Some(handle), Some(age), Some(ttl)) =
        (session.handle().await?, session.age().await?, session.ttl().await?)
    {
        rows.push(Row {
            handle: handle.to_string(),
            label: None,
            age: age.as_secs_f64(),
            ttl: ttl.as_secs_f64(),
            current: true,
        });
    }
    rows.extend(session.others().await?.into_iter().map(|device| Row {
        handle: device.handle.to_string(),
        label: device.label.map(|label| label.as_str().to_owned()),
        age: device.age.as_secs_f64(),
        ttl: device.ttl.as_secs_f64(),
        current: false,
    }));
    Ok(HttpResponse::Ok().json(rows))
}

/// `DELETE /devices/{handle}`: signs one other device of the user out. The handle of another user's
/// device is unknown.
pub(super) async fn end_device(
    session: Session,
    handle: web::Path<String>,
) -> Result<HttpResponse, Failure> {
    signed_in(&session).await?;
    let ended = match Handle::parse(&handle) {
        Some(handle) => session.destroy_other(handle).await?,
        None => false,
    };
    if ended { Ok(HttpResponse::NoContent().finish()) } else { Err(Failure::NoSuchDevice) }
}

/// `POST /logout-others`: signs all other devices of the user out.
pub(super) async fn logout_others(session: Session) -> Result<HttpResponse, Failure> {
    signed_in(&session).await?;
    Ok(HttpResponse::Ok().json(Ended { ended: session.destroy_others().await? }))
}

/// `POST /logout-everywhere`: signs all devices of the user out, this one too.
pub(super) async fn logout_everywhere(session: Session) -> Result<HttpResponse, Failure> {
    signed_in(&session).await?;
    Ok(HttpResponse::Ok().json(Ended { ended: session.destroy_all().await? }))
}

async fn signed_in(session: &Session) -> Result<Principal, Failure> {
    session.principal().await?.ok_or(Failure::SignedOut)
}
