//! Sessions whose state lives outside the worker that serves the request.
//!
//! In the order of a request: [`SessionId`] is the key and the secret in the cookie, [`StoreKey`] and [`SecretHash`] are what stores see
//! of it, [`SessionStore`] is the place where records are kept, [`Record`] is what is kept, [`Commit`] is what one request does to it.
//! [`own_store`] explains how to write a store.
#![forbid(unsafe_code)]

mod attributes;
mod commit;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(any())]
pub mod cookie;
mod data;
mod error;
#[cfg(any())]
mod expiry;
mod id;
mod json;
mod key;
mod limits;
mod memory;
mod name;
pub mod observe;
pub mod own_store;
#[cfg(any())]
mod plan;
#[cfg(any())]
mod policy;
mod principal;
mod reaper;
mod record;
#[cfg(any())]
mod session;
mod store;

pub use attributes::{Attributes, InvalidShortText, Persistence, ShortText};
pub use commit::{AuthenticationChange, Change, Changes, Commit, Committed, Guard, Outcome, PrincipalChange, Rotation};
pub use data::Data;
pub use error::{Rejection, Source, StoreError};
pub use id::{EntropyError, SecretHash, SessionId};
pub use json::{Json, JsonError};
pub use key::{Handle, StoreKey};
pub use limits::Limits;
pub use memory::{Export, Exported, Import, ImportError, ManualClock, MemoryStore, MemoryStoreBuilder};
pub use name::{InvalidName, Name};
#[cfg(any())]
pub use policy::{OnGone, OnServerError, Policy};
pub use principal::{InvalidPrincipal, Principal};
pub use reaper::{SweeperHandle, spawn_sweeper};
pub use record::{
    Claim, Created, Cursor, Deleted, DeletedPage, Grace, NewRecord, Opened, Page, Record, SessionSummary, Stored, SummaryPage, Superseded,
};
#[cfg(any())]
pub use session::{CookieChange, Delivery, Device, RecordedChanges, Session, SessionError};
pub use store::SessionStore;
