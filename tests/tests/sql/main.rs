//! SQL databases: the servers that tests are given, and what is tested on them.
#![expect(
    clippy::expect_used,
    reason = "a test that cannot do its part fails and says what it could not do"
)]
#![expect(clippy::print_stderr, reason = "the figures that a test measured, for --nocapture")]

/// What a hand on a server gave back; returns from the test, with the reason on its output, if the
/// server is not ours.
macro_rules! ours {
    ($hand:expr) => {
        match $hand {
            Ok(given) => given,
            Err(not_ours) => return eprintln!("{not_ours}"),
        }
    };
}

/// Turns checks into tests of one database.
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
mod hands;
mod heard;
mod model;
mod pages;
mod retries;
mod rig;
mod round_trips;
mod sessions;
mod tables;
