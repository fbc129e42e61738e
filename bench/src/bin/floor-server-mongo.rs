//! What a careful programmer writes without a session library: actix-web, and one round trip to
//! MongoDB for each request.
//!
//! `floor-server-mongo URL WORKERS` prints its address and serves on a free port of the loopback
//! until it is killed. A session is a document of the collection `floor` with the number `n`; its
//! `_id` is what the cookie `id` says between its first two dots. Nothing is signed, checked,
//! renewed or guarded: what a session library does beyond this is what it may cost. What it
//! promises of a write is the same: a majority has it, which on a single server means that it is in
//! the journal.
//!
//! Each worker has a client of its own, made on its own thread, so that an answer wakes no other
//! thread.

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

type Failure = Box<dyn Error>;
type Sessions = Data<Collection<Document>>;

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(workers)) = (arguments.next(), arguments.next()) else {
        return Err("floor-server-mongo URL WORKERS, such as floor-server-mongo mongodb://127.0.0.1:27017/bench 2".into());
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
    tell(&server.addrs());
    server.run().await?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the caller waits for it")]
fn tell(addresses: &[std::net::SocketAddr]) {
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
    Ok(database.collection_with_options("floor", options))
}

/// One value: one round trip.
async fn read(request: HttpRequest, sessions: Sessions) -> actix_web::Result<String> {
    let found = sessions.find_one(doc! { "_id": id(&request)? }).await.map_err(unavailable)?;
    let n = found.and_then(|session| session.get_i64("n").ok());
    Ok(format!("n={n:?}"))
}

/// A number that grows by one: one round trip.
async fn add(request: HttpRequest, sessions: Sessions) -> actix_web::Result<String> {
    let update = sessions
        .find_one_and_update(doc! { "_id": id(&request)? }, doc! { "$inc": { "n": 1_i64 } });
    let after = update.return_document(ReturnDocument::After).await.map_err(unavailable)?;
    let n = after
        .and_then(|session| session.get_i64("n").ok())
        .ok_or_else(|| ErrorUnauthorized("no session"))?;
    Ok(format!("n={n}"))
}

/// The same without care for what happens in between: two round trips.
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

/// The whole session as JSON, as long as the page of the demo's `GET /session`: one round trip.
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
        "{{\"handle\":\"AAAAAAAAAAAAAAAAAAAAAA\",\"principal\":null,\"age\":10.001,\"ttl\":1789.999,\"data\":{{{}}}}}",
        data.join(",")
    );
    Ok(HttpResponse::Ok().content_type("application/json").body(page))
}

/// The session's id, by what the cookie says.
fn id(request: &HttpRequest) -> actix_web::Result<String> {
    let headers = request.headers().get_all(COOKIE).filter_map(|header| header.to_str().ok());
    let value = headers
        .flat_map(|header| header.split(';'))
        .find_map(|pair| pair.trim_start().strip_prefix("id="));
    let id = value.and_then(|value| value.split('.').nth(1)).filter(|id| !id.is_empty());
    Ok(id.ok_or_else(|| ErrorUnauthorized("no cookie"))?.to_owned())
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` calls it")]
fn unavailable(error: mongodb::error::Error) -> actix_web::Error {
    ErrorInternalServerError(error.to_string())
}
