//! Databases as providers run them: with demands on tables, at IPv6 addresses.

use tests::service::{MariaDb, Postgres};

use crate::{
    locks::{PATIENT, connect},
    tables::works,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d02_mariadb_that_demands_a_primary_key_works() {
    let Some(mariadb) = MariaDb::start_with(&["--innodb-force-primary-key=ON"]).await else {
        return;
    };
    let refused = mariadb.ask("CREATE TABLE bare (n int)").await;
    let _ = refused.expect_err("the server refuses a table without a primary key");
    works(&connect(&format!("{}?{PATIENT}", mariadb.url())).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d02_postgres_that_publishes_all_tables_works() {
    let Some(postgres) = Postgres::start_with(&["-c", "wal_level=logical"]).await else { return };
    let published = postgres.ask("CREATE PUBLICATION everything FOR ALL TABLES").await;
    let _ = published.expect("an administrator publishes all tables");
    let refused = postgres
        .ask("CREATE TABLE bare (n int); INSERT INTO bare VALUES (1); DELETE FROM bare")
        .await;
    let _ = refused.expect_err("the server refuses to change a table without a primary key");
    works(&connect(&format!("{}?{PATIENT}", postgres.url())).await).await;
}

/// The URL with the IPv6 address of this machine.
fn at_ipv6(url: &str) -> String {
    let at_ipv6 = url.replace("@127.0.0.1:", "@[::1]:");
    assert_ne!(at_ipv6, url, "the URL has an IPv4 address");
    at_ipv6
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d06_postgres_at_an_ipv6_address_works() {
    let flags = ["-c", "listen_addresses=127.0.0.1,::1"];
    let Some(postgres) = Postgres::start_with(&flags).await else { return };
    ours!(postgres.port());
    let url = at_ipv6(&postgres.url());
    works(&connect(&format!("{url}?{PATIENT}")).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d06_mariadb_at_an_ipv6_address_works() {
    let flags = ["--bind-address=127.0.0.1,::1"];
    let Some(mariadb) = MariaDb::start_with(&flags).await else { return };
    ours!(mariadb.port());
    works(&connect(&format!("{}?{PATIENT}", at_ipv6(&mariadb.url()))).await).await;
}
