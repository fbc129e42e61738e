//! Tests of `store-sql` on real databases.
#![expect(clippy::expect_used, reason = "a failed precondition ends the test with a message")]
#![expect(clippy::print_stderr, reason = "with --nocapture the tests show what they measured")]

#[macro_use]
#[path = "../external/mod.rs"]
mod external;

/// Declares a test for each check on this database, or on the database of the expression.
macro_rules! on_database {
    ($database:ident, $($check:ident),+ $(,)?) => {
        on_database!($database = tests::service::AnySql::$database(), $($check),+);
    };
    ($module:ident = $database:expr, $($check:ident),+ $(,)?) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let Some(sql) = $database.await else { return };
                super::$check(sql).await;
            })+
        }
    };
}

/// Declares a test on each database for each check.
macro_rules! on_all_databases {
    ($($check:ident),+ $(,)?) => {
        on_database!(postgres, $($check),+);
        on_database!(mariadb, $($check),+);
        on_database!(sqlite, $($check),+);
    };
}

mod bounds;
mod certificates;
mod check;
mod conformance;
mod connection_urls;
mod connections;
mod crash;
mod deployment;
mod explain;
mod faults;
mod limited_server;
mod locks;
mod model;
mod names;
mod pages;
mod passwords;
mod poolers;
mod retries;
mod rig;
mod round_trips;
#[path = "../server_fixture/mod.rs"]
mod server_fixture;
mod server_settings;
mod sessions;
mod statement_log;
mod tables;
