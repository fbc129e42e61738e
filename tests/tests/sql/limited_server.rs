//! A server that accepts fewer connections than the site may open.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tests::{
    Demo, KEY, PATIENCE,
    client::{Connection, Request},
    service::{AnySql, MariaDb, Postgres},
    session::with,
    wait,
};

use crate::locks::{DirectConnection, number};

/// The connections that the server accepts.
const ACCEPTED: i64 = 20;

/// The number of connections of the site.
async fn connections(sql: &AnySql) -> i64 {
    let statement = match sql {
        AnySql::Postgres(_) => "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'",
        _ => "SELECT count(*) FROM information_schema.processlist WHERE user = 'app'",
    };
    number(sql, statement).await
}

/// The runtimes of the site: one for each thread, and one more for each worker.
const RUNTIMES: i64 = WORKERS * 3;
const WORKERS: i64 = 4;

/// Sends requests over many connections. Returns the most connections to the server that it saw.
async fn load(sql: &AnySql, demo: &Demo) -> i64 {
    const CLIENTS: usize = 64;
    const REQUESTS: usize = 2_000;
    let browser = demo.signed_in("bob").await;
    let began = Instant::now();
    let clients = (0..CLIENTS).map(|_| async {
        let mut connection = Connection::open(demo.address).await.expect("the demo accepts");
        let mut failed = Vec::new();
        for n in 0..REQUESTS.div_ceil(CLIENTS) {
            let request = if n % 4 == 0 {
                Request::post("/session/n/add?by=1")
            } else {
                Request::get("/session")
            };
            let response = connection.send(&browser.dress(request)).await.expect("an answer");
            if response.status >= 400 {
                failed.push(format!("{} {}", response.status, response.text()));
            }
        }
        failed
    });
    let failed: Vec<_> = join_all(clients).await.into_iter().flatten().collect();
    let (took, most) = (began.elapsed(), connections(sql).await);
    eprintln!("d04: {REQUESTS} requests, {} failed, {took:?}, {most} connections", failed.len());
    assert!(failed.is_empty(), "{} failed: {:?}", failed.len(), failed.first());
    most
}

async fn site(url: &str, flags: &[&str]) -> Demo {
    let arguments = ["--listen", "127.0.0.1:0", "--cookie-key", KEY, "--store", "sql"];
    let workers = ["--workers", "4", "--threads", "2", "--store-url", url];
    Demo::start_with(&[&arguments, &workers, flags].concat(), &[]).await
}

async fn no_request_fails(sql: AnySql, url: &str) {
    // The site may open 96 connections.
    let mut demo = site(url, &[]).await;
    load(&sql, &demo).await;
    wait::until("idle connections to be closed", PATIENCE, async || {
        (connections(&sql).await <= RUNTIMES).then_some(())
    })
    .await;
    let mut other = DirectConnection::open(url).await;
    other.run("SELECT 1").await;
    drop(other);
    demo.stop().await;
    wait::until("the connections of the site to end", PATIENCE, async || {
        (connections(&sql).await == 0).then_some(())
    })
    .await;
    let limit = RUNTIMES.to_string();
    let demo = site(url, &["--store-connections", &limit]).await;
    let most = load(&sql, &demo).await;
    assert!(most <= RUNTIMES, "{most} connections");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d04_no_request_fails_at_the_limit_of_postgres() {
    let limit = format!("max_connections={ACCEPTED}");
    let Some(postgres) = Postgres::start_with(&["-c", &limit]).await else { return };
    ours!(postgres.port());
    let url = postgres.url();
    no_request_fails(AnySql::Postgres(postgres), &url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d04_no_request_fails_at_the_limit_of_mariadb() {
    let limit = format!("--max-connections={ACCEPTED}");
    let Some(mariadb) = MariaDb::start_with(&[&limit]).await else { return };
    ours!(mariadb.port());
    let url = mariadb.url();
    no_request_fails(AnySql::MariaDb(mariadb), &url).await;
}

/// A process without a connection gets the first one that another program gives back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d04_call_waits_for_a_connection_of_another_program() {
    const HELD: Duration = Duration::from_millis(500);
    let flags = ["-c", "max_connections=6", "-c", "superuser_reserved_connections=2"];
    let Some(postgres) = Postgres::start_with(&flags).await else { return };
    ours!(postgres.port());
    let url = postgres.url();
    let others: Vec<_> = join_all((0..4).map(|_| DirectConnection::open(&url))).await;
    let release = async {
        tokio::time::sleep(HELD).await;
        drop(others);
    };
    let began = Instant::now();
    let store_url = with(&url, "deadline_ms=10000");
    let (store, ()) = tokio::join!(crate::locks::connect(&store_url), release);
    assert!(began.elapsed() >= HELD, "the server had no connection for the store");
    crate::tables::works(&store).await;
}
