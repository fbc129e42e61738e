//! The values of a session.

use std::{collections::BTreeMap, time::Duration};

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use session_actix::Session;
use session_core::Json;

use super::{error::Failure, name::NameInPath};

/// The longest that `/slow` waits.
const SLOWEST: u64 = 10_000;

#[derive(Debug, Serialize)]
struct Shown {
    handle: Option<String>,
    principal: Option<String>,
    age: Option<f64>,
    ttl: Option<f64>,
    /// The JSON texts as they are stored, so that every number is shown with all its digits.
    data: BTreeMap<String, Box<RawValue>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct By {
    by: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Wait {
    ms: Option<u64>,
}

/// `GET /`: counts the visits of a browser.
pub(super) async fn count(session: Session) -> Result<String, Failure> {
    let visits = session.add("count", 1).await?;
    let handle = session.handle().await?.map(|handle| handle.to_string()).unwrap_or_default();
    Ok(format!("hello, session id:{handle} count:{}\n", visits - 1))
}

/// `GET /session`: everything about it but its id.
pub(super) async fn show(session: Session) -> Result<HttpResponse, Failure> {
    let mut data = BTreeMap::new();
    for name in session.names().await? {
        if let Some(value) = session.json(name.as_str()).await? {
            // A stored value is always well-formed JSON text.
            let raw = RawValue::from_string(value.as_str().to_owned())
                .map_err(|error| Failure::BadRequest(error.to_string()))?;
            data.insert(name.as_str().to_owned(), raw);
        }
    }
    Ok(HttpResponse::Ok().json(Shown {
        handle: session.handle().await?.map(|handle| handle.to_string()),
        principal: session.principal().await?.map(|principal| principal.to_string()),
        age: session.age().await?.map(|age| age.as_secs_f64()),
        ttl: session.ttl().await?.map(|ttl| ttl.as_secs_f64()),
        data,
    }))
}

/// `PUT /session/{name}`: the body is the value, as JSON.
pub(super) async fn insert(
    session: Session,
    NameInPath(name): NameInPath,
    body: web::Bytes,
) -> Result<HttpResponse, Failure> {
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::BadRequest(format!(
            "the body must be one JSON value, such as \"dark\" or 7: {why}"
        ))
    };
    let text = std::str::from_utf8(&body).map_err(|error| wrong(&error))?;
    let value = Json::from_text(text).map_err(|error| wrong(&error))?;
    session.insert_json(&name, value)?;
    Ok(HttpResponse::NoContent().finish())
}

/// `DELETE /session/{name}`.
pub(super) async fn remove(
    session: Session,
    NameInPath(name): NameInPath,
) -> Result<HttpResponse, Failure> {
    session.remove(&name)?;
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /session/{name}/add?by=N`: adds to an integer, 1 if nothing is said, and answers with the
/// sum.
pub(super) async fn add(
    session: Session,
    NameInPath(name): NameInPath,
    by: web::Query<By>,
) -> Result<HttpResponse, Failure> {
    Ok(HttpResponse::Ok().json(session.add(&name, by.by.unwrap_or(1)).await?))
}

/// `POST /session/{name}/update`: the same by one, by reading, computing and writing only if nobody
/// wrote in between.
pub(super) async fn update(
    session: Session,
    NameInPath(name): NameInPath,
) -> Result<HttpResponse, Failure> {
    let next =
        session.update::<i64>(&name, |value| Some(value.unwrap_or(0).saturating_add(1))).await?;
    Ok(HttpResponse::Ok().json(next))
}

/// `GET /slow?ms=N`: reads, waits, then writes, for watching what happens to a request in flight.
pub(super) async fn slow(session: Session, wait: web::Query<Wait>) -> Result<String, Failure> {
    let wait = wait.ms.unwrap_or(1_000);
    if wait > SLOWEST {
        return Err(Failure::BadRequest(format!("ms can be 0 to {SLOWEST}; {wait} came")));
    }
    let slow = session.get::<i64>("slow").await?.unwrap_or(0).saturating_add(1);
    actix_web::rt::time::sleep(Duration::from_millis(wait)).await;
    session.insert("slow", &slow)?;
    Ok(format!("slow:{slow}\n"))
}
