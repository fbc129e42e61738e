//! Signing in and out, and the devices of a user.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use session_actix::Session;
use session_core::{Handle, Principal};

use super::error::Failure;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    user: String,
}

#[derive(Debug, Serialize)]
struct Row {
    handle: String,
    age: f64,
    ttl: f64,
    current: bool,
}

#[derive(Debug, Serialize)]
struct Ended {
    ended: u64,
}

/// `POST /login`: signs the user in who is named. A demo asks for no password.
pub(super) async fn login(session: Session, body: web::Bytes) -> Result<HttpResponse, Failure> {
    let wrong = |why: &dyn std::fmt::Display| Failure::BadRequest(format!("send {{\"user\":\"name\"}}: {why}"));
    let login: Login = serde_json::from_slice(&body).map_err(|error| wrong(&error))?;
    let principal = Principal::new(&login.user).map_err(|error| wrong(&error))?;
    session.sign_in(principal);
    Ok(HttpResponse::Ok().json(login))
}

/// `POST /logout`: ends the session. Fine if there is none.
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
    if let (Some(handle), Some(age), Some(ttl)) = (session.handle().await?, session.age().await?, session.ttl().await?) {
        rows.push(Row { handle: handle.to_string(), age: age.as_secs_f64(), ttl: ttl.as_secs_f64(), current: true });
    }
    rows.extend(session.others().await?.into_iter().map(|device| Row {
        handle: device.handle.to_string(),
        age: device.age.as_secs_f64(),
        ttl: device.ttl.as_secs_f64(),
        current: false,
    }));
    Ok(HttpResponse::Ok().json(rows))
}

/// `DELETE /devices/{handle}`: signs one other device of the user out. Somebody else's handle is as unknown as a made-up one.
pub(super) async fn end_device(session: Session, handle: web::Path<String>) -> Result<HttpResponse, Failure> {
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
