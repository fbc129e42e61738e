//! The behaviours of the checklist that depend on what a browser does, in Chromium, over TLS and
//! HTTP/2 through nginx, over four workers.
#![expect(
    clippy::expect_used,
    reason = "a test that cannot do its part fails and says what it could not do"
)]
#![expect(clippy::print_stdout, reason = "the figures that a test measured, for --nocapture")]

mod cookie;
mod cross_site;
mod devices;
mod renewal;
mod rig;
