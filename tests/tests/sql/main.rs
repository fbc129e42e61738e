//! Tests of `store-sql` on real databases.
#![expect(clippy::expect_used, reason = "a failed precondition ends the test with a message")]
#![expect(clippy::print_stderr, reason = "with --nocapture the tests show what they measured")]

/// Unwraps the result of an operation on a server. If another process owns the server, the test
/// prints the reason and returns.
macro_rules! ours {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(not_ours) => return eprintln!("{not_ours}"),
        }
    };
}

/// Declares a test on one database for each check.
macro_rules! on_database {
    ($database:ident, $($check:ident),+ $(,)?) => {
        mod $database {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let Some(sql) = tests::service::AnySql::$database().await else { return };
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
mod conformance;
mod connections;
mod crash;
mod explain;
mod faults;
mod locks;
mod model;
mod pages;
mod retries;
mod rig;
mod round_trips;
mod sessions;
mod statement_log;
mod tables;
