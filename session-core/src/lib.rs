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
//! The module [`store`] contains all types that a store needs. The same types are also at the root
//! of this crate. A store implements [`SessionStore`]. A request uses its types in this order. The
//! session layer makes a [`StoreKey`] and a [`SecretHash`] from the [`SessionId`] in the cookie.
//! The store loads a [`Record`]. One [`Commit`] contains all changes of the request. [`own_store`]
//! is the guide for authors of stores.
//! [`report`] contains the result of a check that connects to a store once.
#![forbid(unsafe_code)]

mod attributes;
pub mod caching;
mod checked_text;
mod commit;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod cookie;
mod data;
mod error;
#[doc(hidden)]
pub mod error_debug;
mod events;
mod expiry;
pub mod forwarded;
mod id;
mod json;
mod key;
mod limits;
mod memory;
mod name;
pub mod observe;
pub mod origin;
pub mod own_store;
mod page;
mod plan;
mod policy;
mod principal;
mod record;
pub mod report;
mod session;
mod short_text;
mod sign_in;
pub mod store;
mod sweeper;

// For applications.
pub use attributes::Persistence;
pub use error::{BoxError, StoreError};
pub use events::{EndCause, EventOutcome, SessionEvent, SessionEvents};
pub use json::JsonError;
pub use key::Handle;
pub use memory::{
    Export, Exported, Import, ImportError, ManualClock, MemoryStore, MemoryStoreBuilder,
};
pub use name::InvalidName;
pub use policy::{OnServerError, OnSessionEnded, OnSupersededId, Policy};
pub use principal::{InvalidPrincipal, Principal};
pub use session::{Device, Liveness, Session, SessionError, StreamEnd};
pub use short_text::{InvalidShortText, ShortText};
pub use sign_in::SignIn;
pub use sweeper::{SweeperHandle, spawn_sweeper};

// For adapters.
pub use id::{EntropyError, SessionId};
pub use session::{CookieChange, CookieDelivery, RecordedChanges, SessionContext, SessionDriver};

// For stores. The module `store` contains these too.
pub use attributes::{Attributes, ReplacedSecrets};
pub use commit::{
    AuthenticationChange, Change, Changes, Commit, Committed, Guard, Outcome, PrincipalChange,
    Rotation,
};
pub use data::Data;
pub use error::Rejection;
pub use id::SecretHash;
pub use json::Json;
pub use key::StoreKey;
pub use limits::Limits;
pub use name::Name;
pub use page::{Cursor, DeletedPage, Page, SessionSummary, SummaryPage};
pub use record::{Claim, Created, Deleted, Grace, NewRecord, Opened, Record, Stored, Superseded};
pub use store::SessionStore;

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
