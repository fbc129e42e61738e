//! What is counted and traced of store calls, sessions and cookies.
#![expect(clippy::unwrap_used, reason = "a test that cannot do its part fails")]

mod calls;
mod lines;
mod scripted;
mod secrets;
mod session;
mod tally;
