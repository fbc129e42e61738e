//! The checks that every store must pass.
//!
//! Each check is one `pub async fn` over a [`Fixture`]: a store on an empty storage of its own, with hands on the backend. Its name begins
//! with the line of the checklist that it proves and goes on with the behaviour. A check that finds a law broken panics with the law,
//! what it asks and what came.
//!
//! # For the author of a store
//! Depend on this crate with the feature `conformance` under `[dev-dependencies]`, beside `tokio` with `macros` and `rt-multi-thread` and
//! `async-trait`; write the fixture; let [`conformance_tests!`](crate::conformance_tests) turn the list into tests. Run it a second time
//! through every wrapper of your store.
//!
//! ```
//! use std::{collections::HashMap, sync::{Arc, Mutex}, time::Duration};
//!
//! use async_trait::async_trait;
//! use session_core::{Limits, ManualClock, MemoryStore, SessionStore, Source, StoreKey, conformance::{Fixture, Hand, Purge}};
//!
//! struct Memory {
//!     clock: ManualClock,
//!     namespaces: Mutex<HashMap<String, Arc<MemoryStore>>>,
//! }
//!
//! impl Memory {
//!     async fn fresh() -> Self {
//!         Self { clock: ManualClock::new(), namespaces: Mutex::default() }
//!     }
//!
//!     fn namespace(&self, name: &str) -> Arc<MemoryStore> {
//!         let mut namespaces = self.namespaces.lock().unwrap();
//!         let open = || Arc::new(MemoryStore::builder().clock(self.clock.clone()).build());
//!         Arc::clone(namespaces.entry(name.to_owned()).or_insert_with(open))
//!     }
//! }
//!
//! #[async_trait]
//! impl Fixture for Memory {
//!     fn store(&self) -> Arc<dyn SessionStore> {
//!         self.namespace("")
//!     }
//!
//!     async fn open(&self) -> Result<Arc<dyn SessionStore>, Source> {
//!         Ok(self.namespace(""))
//!     }
//!
//!     async fn open_namespace(&self, name: &str) -> Result<Arc<dyn SessionStore>, Source> {
//!         Ok(self.namespace(name))
//!     }
//!
//!     async fn advance(&self, by: Duration) {
//!         self.clock.advance(by);
//!     }
//!
//!     fn tolerance(&self) -> Duration {
//!         Duration::from_millis(50)
//!     }
//!
//!     fn deadline(&self) -> Duration {
//!         Duration::from_secs(2)
//!     }
//!
//!     fn limits(&self) -> Limits {
//!         Limits::default()
//!     }
//!
//!     fn purge(&self) -> Purge {
//!         Purge::ByCall
//!     }
//!
//!     fn secret(&self) -> Hand<String> {
//!         Hand::NotApplicable("no password opens it")
//!     }
//!
//!     fn settings_text(&self) -> Hand<String> {
//!         Hand::Done(format!("{:?}", MemoryStore::builder()))
//!     }
//!
//!     async fn corrupt(&self, _: &StoreKey) -> Hand {
//!         Hand::NotApplicable("values are kept as checked types, not as bytes")
//!     }
//!
//!     async fn future_format(&self, _: &StoreKey) -> Hand {
//!         Hand::NotApplicable("no other version of the program sees its records")
//!     }
//!
//!     async fn stop(&self) -> Hand {
//!         Hand::NotApplicable("it lives in this process")
//!     }
//!
//!     async fn start(&self) -> Hand {
//!         Hand::NotApplicable("it lives in this process")
//!     }
//!
//!     async fn freeze(&self) -> Hand {
//!         Hand::NotApplicable("it lives in this process")
//!     }
//!
//!     async fn thaw(&self) -> Hand {
//!         Hand::NotApplicable("it lives in this process")
//!     }
//!
//!     async fn dump(&self) -> Hand<Vec<u8>> {
//!         Hand::NotApplicable("it keeps no bytes")
//!     }
//!
//!     async fn physical_count(&self) -> Hand<u64> {
//!         Hand::Done(self.namespace("").held_sessions() as u64)
//!     }
//! }
//!
//! session_core::conformance_tests!(Memory::fresh());
//! # fn main() {}
//! ```
#![expect(clippy::missing_panics_doc, reason = "every check panics when a law is broken; that is what it is for")]

mod add;
mod commit;
mod corrupt;
mod create;
mod dropped;
mod expiry;
mod fixture;
mod index;
mod list;
mod load;
mod namespace;
mod outage;
mod purge;
mod race;
mod rotate;
mod scan;
mod secrecy;
mod steps;
mod values;

pub use add::*;
pub use commit::*;
pub use corrupt::*;
pub use create::*;
pub use dropped::*;
pub use expiry::*;
pub use fixture::{Fixture, Given, Hand, Purge};
pub use index::*;
pub use list::CHECKS;
pub use load::*;
pub use namespace::*;
pub use outage::*;
pub use purge::*;
pub use race::*;
pub use rotate::*;
pub use scan::*;
pub use secrecy::*;
pub use values::*;
