//! Sessions whose state lives outside the worker that serves the request.
//!
//! In the order of a request: [`SessionId`] is the secret in the cookie, [`StoreKey`] what stores see of it, [`SessionStore`] the place
//! where records are kept, [`Record`] what is kept, [`Commit`] what one request does to it. [`own_store`] is for those who write a store.
#![forbid(unsafe_code)]

pub mod caching;
mod commit;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod cookie;
mod data;
mod error;
mod expiry;
mod id;
mod json;
mod key;
mod lifetime;
mod limits;
mod memory;
mod name;
pub mod observe;
pub mod origin;
pub mod own_store;
mod plan;
mod policy;
mod principal;
mod reaper;
mod record;
mod session;
mod store;

pub use commit::{Change, Changes, Commit, Committed, Guard, Outcome, PrincipalChange};
pub use data::Data;
pub use error::{Rejection, Source, StoreError};
pub use id::{EntropyError, SessionId};
pub use json::{Json, JsonError};
pub use key::{Handle, StoreKey};
pub use lifetime::{Lifetime, Persistence};
pub use limits::Limits;
pub use memory::{Export, Exported, Import, ImportError, ManualClock, MemoryStore, MemoryStoreBuilder};
pub use name::{InvalidName, Name};
pub use policy::{OnGone, OnServerError, Policy};
pub use principal::{InvalidPrincipal, Principal};
pub use reaper::{SweeperHandle, spawn_sweeper};
pub use record::{Created, Cursor, Listed, NewRecord, Page, Record};
pub use session::{CookieChange, Delivery, Device, RecordedChanges, Session, SessionError};
pub use store::SessionStore;
