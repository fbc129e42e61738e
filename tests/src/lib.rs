//! Black-box tests of the demo server: real processes, real sockets, real signals.
//!
//! This library is the harness. [`Demo`] starts the demo server as a child process, [`Browser`]
//! visits it, [`client`] sends the bytes of attacks, [`chromium`] is a real browser behind a real
//! proxy, [`App`] is an application in the process of the test over a [`Watched`] store, and
//! [`Setup`] is a way to run the demo: each HTTP check runs over all of them. [`service`] gives
//! tests their servers of Redis, MongoDB, PostgreSQL and MariaDB; tests that only read and write
//! share one server of each kind. The binary under test is built once for each run, or named by
//! `DEMO_SERVER_BIN`.
//!
//! # Which test proves which line
//! The names of tests have the ids of the checklist, so `cargo nextest run -p tests -E 'test(h13)'`
//! runs the tests of H13. They have the store as a module, so that [`matrix`] can tell which line
//! is proved over which store; `scripts/test --matrix` prints that. Checks of every store are in
//! `tests/http`, those of one store in `tests/redis`, `tests/mongo` and `tests/sql`, and those of a
//! browser in `tests/browser`. The module `rig` of each of the three tests this harness.
//!
//! *Setups* are `ipc`, `redis`, `redis_cluster`, `mongo`, `postgres`, `mariadb`, `sqlite` (four
//! worker processes) and `memory` (one process, four threads); for some checks also `mongo_set`, a
//! replica set. The tests of a setup are in a module of its name: `counted::mongo::h01_…`. The
//! *application* is one in the process of the test over the store of a setup, for behaviour that
//! the demo has no route for; its store counts calls and fails on request.
//!
//! A *stopped* server was killed, and a *hung* one was frozen (`SIGSTOP`). SQLite has no server: a
//! failing disk replaces the first, and a process that stops in the middle of a commit the second
//! ([`service::Sqlite`]).
//!
//! | lines | module | against |
//! |---|---|---|
//! | H01 to H05, the three-quarter rule of H16 | `counted` | every setup, by the store calls that the demo counts |
//! | H01 to H03, H05, S02, S03 | `wire` | the demo over Redis, by the commands that it sends; H04 in `redis/round_trips` |
//! | H01 to H03, H05, S02, S03 | `wire_mongo` | the demo over MongoDB, by the profiler of the server |
//! | H06 to H09 | `data` | every setup and a replica set |
//! | H10 to H13, H15 | `sign_in` | every setup and a replica set |
//! | H14, H22 to H24 | `responses` | the application over the store of every setup; H23 also every setup |
//! | H16, H17 | `lifetime` | every setup; the three-quarter rule also in `redis/round_trips` |
//! | H18, H20, H21 | `outages` | the server of the sessions stopped, hung and back: every setup but memory, and a replica set; a frozen primary |
//! | H19 | `outages` | servers that refuse writes: Redis, a Cluster, MongoDB, PostgreSQL, MariaDB, SQLite; a full Redis and a full Cluster; a replica set without a majority |
//! | H18 to H21 | `failing` | a store that fails on request: ipc: the demo over an owner in the test's process; memory: the application |
//! | H25 | `secrets` | every setup and a replica set, the demo at level trace, the logs of the servers; outages of every setup but memory |
//! | S12 | `secrets` | an owner's whole content; all keys of Redis and of a Cluster; all documents of MongoDB and of a replica set |
//! | S01, S04, S05, S09 to S11 | `cookies` | every setup |
//! | S02, S03 | `made_up` | every store outside the demo, by the calls that the demo counts and by the stored records |
//! | S06 to S08 | `keys` | every store outside the demo, which several demos share; more weak keys in `usage` |
//! | S13 | `ids` | every setup, freshly started demos; a million ids are drawn in `session-core` |
//! | S14 | `timing` | the codec, with a yardstick that leaks; lookups over every setup |
//! | S15 to S21, S23 | `edge` | every setup, S20 also a replica set |
//! | S17 behind a proxy on loopback, S23, S25, S26 in memory, S27, S29 | `hardening` | the demo |
//! | H27, H28 | `renewal` of `tests/browser` | Chromium over HTTP/2 through nginx: a renewal beside 20 parallel requests, 100 times |
//! | H30 | `devices` of `tests/browser` | two Chromium profiles, of which one renews before the other ends it |
//! | S17: the attributes of the cookie | `cookie` of `tests/browser` | Chromium, over TLS and plain http |
//! | S21, S24 | `cross_site` of `tests/browser` | forms, `fetch` and `WebSocket` from pages of another site and of another origin of the same site |
//! | S22 | `abuse::ipc` | an owner process with a demo's traffic on it |
//! | K01 to K04, K15 | `cluster` | the demo |
//! | K05 | `reload` | the demo |
//! | the metrics of the primary, H25 | `metrics` | the demo |
//! | S08, wrong flags, files and requests | `usage` | the demo |
//! | C45, wrong URLs, servers that cannot be used or are down | `usage_mongo`, `usage_redis`, `usage_sql` | the demo over MongoDB, Redis and SQL databases |
//! | two demos, one store; H18 after the end of all processes | `shared` | Redis, a Cluster, MongoDB, PostgreSQL, MariaDB, SQLite |
//! | the design's table of round trips | `redis/round_trips`, `mongo/round_trips`, `sql/round_trips` | the session layer over Redis, MongoDB, PostgreSQL and MariaDB |
//! | H18, H20, H21 | `failover` of `tests/redis` | the demo over Sentinel and a Cluster whose primary is killed or frozen |
//! | C27, C39, C43 and the promises of the page of `store-redis` | `corrupt`, `durability`, `full`, `reach`, `reshard`, `silence` of `tests/redis` | the store on real servers |
//! | C27, C39, C43, H18, H21 and the promises of the page of `store-mongo` | `corrupt`, `edges`, `explain`, `failover`, `indexes`, `logs`, `silence` of `tests/mongo` | the store on real servers |
//! | C14, C31, C35, C41, C42, C44, H18, H21 and the promises of the page of `store-sql` | `crash`, `explain`, `faults`, `tables` of `tests/sql` | the store on real servers and files |
//!
//! Tests print their measurements: `--success-output final` shows them.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a harness that cannot do its part fails the test with a message"
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
pub mod matrix;
pub mod process;
pub mod prometheus;
pub mod service;
pub mod session;
mod setup;
mod stored;
pub mod wait;
mod watched;

pub use app::App;
pub use binary::{cargo, demo_server};
pub use browser::{Browser, Page};
pub use counting::Counting;
pub use demo::{Demo, Ended, KEY, OTHER_KEY, Owner, PATIENCE};
pub use setup::{Service, Setup};
pub use stored::Stored;
pub use watched::{Calls, Outage, Watched, WatchedOwner};
