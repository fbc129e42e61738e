//! Metrics and traces of sessions, for operators.
//!
//! [`observe`] wraps a store in an [`Observed`]. Then every call is counted and timed, and has a
//! span and an event of `tracing` at level `debug`. Other events are counted where they happen: the
//! store counts its retries, the session counts uses that did not extend its ttl, and the cookie
//! codec counts refused values.
//!
//! Metrics go to the recorder of the crate [`metrics`](https://docs.rs/metrics). The program
//! installs the recorder *before* it makes a store `Observed`. Without the feature `metrics`, or
//! without a recorder, nothing is counted. Traces need no feature.
//!
//! # Names
//!
//! | name | kind | labels | counts |
//! |---|---|---|---|
//! | `session_store_calls_total` | counter | `store`, `operation`, `outcome` | calls that have finished |
//! | `session_store_call_seconds` | histogram | `store`, `operation` | their duration |
//! | `session_store_retries_total` | counter | `store` | retries of a store within a call, without those of its driver |
//! | `session_touches_skipped_total` | counter | – | uses of a session whose ttl did not need an extension |
//! | `session_cookie_refused_total` | counter | `cause` | refused values of the session cookie |
//!
//! | label | values |
//! |---|---|
//! | `store` | the name given to [`observe`], the innermost one if a store is observed more than once; for retries of a store that is not observed `redis`, `mongo`, `sql` |
//! | `operation` | `create`, `load`, `commit`, `touch` (a commit that at most extends the ttl), `delete`, `list`, `delete_all`, `delete_everyone`, `scan`, `delete_expired`, `ping` |
//! | `outcome` of every operation | `done`, or an error: `unavailable`, `timeout`, `corrupt`, `rejected`, `failed`; `dropped` if the caller dropped the call |
//! | `outcome` of some operations | `taken` (create), `absent` (load, delete), `conflict` and `gone` (commit, touch), `superseded` (commit, touch, delete) |
//! | `cause` | `kind` (not a value of this codec: unsigned, or of another version), `shape` (wrong length or alphabet), `signature`, `plain_http` (an https-only cookie over plain http) |
//!
//! All label values are fixed texts. The metrics and traces of this module contain no id, key,
//! handle, principal, name or value, and no error text, because that can come from a driver. For
//! the refused cookies of one request, the first four of each cause are traced, then the number of
//! the others. Every series of a store exists from the start, with 0.
//!
//! # How to add a metric
//!
//! 1. Add the constant with its name to `observe/names.rs`.
//! 2. Add a description and a function that counts to `observe/counters.rs`.
//! 3. Call the function where the event happens: the commits of a session, rotations included, end
//!    in `send` in `session/commit.rs`; the calls of a store in `observe/store.rs`.
//! 4. Add a row to the table above, and a test to `tests/observed`.
//!
//! # Cost
//!
//! Observation adds one allocation per call, for the future that the trait returns. Counting does
//! not allocate. With a [`MemoryStore`](crate::MemoryStore) a load takes 0.24 µs instead of 0.11
//! µs. A recorder of plain atomics adds 0.02 µs (best of seven rounds on a busy machine;
//! `examples/observe_cost.rs`).
//!
//! # Examples
//! ```
//! # use std::sync::Arc;
//! # use session_core::{MemoryStore, SessionStore, observe::observe};
//! // Install the recorder first, if there is one.
//! let store: Arc<dyn SessionStore> = Arc::new(observe("memory", Arc::new(MemoryStore::new())));
//! ```

mod call;
mod counters;
mod names;
mod refused_cookies;
mod retries;
mod store;

#[cfg(feature = "metrics")]
pub use counters::describe;
pub use names::{CALL_SECONDS, CALLS, COOKIE_REFUSED, RETRIES, TOUCHES_SKIPPED};
pub use retries::{retried, retry_after};
pub use store::{Observed, observe};
pub(crate) use {
    counters::count_skipped_touch, names::RefusalCause, refused_cookies::RefusedCookies,
};
