//! The guarantees over HTTP (H), against attacks (S) and of the cluster (K). `tests/src/lib.rs`
//! lists the modules of each guarantee.
#![expect(clippy::expect_used, reason = "a test that cannot continue fails with a message")]
#![expect(clippy::print_stdout, reason = "tests print their measurements")]

/// Makes one test per setup of each check: `ipc::h07_…`, `redis::h07_…`. A check is a function of a
/// [`Setup`](tests::Setup).
macro_rules! on_every_setup {
    ($($check:ident),+ $(,)?) => {
        on_setup!(ipc, $($check),+);
        on_setup!(memory, $($check),+);
        on_every_server!($($check),+);
    };
}

/// Makes one test of each check per store outside the demos: for checks that start several demos
/// with the same sessions, or that read the stored records. With ipc a separate owner process has
/// the sessions.
macro_rules! on_every_shared_setup {
    ($($check:ident),+ $(,)?) => {
        on_setup!(ipc = tests::Setup::ipc_owner(), $($check),+);
        on_every_server!($($check),+);
    };
}

/// Makes one test of each check per server or file of sessions.
macro_rules! on_every_server {
    ($($check:ident),+ $(,)?) => {
        on_setup!(redis, $($check),+);
        on_setup!(redis_cluster, $($check),+);
        on_setup!(mongo, $($check),+);
        on_setup!(postgres, $($check),+);
        on_setup!(mariadb, $($check),+);
        on_setup!(sqlite, $($check),+);
    };
}

/// As [`on_every_setup`], and also over a replica set of MongoDB: for checks of visibility between
/// workers, of conflicts, and of rotated and ended sessions. In a set, writes wait for other
/// members, and reads return the data of a majority.
///
/// The other checks do not depend on the number of members: the store sends the same commands to
/// the primary, and only the clock of the primary decides about lifetimes.
macro_rules! on_every_setup_and_a_set {
    ($($check:ident),+ $(,)?) => {
        on_every_setup!($($check),+);
        on_setup!(mongo_set, $($check),+);
    };
}

/// Makes one test of each check over this setup, or over the setup of the expression.
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

/// Makes one test of each check over the setup of the expression. The checks stop and freeze its
/// server.
macro_rules! on_own_setup {
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

/// Makes one test of the check over each of these setups, as [`on_own_setup`].
macro_rules! on_own_setups {
    ($check:ident; $($module:ident = $setup:expr),+ $(,)?) => {
        $(on_own_setup!($module = $setup, $check);)+
    };
}

mod check;
mod cluster;
mod commands;
mod concurrency;
mod cookies;
mod deployment;
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
mod startup;
mod store_calls;
mod superseded;
mod timing;
mod unix_socket;
mod upgrade;
