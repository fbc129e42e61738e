//! What the front page shows to who wants to use the library: its examples, its commands, and an
//! application outside this workspace.
#![expect(
    clippy::expect_used,
    reason = "a test that cannot do its part fails and says what it could not do"
)]

mod app;
mod apps;
mod commands;
mod outside;
mod page;
