//! The guarantees that depend on a browser: Chromium over TLS and HTTP/2, through nginx, with four
//! workers.
#![expect(clippy::expect_used, reason = "a test that cannot continue fails with a message")]
#![expect(clippy::print_stdout, reason = "tests print their measurements")]

mod cookie;
mod cross_site;
mod devices;
mod renewal;
mod rig;
