//! The metrics and traces of store calls, sessions and cookies.
#![expect(clippy::unwrap_used, reason = "a test fails if its setup fails")]

mod calls;
mod log_lines;
mod recorder;
mod scripted;
mod secrets;
mod session;
mod trace_log;
