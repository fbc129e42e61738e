//! Host names: a first address that does not answer, and a slow name server.

use std::{
    net::{Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use tests::{
    Demo, PATIENCE,
    names::{DeadAddress, NAME, Names, SlowNameServer},
    service::{MariaDb, Postgres, shared_files},
    session::with,
    wait,
};

use crate::connection_urls::make_certificates;

/// The deadline of a call, below the time that connecting takes.
const DEADLINE: &str = "deadline_ms=1000";

/// The limit for a response: the deadline of the store, and time for a busy machine.
const IN_TIME: Duration = Duration::from_secs(3);

/// The URL of the server under the name of the test.
fn by_name(url: &str, settings: &str) -> String {
    let url = with(&url.replace("@127.0.0.1:", &format!("@{NAME}:")), settings);
    with(&url, DEADLINE)
}

/// Signs in until it works. Returns the number of sign-ins that were answered with 503.
async fn signs_in(demo: &Demo) -> u32 {
    let mut unavailable = 0;
    wait::until("a sign-in", PATIENCE, async || {
        let began = Instant::now();
        let response = demo.browser().login("bob").await;
        assert!(began.elapsed() < IN_TIME, "the response took {:?}", began.elapsed());
        assert!([200, 503].contains(&response.status), "{} {}", response.status, response.text());
        unavailable += u32::from(response.status == 503);
        (response.status == 200).then_some(())
    })
    .await;
    unavailable
}

/// Expects that the site works although the first address of the database does not answer.
async fn works_with_a_dead_address(store_url: &str, port: u16) {
    let Some(names) = Names::of(&["::1", "127.0.0.1"]) else { return };
    let _dead = DeadAddress::at(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await;
    let began = Instant::now();
    let demo = names.demo("sql", store_url).await;
    let mut unavailable = signs_in(&demo).await;
    eprintln!("d07: {unavailable} times 503, the site works after {:?}", began.elapsed());
    for _ in 0..40 {
        unavailable += signs_in(&demo).await;
    }
    // Each of the four threads has its own connections.
    assert!(unavailable <= 4, "{unavailable} sign-ins failed, on four threads");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d07_postgres_works_if_its_first_address_is_dead() {
    let Some(postgres) = Postgres::start().await else { return };
    let port = ours!(postgres.port());
    works_with_a_dead_address(&by_name(&postgres.url(), "table=sessions"), port).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d07_mariadb_works_if_its_first_address_is_dead() {
    let Some(mariadb) = MariaDb::start().await else { return };
    let port = ours!(mariadb.port());
    works_with_a_dead_address(&by_name(&mariadb.url(), "table=sessions"), port).await;
}

/// The certificate is checked for the name, also over the second address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d07_certificate_is_checked_over_a_second_address() {
    let folder = tempfile::tempdir_in(shared_files()).expect("a folder");
    let ca = make_certificates(folder.path(), NAME);
    let file = |name: &str| folder.path().join(name).display().to_string();
    let certificate = format!("ssl_cert_file={}", file("server.pem"));
    let key = format!("ssl_key_file={}", file("server.key"));
    let flags = ["-c", "ssl=on", "-c", &certificate, "-c", &key];
    let Some(postgres) = Postgres::start_with(&flags).await else { return };
    let port = ours!(postgres.port());
    let settings = format!("sslmode=verify-full&sslrootcert={ca}");
    works_with_a_dead_address(&by_name(&postgres.url(), &settings), port).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d07_name_server_that_needs_5_s_delays_only_the_start() {
    const DELAY: Duration = Duration::from_secs(5);
    let Some(server) = SlowNameServer::start(DELAY).await else { return };
    let Some(names) = Names::from_server(&server) else { return };
    let Some(postgres) = Postgres::start().await else { return };
    ours!(postgres.port());
    let began = Instant::now();
    let demo = names.demo("sql", &by_name(&postgres.url(), "table=sessions")).await;
    let unavailable = signs_in(&demo).await;
    let took = began.elapsed();
    eprintln!("d07: {unavailable} times 503, the site works after {took:?}");
    assert!(took > DELAY, "the name has an address only after {DELAY:?}");
    assert!(took < DELAY * 2 + IN_TIME, "the site works soon after the answer: {took:?}");
}
