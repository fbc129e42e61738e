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

use actix_web::{HttpRequest, HttpResponse, web::Data};
use bench::{baseline_arguments, session_id, session_page, unavailable};
use redis::{AsyncCommands, Client, RedisError, aio::MultiplexedConnection};

type BoxError = Box<dyn Error>;
type Redis = Data<MultiplexedConnection>;

#[actix_web::main]
async fn main() -> Result<(), BoxError> {
    let (url, workers) = baseline_arguments("baseline-server", "redis://127.0.0.1:6379/0")?;
    bench::serve_baseline!(Client::open(url)?, connect, workers)
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
    Ok(session_page(&data.join(",")))
}

/// A clone of the worker's connection. All clones share the socket.
fn connection(redis: &Redis) -> MultiplexedConnection {
    redis.get_ref().clone()
}

/// The key of the session that the cookie names.
fn key(request: &HttpRequest) -> actix_web::Result<String> {
    Ok(["baseline:", session_id(request)?].concat())
}
