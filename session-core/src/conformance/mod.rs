//! The checks that every store must pass.
//!
//! Each check is one `pub async fn` over a [`Fixture`]: a store on an empty storage of its own, with hands on the backend. Its name begins
//! with the line of the checklist that it proves and goes on with the behaviour. A check that finds a law broken panics with the law,
//! what it asks and what came.
//!
//! # For the author of a store
//! Write a [`Fixture`]; let [`conformance_tests!`](crate::conformance_tests) turn the list into tests. [`own_store`](crate::own_store) has a whole
//! one, and what to depend on.
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
