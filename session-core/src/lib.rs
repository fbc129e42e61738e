//! Sessions whose state lives outside the worker that serves the request.
//!
//! In the order of a request: [`SessionId`] is the key and the secret in the cookie, [`StoreKey`]
//! and [`SecretHash`] are what stores see of it, [`SessionStore`] is the place where records are
//! kept, [`Record`] is what is kept, [`Commit`] is what one request does to it. [`own_store`]
//! explains how to write a store.
#![forbid(unsafe_code)]

mod attributes;
pub mod caching;
mod commit;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod cookie;
mod data;
mod error;
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

pub use attributes::{Attributes, InvalidShortText, Persistence, Replaced, ShortText};
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
