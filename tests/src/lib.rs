//! Black-box tests of the demo server: real processes, real sockets, real signals.
//!
//! This library is the harness. [`Demo`] starts the demo server as a child process. [`Browser`] is
//! an HTTP client with a cookie jar, [`client`] sends arbitrary bytes, and [`chromium`] is a real
//! browser behind a real proxy. [`App`] is an application that runs in the process of the test and
//! uses a [`Watched`] store. [`Setup`] is a configuration of the demo, and most HTTP checks run
//! with every setup. [`service`] starts the servers of Redis, MongoDB, PostgreSQL and MariaDB.
//! Tests that only read and write share one server of each kind. A test run builds the demo once.
//! If `DEMO_SERVER_BIN` names a binary, the run uses that binary instead.
//!
//! # Tests of each guarantee
//! The name of a test starts with the ids of its guarantees, so
//! `cargo nextest run -p tests -E 'test(h13)'` runs the tests of H13. The module path contains the
//! store, so [`matrix`] can count the tests per guarantee and store. `scripts/test --matrix` prints
//! that table. Checks of every store are in `tests/http`. Checks of one store are in `tests/redis`,
//! `tests/mongo` and `tests/sql`, and checks with a browser are in `tests/browser`. The modules
//! with the name `rig` test the harness itself.
//!
//! The *setups* are `ipc`, `redis`, `redis_cluster`, `mongo`, `postgres`, `mariadb` and `sqlite`,
//! each with four worker processes, and `memory`, with one process and four threads. Some checks
//! also use `mongo_set`, a replica set. The tests of a setup are in a module with its name:
//! `store_calls::mongo::h01_…`. The *application* tests behaviour for which the demo has no route.
//! It runs in the process of the test and uses the store of a setup. This store counts its calls,
//! and fails if the test requests that.
//!
//! In the table a *stopped* server is a killed process, and a *hung* server is a frozen process
//! (`SIGSTOP`). SQLite has no server. Its tests use a failing disk instead of a stopped server, and
//! a process that stops during a commit instead of a hung server ([`service::Sqlite`]).
//!
//! | guarantees | module | tested with |
//! |---|---|---|
//! | H01 to H05, the three-quarter rule of H16 | `store_calls` | every setup, by the store calls that the demo counts |
//! | H01 to H03, H05, S02, S03 | `redis_commands` | the demo over Redis, by its commands; H04 in `redis/round_trips` |
//! | H01 to H03, H05, S02, S03 | `mongo_commands` | the demo over MongoDB, by the profiler of the server |
//! | H06 to H09 | `concurrency` | every setup and a replica set |
//! | H10 to H13, H15 | `sign_in` | every setup and a replica set |
//! | H14, H22 to H24 | `responses` | the application over the store of every setup; H23 also every setup |
//! | H16, H17 | `lifetime` | every setup; the three-quarter rule also in `redis/round_trips` |
//! | H18, H20, H21 | `outages` | the server of the sessions stopped, hung and back: every setup but memory, and a replica set; a frozen primary |
//! | H19 | `outages` | servers that refuse writes: Redis, a Cluster, MongoDB, PostgreSQL, MariaDB, SQLite; a full Redis and a full Cluster; a replica set without a majority |
//! | H18 to H21 | `failing_store` | a store that fails on request. ipc: the demo over an owner in the test's process; memory: the application |
//! | H25 | `secrets` | every setup and a replica set, the demo at level trace, the logs of the servers; outages of every setup but memory |
//! | S12 | `secrets` | all content of an owner, all keys of Redis and of a Cluster, all documents of MongoDB and of a replica set |
//! | S01, S04, S05, S09 to S11 | `cookies` | every setup |
//! | S02, S03 | `forged_cookies` | every store outside the demo, by the counted store calls and by the stored records |
//! | S06 to S08 | `keys` | several demos over one store, with every store outside the demo; more weak keys in `invalid_input` |
//! | S13 | `ids` | every setup with new demos; `session-core` tests a million ids |
//! | S14 | `timing` | the codec, with a reference that leaks; lookups over every setup |
//! | S15 to S21, S23, S24 | `hostile_requests` | every setup, S20 also a replica set |
//! | S17 behind a proxy on loopback, S23, S25, S26 in memory, S27, S29, S30 | `server_limits` | the demo |
//! | H27 to H36, S26, S28, S31 | `superseded` | every setup; H35 over Redis and MongoDB, S26 over ipc and memory |
//! | H27, H28 | `renewal` of `tests/browser` | Chromium over HTTP/2 through nginx: a renewal during 20 parallel requests, 100 times |
//! | H30 | `devices` of `tests/browser` | two Chromium profiles: one renews before the other ends it |
//! | S17: the attributes of the cookie | `cookie` of `tests/browser` | Chromium, over TLS and plain http |
//! | S21, S24 | `cross_site` of `tests/browser` | forms, `fetch` and `WebSocket` from pages of another site and of another origin of the same site |
//! | S22 | `socket_attacks::ipc` | an owner process that serves a demo |
//! | K01 to K04, K15 | `cluster` | the demo |
//! | K05 | `reload` | the demo |
//! | upgrades of the primary | `upgrade` | the demo |
//! | the metrics of the primary, H25 | `metrics` | the demo |
//! | S08, wrong flags, files and requests | `invalid_input` | the demo |
//! | C45, wrong URLs, unusable and stopped servers | `mongo_startup`, `redis_startup`, `sql_startup` | the demo over MongoDB, Redis and SQL databases |
//! | two demos with one store; H18 after the end of all processes | `shared_store` | Redis, a Cluster, MongoDB, PostgreSQL, MariaDB, SQLite |
//! | the round trips of each call | `redis/round_trips`, `mongo/round_trips`, `sql/round_trips` | the session layer over Redis, MongoDB, PostgreSQL and MariaDB |
//! | H18, H20, H21 | `failover` of `tests/redis` | the demo over Sentinel and a Cluster whose primary is killed or frozen |
//! | D07, D11, D17 | `reconnecting`, `declared_keys` of `tests/redis` | the store and the demo: dead addresses, slow name servers, new passwords, servers that refuse undeclared keys |
//! | C27, C39, C43 and the documented guarantees of `store-redis` | `corrupt`, `durability`, `full`, `connections`, `reshard`, `unresponsive` of `tests/redis` | the store on real servers |
//! | C27, C39, C43, H18, H21 and the documented guarantees of `store-mongo` | `corrupt`, `edge_cases`, `explain`, `failover`, `indexes`, `logs`, `unresponsive` of `tests/mongo` | the store on real servers |
//! | C14, C31, C35, C41, C42, C44, H18, H21 and the documented guarantees of `store-sql` | `crash`, `explain`, `faults`, `tables` of `tests/sql` | the store on real servers and files |
//!
//! Tests print their measurements; `--success-output final` shows them.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a harness that cannot continue fails the test with a message"
)]
#![expect(
    clippy::print_stderr,
    reason = "a failed test shows the output of the demo and its servers, and a skipped test prints why"
)]

mod app;
mod binary;
mod browser;
pub mod chromium;
pub mod client;
pub mod conformance;
pub mod cookie;
mod counting;
mod demo;
mod driven;
mod error_text;
pub mod matrix;
pub mod names;
mod panicking;
pub mod process;
pub mod prometheus;
pub mod report;
mod server_content;
pub mod service;
pub mod session;
mod setup;
pub mod wait;
mod watched;

pub use app::App;
pub use binary::{cargo, demo_server};
pub use browser::{Browser, Page};
pub use counting::Counting;
pub use demo::{Demo, Ended, KEY, OTHER_KEY, Owner, PATIENCE};
pub use driven::{forged_cookies, run_request, verified_cookies};
pub use error_text::with_sources;
pub use panicking::sent_before_panic;
pub use server_content::ServerContent;
pub use setup::{Service, Setup};
pub use watched::{Calls, Outage, Watched, WatchedOwner};
