//! The baseline for `bench/compare` over MongoDB: actix-web and one command to MongoDB for each
//! request, written by hand without a session library.
//!
//! `baseline-server-mongo URL WORKERS` prints its address and serves on a free port of the loopback
//! interface until it is killed. A session is a document of the collection `baseline` with the
//! number `n`. Its `_id` is the part of the cookie `id` between its first two dots. The baseline
//! does not sign, check, renew or protect sessions, so the comparison shows the cost of these
//! features. Its writes are as durable as those of the library: a majority of the servers has the
//! write. On a single server this means that the write is in the journal.
//!
//! Each worker creates its own client on its own thread, so a reply wakes up only that thread.

use std::error::Error;

use actix_web::{HttpRequest, HttpResponse, error::ErrorUnauthorized, web::Data};
use bench::{baseline_arguments, session_id, session_page, unavailable};
use mongodb::{
    Client, Collection,
    bson::{Document, doc},
    options::{ReturnDocument, WriteConcern},
};

type BoxError = Box<dyn Error>;
type Sessions = Data<Collection<Document>>;

#[actix_web::main]
async fn main() -> Result<(), BoxError> {
    let (url, workers) =
        baseline_arguments("baseline-server-mongo", "mongodb://127.0.0.1:27017/bench")?;
    bench::serve_baseline!(url, connect, workers)
}

async fn connect(url: String) -> Result<Collection<Document>, mongodb::error::Error> {
    let client = Client::with_uri_str(url).await?;
    let database = client.default_database().unwrap_or_else(|| client.database("bench"));
    let options = mongodb::options::CollectionOptions::builder()
        .write_concern(WriteConcern::majority())
        .build();
    Ok(database.collection_with_options("baseline", options))
}

/// Reads one value: one round trip.
async fn read(request: HttpRequest, sessions: Sessions) -> actix_web::Result<String> {
    let found =
        sessions.find_one(doc! { "_id": session_id(&request)? }).await.map_err(unavailable)?;
    let n = found.and_then(|session| session.get_i64("n").ok());
    Ok(format!("n={n:?}"))
}

/// Increments a number: one round trip.
async fn add(request: HttpRequest, sessions: Sessions) -> actix_web::Result<String> {
    let update = sessions.find_one_and_update(
        doc! { "_id": session_id(&request)? },
        doc! { "$inc": { "n": 1_i64 } },
    );
    let after = update.return_document(ReturnDocument::After).await.map_err(unavailable)?;
    let n = after
        .and_then(|session| session.get_i64("n").ok())
        .ok_or_else(|| ErrorUnauthorized("no session"))?;
    Ok(format!("n={n}"))
}

/// Reads a number and writes the next one, without protection against concurrent writes: two round
/// trips.
async fn read_insert(request: HttpRequest, sessions: Sessions) -> actix_web::Result<String> {
    let id = session_id(&request)?;
    let found = sessions.find_one(doc! { "_id": id }).await.map_err(unavailable)?;
    let n = found.and_then(|session| session.get_i64("n").ok()).unwrap_or(0) + 1;
    sessions
        .update_one(doc! { "_id": id }, doc! { "$set": { "n": n } })
        .await
        .map_err(unavailable)?;
    Ok(format!("n={n}"))
}

/// Returns the whole session as JSON. The body is as long as that of `GET /session` of the demo:
/// one round trip.
async fn page(request: HttpRequest, sessions: Sessions) -> actix_web::Result<HttpResponse> {
    let found = sessions
        .find_one(doc! { "_id": session_id(&request)? })
        .await
        .map_err(unavailable)?
        .unwrap_or_default();
    let data: Vec<String> = found
        .iter()
        .filter(|(name, _)| *name != "_id")
        .map(|(name, value)| format!("\"{name}\":{}", value.as_i64().unwrap_or(0)))
        .collect();
    Ok(session_page(&data.join(",")))
}
