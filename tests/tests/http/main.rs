//! The behaviours of the checklist, over HTTP. The harness's page has the table of what proves
//! what.
#![expect(
    clippy::expect_used,
    reason = "a test that cannot do its part fails and says what it could not do"
)]
#![expect(clippy::print_stdout, reason = "the figures that a test measured, for --nocapture")]

/// Turns checks over a [`Setup`](tests::Setup) into one test for each setup: `ipc::h07_…`,
/// `redis::h07_…`.
macro_rules! on_every_setup {
    ($($check:ident),+ $(,)?) => {
        on_setup!(ipc, $($check),+);
        on_setup!(memory, $($check),+);
        on_setup!(redis, $($check),+);
        on_setup!(redis_cluster, $($check),+);
        on_setup!(mongo, $($check),+);
        on_setup!(postgres, $($check),+);
        on_setup!(mariadb, $($check),+);
        on_setup!(sqlite, $($check),+);
    };
}

/// Turns checks that start several demos over the same sessions, or look at what is stored, into
/// one test for each store that is outside the demos. That of ipc is in an owner of its own.
macro_rules! on_every_shared_setup {
    ($($check:ident),+ $(,)?) => {
        on_setup!(ipc = tests::Setup::ipc_owner(), $($check),+);
        on_setup!(redis, $($check),+);
        on_setup!(redis_cluster, $($check),+);
        on_setup!(mongo, $($check),+);
        on_setup!(postgres, $($check),+);
        on_setup!(mariadb, $($check),+);
        on_setup!(sqlite, $($check),+);
    };
}

/// As [`on_every_setup`], and on a replica set of MongoDB too: for checks of what one worker sees
/// of another's writes, of who wins, and of what is left when a session has moved or ended. There
/// an answer waits for other members, and what is read is what a majority has.
///
/// The other checks need not run twice. To the store a set is one more server: the same commands go
/// to its primary, whose clock alone decides lifetimes, and how text is written into a document,
/// what is a cookie, and what follows from a request without a session do not depend on how many
/// members keep it.
macro_rules! on_every_setup_and_a_set {
    ($($check:ident),+ $(,)?) => {
        on_every_setup!($($check),+);
        on_setup!(mongo_set, $($check),+);
    };
}

/// Turns checks over a [`Setup`](tests::Setup) into tests of this one, or of one that is made as it
/// says.
macro_rules! on_setup {
    ($setup:ident, $($check:ident),+ $(,)?) => {
        on_setup!($setup = tests::Setup::$setup(), $($check),+);
    };
    ($module:ident = $setup:expr, $($check:ident),+ $(,)?) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let Some(setup) = $setup.await else { return };
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

mod cluster;
mod concurrency;
mod cookies;
mod failing_store;
mod forged_cookies;
mod hostile_requests;
mod ids;
mod invalid_input;
mod keys;
mod lifetime;
mod metrics;
mod mongo_commands;
mod mongo_startup;
mod outages;
mod redis_commands;
mod redis_startup;
mod reload;
mod responses;
mod secrets;
mod server_limits;
mod shared_store;
mod sign_in;
mod socket_attacks;
mod sql_startup;
mod store_calls;
mod superseded;
mod timing;
mod upgrade;
