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

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    error::{ErrorInternalServerError, ErrorUnauthorized},
    http::header::COOKIE,
    web::{self, Data},
};
use mongodb::{
    Client, Collection,
    bson::{Document, doc},
    options::{ReturnDocument, WriteConcern},
};

type BoxError = Box<dyn Error>;
type Sessions = Data<Collection<Document>>;

#[actix_web::main]
async fn main() -> Result<(), BoxError> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(workers)) = (arguments.next(), arguments.next()) else {
        return Err("usage: baseline-server-mongo URL WORKERS, such as \
             baseline-server-mongo mongodb://127.0.0.1:27017/bench 2"
            .into());
    };
    let app = move || {
        let url = url.clone();
        App::new()
            .data_factory(move || connect(url.clone()))
            .route("/untouched", web::get().to(async || "hello, world"))
            .route("/read", web::get().to(read))
            .route("/add", web::get().to(add))
            .route("/read-insert", web::get().to(read_insert))
            .route("/page", web::get().to(page))
    };
    let server = HttpServer::new(app).workers(workers.parse()?).bind("127.0.0.1:0")?;
    print_addresses(&server.addrs());
    server.run().await?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the caller reads the address from standard output")]
fn print_addresses(addresses: &[std::net::SocketAddr]) {
    for address in addresses {
        println!("http://{address}");
    }
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
    let found = sessions.find_one(doc! { "_id": id(&request)? }).await.map_err(unavailable)?;
    let n = found.and_then(|session| session.get_i64("n").ok());
    Ok(format!("n={n:?}"))
}

/// Increments a number: one round trip.
async fn add(request: HttpRequest, sessions: Sessions) -> actix_web::Result<String> {
    let update = sessions
        .find_one_and_update(doc! { "_id": id(&request)? }, doc! { "$inc": { "n": 1_i64 } });
    let after = update.return_document(ReturnDocument::After).await.map_err(unavailable)?;
    let n = after
        .and_then(|session| session.get_i64("n").ok())
        .ok_or_else(|| ErrorUnauthorized("no session"))?;
    Ok(format!("n={n}"))
}

/// Reads a number and writes the next one, without protection against concurrent writes: two round
/// trips.
async fn read_insert(request: HttpRequest, sessions: Sessions) -> actix_web::Result<String> {
    let id = id(&request)?;
    let found = sessions.find_one(doc! { "_id": id.as_str() }).await.map_err(unavailable)?;
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
        .find_one(doc! { "_id": id(&request)? })
        .await
        .map_err(unavailable)?
        .unwrap_or_default();
    let data: Vec<String> = found
        .iter()
        .filter(|(name, _)| *name != "_id")
        .map(|(name, value)| format!("\"{name}\":{}", value.as_i64().unwrap_or(0)))
        .collect();
    let page = format!(
        "{{\"handle\":\"AAAAAAAAAAAAAAAAAAAAAA\",\"principal\":null,\"age\":10.001,\
         \"ttl\":1789.999,\"data\":{{{}}}}}",
        data.join(",")
    );
    Ok(HttpResponse::Ok().content_type("application/json").body(page))
}

/// The id of the session that the cookie names.
fn id(request: &HttpRequest) -> actix_web::Result<String> {
    let headers = request.headers().get_all(COOKIE).filter_map(|header| header.to_str().ok());
    let value = headers
        .flat_map(|header| header.split(';'))
        .find_map(|pair| pair.trim_start().strip_prefix("id="));
    let id = value.and_then(|value| value.split('.').nth(1)).filter(|id| !id.is_empty());
    Ok(id.ok_or_else(|| ErrorUnauthorized("no cookie"))?.to_owned())
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` passes the error by value")]
fn unavailable(error: mongodb::error::Error) -> actix_web::Error {
    ErrorInternalServerError(error.to_string())
}
