//! Sessions for web servers with several processes: the state of a session is in a shared store.
//!
//! # For applications
//! An application uses this crate through an adapter for its web framework, such as
//! `session-actix`. It chooses a store and a [`Policy`]. Its handlers use [`Session`]:
//! [`get`](Session::get), [`insert`](Session::insert), [`add`](Session::add),
//! [`sign_in`](Session::sign_in), [`destroy`](Session::destroy). [`MemoryStore`] is the store for
//! tests and for a single process. [`SessionEvents`] is the audit trail. [`observe`] contains the
//! metrics. [`origin`] contains the protection against cross-site request forgery.
//!
//! # For adapters
//! An adapter reads the cookie with [`cookie::CookieCodec`] and opens a [`SessionDriver`] for the
//! request. After [`SessionDriver::finish`] it sends the [`CookieChange`] that
//! [`SessionDriver::cookie`] returns.
//! [`caching`] contains the values of `Cache-Control`.
//!
//! # For stores
//! A store implements [`SessionStore`]. A request uses its types in this order. The session layer
//! makes a [`StoreKey`] and a [`SecretHash`] from the [`SessionId`] in the cookie. The store loads
//! a [`Record`]. One [`Commit`] contains all changes of the request. [`own_store`] is the guide for
//! authors of stores.
#![forbid(unsafe_code)]

mod attributes;
pub mod caching;
mod commit;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod cookie;
mod data;
mod error;
mod error_debug;
mod events;
mod expiry;
mod id;
mod json;
mod key;
mod limits;
mod memory;
mod name;
pub mod observe;
pub mod origin;
pub mod own_store;
mod plan;
mod policy;
mod principal;
mod record;
mod session;
mod sign_in;
mod store;
mod sweeper;

pub use attributes::{Attributes, InvalidShortText, Persistence, ReplacedSecrets, ShortText};
pub use commit::{
    AuthenticationChange, Change, Changes, Commit, Committed, Guard, Outcome, PrincipalChange,
    Rotation,
};
pub use data::Data;
pub use error::{BoxError, Rejection, StoreError};
pub use events::{EndCause, EventOutcome, SessionEvent, SessionEvents};
pub use id::{EntropyError, SecretHash, SessionId};
pub use json::{Json, JsonError};
pub use key::{Handle, StoreKey};
pub use limits::Limits;
pub use memory::{
    Export, Exported, Import, ImportError, ManualClock, MemoryStore, MemoryStoreBuilder,
};
pub use name::{InvalidName, Name};
pub use policy::{OnServerError, OnSessionEnded, OnSupersededId, Policy};
pub use principal::{InvalidPrincipal, Principal};
pub use record::{
    Claim, Created, Cursor, Deleted, DeletedPage, Grace, NewRecord, Opened, Page, Record,
    SessionSummary, Stored, SummaryPage, Superseded,
};
pub use session::{
    CookieChange, CookieDelivery, Device, Liveness, RecordedChanges, Session, SessionContext,
    SessionDriver, SessionError, StreamEnd,
};
pub use sign_in::SignIn;
pub use store::SessionStore;
pub use sweeper::{SweeperHandle, spawn_sweeper};

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
