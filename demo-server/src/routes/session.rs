//! Routes that read and change the values of a session.

use std::{collections::BTreeMap, time::Duration};

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use session_actix::Session;
use session_core::Json;

use super::{error::RouteError, name::NameInPath};

/// The longest wait of `/slow`, in milliseconds.
const MAX_SLOW_MS: u64 = 10_000;

#[derive(Debug, Serialize)]
struct SessionView {
    handle: Option<String>,
    principal: Option<String>,
    age: Option<f64>,
    ttl: Option<f64>,
    /// The stored JSON texts, so that each number keeps all its digits.
    data: BTreeMap<String, Box<RawValue>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct AddQuery {
    by: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct SlowQuery {
    ms: Option<u64>,
}

/// `GET /`: counts the visits of a client.
pub(super) async fn count(session: Session) -> Result<String, RouteError> {
    let visits = session.add("count", 1).await?;
    let handle = session.handle().await?.map(|handle| handle.to_string()).unwrap_or_default();
    Ok(format!("hello, session id:{handle} count:{}\n", visits - 1))
}

/// `GET /session`: handle, principal, age, remaining lifetime and data of the session.
pub(super) async fn show(session: Session) -> Result<HttpResponse, RouteError> {
    let mut data = BTreeMap::new();
    for name in session.names().await? {
        if let Some(value) = session.json(name.as_str()).await? {
            // A stored value is always valid JSON.
            let raw = RawValue::from_string(value.as_str().to_owned())
                .map_err(|error| RouteError::BadRequest(error.to_string()))?;
            data.insert(name.as_str().to_owned(), raw);
        }
    }
    Ok(HttpResponse::Ok().json(SessionView {
        handle: session.handle().await?.map(|handle| handle.to_string()),
        principal: session.principal().await?.map(|principal| principal.to_string()),
        age: session.age().await?.map(|age| age.as_secs_f64()),
        ttl: session.ttl().await?.map(|ttl| ttl.as_secs_f64()),
        data,
    }))
}

/// `PUT /session/{name}`: stores the JSON body under the name.
pub(super) async fn insert(
    session: Session,
    NameInPath(name): NameInPath,
    body: web::Bytes,
) -> Result<HttpResponse, RouteError> {
    let bad_request = |reason: &dyn std::fmt::Display| {
        RouteError::BadRequest(format!(
            "the body must be one JSON value, such as \"dark\" or 7: {reason}"
        ))
    };
    let text = std::str::from_utf8(&body).map_err(|error| bad_request(&error))?;
    let value = Json::from_text(text).map_err(|error| bad_request(&error))?;
    session.insert_json(&name, value)?;
    Ok(HttpResponse::NoContent().finish())
}

/// `DELETE /session/{name}`: removes the value.
pub(super) async fn remove(
    session: Session,
    NameInPath(name): NameInPath,
) -> Result<HttpResponse, RouteError> {
    session.remove(&name)?;
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /session/{name}/add?by=N`: adds N to an integer (1 by default), and returns the sum.
pub(super) async fn add(
    session: Session,
    NameInPath(name): NameInPath,
    query: web::Query<AddQuery>,
) -> Result<HttpResponse, RouteError> {
    Ok(HttpResponse::Ok().json(session.add(&name, query.by.unwrap_or(1)).await?))
}

/// `POST /session/{name}/update`: adds 1 to an integer by read, compute and conditional write. The
/// write fails and is repeated if another request has changed the value.
pub(super) async fn update(
    session: Session,
    NameInPath(name): NameInPath,
) -> Result<HttpResponse, RouteError> {
    let next =
        session.update::<i64>(&name, |value| Some(value.unwrap_or(0).saturating_add(1))).await?;
    Ok(HttpResponse::Ok().json(next))
}

/// `GET /slow?ms=N`: reads, waits N milliseconds, then writes. Shows what happens to a request in
/// flight.
pub(super) async fn slow(
    session: Session,
    query: web::Query<SlowQuery>,
) -> Result<String, RouteError> {
    let wait = query.ms.unwrap_or(1_000);
    if wait > MAX_SLOW_MS {
        return Err(RouteError::BadRequest(format!("ms is {wait}; use 0 to {MAX_SLOW_MS}")));
    }
    let slow = session.get::<i64>("slow").await?.unwrap_or(0).saturating_add(1);
    actix_web::rt::time::sleep(Duration::from_millis(wait)).await;
    session.insert("slow", &slow)?;
    Ok(format!("slow:{slow}\n"))
}
