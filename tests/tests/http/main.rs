//! The behaviours of the checklist, over HTTP. The harness's page has the table of what proves what.
#![expect(clippy::expect_used, reason = "a test that cannot do its part fails and says what it could not do")]
#![expect(clippy::print_stdout, reason = "the figures that a test measured, for --nocapture")]

/// Turns checks over a [`Setup`](tests::Setup) into one test for each setup: `ipc::h07_…`, `redis::h07_…`.
macro_rules! on_every_setup {
    ($($check:ident),+ $(,)?) => {
        on_setup!(ipc, $($check),+);
        on_setup!(memory, $($check),+);
        on_setup!(redis, $($check),+);
        on_setup!(redis_cluster, $($check),+);
    };
}

/// Turns checks over a [`Setup`](tests::Setup) into tests of this one.
macro_rules! on_setup {
    ($setup:ident, $($check:ident),+ $(,)?) => {
        mod $setup {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let Some(setup) = tests::Setup::$setup().await else { return };
                super::$check(&setup).await;
            })+
        }
    };
}

/// Turns checks into tests of one setup, made as it says, whose server they stop and freeze.
macro_rules! with_hands_on {
    ($module:ident = $setup:expr, $($check:ident),+ $(,)?) => {
        mod $module {
            use super::*;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let Some(mut setup) = $setup.await else { return };
                super::$check(&mut setup).await;
            })+
        }
    };
}

/// Turns checks over an [`App`](tests::App) into one test for each way to reach the store.
macro_rules! on_every_reach {
    ($($check:ident),+ $(,)?) => {
        mod ipc {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                super::$check(tests::Reach::Ipc).await;
            })+
        }
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                super::$check(tests::Reach::Memory).await;
            })+
        }
    };
}

mod cluster;
mod cookies;
mod counted;
mod data;
mod edge;
mod ids;
mod ipc_abuse;
mod lifetime;
mod outages;
mod responses;
mod secrets;
mod shared;
mod sign_in;
mod timing;
mod usage;
mod usage_redis;
mod wire;
