//! Black-box tests of the demo server: real processes, real sockets, real signals.
//!
//! This library is the harness. [`Demo`] starts the server as a child process, [`Browser`] visits
//! it, [`client`] sends whatever bytes an attack needs, [`chromium`] is a real browser behind a
//! real proxy, [`App`] is an application in the test's own process over a [`Watched`] store, and
//! [`Setup`] names the ways to run the demo that every HTTP check goes through. [`service`] gives
//! tests their servers of Redis, MongoDB, PostgreSQL and MariaDB. The binary under test is built
//! once for each run, or named by `DEMO_SERVER_BIN`.
//!
//! # What proves what
//! Tests carry the checklist's ids in their names, so `cargo nextest run -p tests -E 'test(h13)'`
//! runs what proves H13, and the store as a module, so that [`matrix`] can tell which line is
//! proved over which store; `scripts/test --matrix` prints that. All are in `tests/http`; what
//! concerns the Redis store alone is in `tests/redis`, and what depends on a browser is in
//! `tests/browser`. That the servers do what is asked of them is tested by the `rig` of each of
//! `tests/redis`, `tests/mongo` and `tests/sql`.
//!
//! *Setups* are `ipc`, `redis`, `redis_cluster`, `mongo`, `postgres`, `mariadb`, `sqlite` (four
//! worker processes) and `memory` (one process, four threads); where it says so also `mongo_set`, a
//! replica set. What runs against a setup is in a module of its name: `counted::mongo::h01_…`. The
//! *application* is one in the test's own process over the store of a setup, for what the demo has
//! no route for; its store counts calls and fails on request.
//!
//! *Stopped* is a server that was killed, and *hung* one that was frozen (`SIGSTOP`). SQLite has no
//! server: there a disk that gives nothing back stands for the first, and a process that stands
//! still in the middle of a commit for the second ([`service::Sqlite`]).
//!
//! | lines | module | against |
//! |---|---|---|
//! | H01 to H05, the three-quarter rule of H16 | `counted` | every setup, by what the demo counts of its store calls |
//! | H01 to H03, H05, S02, S03 | `wire` | the demo over Redis, by what goes over the line to it; H04 in `redis/round_trips` |
//! | H01 to H03, H05, S02, S03 | `wire_mongo` | the demo over MongoDB, by what the server's profiler has of it |
//! | H06 to H09 | `data` | every setup and a replica set |
//! | H10 to H13, H15 | `sign_in` | every setup and a replica set |
//! | H14, H22 to H24 | `responses` | the application over the store of every setup; H23 also every setup |
//! | H16, H17 | `lifetime` | every setup; the three-quarter rule also in `redis/round_trips` |
//! | H18, H20, H21 | `outages` | whatever keeps the sessions stopped, hung and there again: every setup but memory, and a replica set; a frozen primary |
//! | H19 | `outages` | what takes no writes: Redis, a Cluster, MongoDB, PostgreSQL, MariaDB, SQLite; a full Redis and a full Cluster; a replica set without a majority |
//! | H18 to H21 | `failing` | a store that fails on request: ipc: the demo over an owner in the test's process; memory: the application |
//! | H25 | `secrets` | every setup and a replica set, the demo at level trace, the servers as they come; outages of every setup but memory |
//! | S12 | `secrets` | an owner's whole content; all keys of Redis and of a Cluster; all documents of MongoDB and of a replica set |
//! | S01, S04, S05, S09 to S11 | `cookies` | every setup |
//! | S02, S03 | `made_up` | every store outside the demo, by what the demo has counted and by what is then stored |
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
//! | what the primary serves for Prometheus, H25 | `metrics` | the demo |
//! | S08, wrong flags, files and requests | `usage` | the demo |
//! | C45, wrong URLs, servers that cannot be used or are down | `usage_mongo`, `usage_redis`, `usage_sql` | the demo over MongoDB, Redis and SQL databases |
//! | two demos, one store; H18 after the end of all processes | `shared` | Redis, a Cluster, MongoDB, PostgreSQL, MariaDB, SQLite |
//! | the design's table of round trips | `redis/round_trips`, `mongo/round_trips`, `sql/round_trips` | the session layer over Redis, MongoDB, PostgreSQL and MariaDB |
//! | H18, H20, H21 | `failover` of `tests/redis` | the demo over Sentinel and a Cluster whose primary is killed or frozen |
//! | C27, C39, C43 and what the page of `store-redis` promises | `corrupt`, `durability`, `full`, `reach`, `reshard`, `silence` of `tests/redis` | the store on real servers |
//! | C27, C39, C43, H18, H21 and what the page of `store-mongo` promises | `corrupt`, `edges`, `explain`, `failover`, `indexes`, `logs`, `silence` of `tests/mongo` | the store on real servers |
//! | C14, C31, C35, C41, C42, C44, H18, H21 and what the page of `store-sql` promises | `crash`, `explain`, `faults`, `tables` of `tests/sql` | the store on real servers and files |
//!
//! Tests print what they measured: `--success-output final` shows it.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a harness that cannot do its part fails the test, and says what it could not do"
)]
#![expect(
    clippy::print_stderr,
    reason = "a test that fails shows what the demo and its servers said, and one that is skipped says why"
)]

mod app;
mod binary;
mod browser;
pub mod chromium;
pub mod client;
pub mod conformance;
mod counting;
mod demo;
pub mod jar;
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
