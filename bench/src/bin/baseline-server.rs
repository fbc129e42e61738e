//! The baseline for `bench/compare` over Redis: actix-web and one command to Redis for each
//! request, written by hand without a session library.
//!
//! `baseline-server URL WORKERS` prints its address and serves on a free port of the loopback
//! interface until it is killed. A session is a hash `baseline:<id>` with the number `n`. The id is
//! the part of the cookie `id` between its first two dots. The baseline does not sign, check, renew
//! or protect sessions, so the comparison shows the cost of these features.
//!
//! Each worker opens its own connection on its own thread, so a reply wakes up only that thread.
//! With one connection, made in `main`, a read takes 15.2 µs of processor time instead of 12.8, and
//! an add 14.2 instead of 12.8 (two workers, 64 connections).

use std::error::Error;

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    error::{ErrorInternalServerError, ErrorUnauthorized},
    http::header::COOKIE,
    web::{self, Data},
};
use redis::{AsyncCommands, Client, RedisError, aio::MultiplexedConnection};

type BoxError = Box<dyn Error>;
type Redis = Data<MultiplexedConnection>;

#[actix_web::main]
async fn main() -> Result<(), BoxError> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(workers)) = (arguments.next(), arguments.next()) else {
        return Err("usage: baseline-server URL WORKERS, such as \
             baseline-server redis://127.0.0.1:6379/0 2"
            .into());
    };
    let client = Client::open(url)?;
    let app = move || {
        let client = client.clone();
        App::new()
            .data_factory(move || connect(client.clone()))
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

async fn connect(client: Client) -> Result<MultiplexedConnection, RedisError> {
    client.get_multiplexed_async_connection().await
}

/// Reads one value: one round trip.
async fn read(request: HttpRequest, redis: Redis) -> actix_web::Result<String> {
    let n: Option<i64> = connection(&redis).hget(key(&request)?, "n").await.map_err(unavailable)?;
    Ok(format!("n={n:?}"))
}

/// Increments a number: one round trip.
async fn add(request: HttpRequest, redis: Redis) -> actix_web::Result<String> {
    let n: i64 = connection(&redis).hincr(key(&request)?, "n", 1).await.map_err(unavailable)?;
    Ok(format!("n={n}"))
}

/// Reads a number and writes the next one, without protection against concurrent writes: two round
/// trips.
async fn read_insert(request: HttpRequest, redis: Redis) -> actix_web::Result<String> {
    let (mut connection, key) = (connection(&redis), key(&request)?);
    let n: Option<i64> = connection.hget(&key, "n").await.map_err(unavailable)?;
    let n = n.unwrap_or(0) + 1;
    let () = connection.hset(&key, "n", n).await.map_err(unavailable)?;
    Ok(format!("n={n}"))
}

/// Returns the whole session as JSON. The body is as long as that of `GET /session` of the demo:
/// one round trip.
async fn page(request: HttpRequest, redis: Redis) -> actix_web::Result<HttpResponse> {
    let fields: Vec<(String, String)> =
        connection(&redis).hgetall(key(&request)?).await.map_err(unavailable)?;
    let data: Vec<String> =
        fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    let page = format!(
        "{{\"handle\":\"AAAAAAAAAAAAAAAAAAAAAA\",\"principal\":null,\"age\":10.001,\
         \"ttl\":1789.999,\"data\":{{{}}}}}",
        data.join(",")
    );
    Ok(HttpResponse::Ok().content_type("application/json").body(page))
}

/// A clone of the worker's connection. All clones share the socket.
fn connection(redis: &Redis) -> MultiplexedConnection {
    redis.get_ref().clone()
}

/// The key of the session that the cookie names.
fn key(request: &HttpRequest) -> actix_web::Result<String> {
    let headers = request.headers().get_all(COOKIE).filter_map(|header| header.to_str().ok());
    let value = headers
        .flat_map(|header| header.split(';'))
        .find_map(|pair| pair.trim_start().strip_prefix("id="));
    let id = value.and_then(|value| value.split('.').nth(1)).filter(|id| !id.is_empty());
    Ok(["baseline:", id.ok_or_else(|| ErrorUnauthorized("no cookie"))?].concat())
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` passes the error by value")]
fn unavailable(error: RedisError) -> actix_web::Error {
    ErrorInternalServerError(error.to_string())
}
