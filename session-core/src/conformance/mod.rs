//! The checks that every store must pass.
//!
//! Each check is one `pub async fn` over a [`Fixture`]: a store on an empty storage, with access to
//! its backend. The name of a check begins with the line of the checklist that it proves and
//! continues with the behaviour. A check that finds a broken law panics. The message names the law,
//! the expected answer and the actual answer.
//!
//! # For the author of a store
//! Write a [`Fixture`], and let [`conformance_tests!`](crate::conformance_tests) turn the list into
//! tests. [`own_store`](crate::own_store) shows a complete fixture and the dependencies that it
//! needs.
#![expect(clippy::missing_panics_doc, reason = "every check panics when a law is broken")]

mod add;
mod authentication;
mod bounded;
mod claim;
mod commit;
mod copy;
mod corrupt;
mod create;
mod dropped;
mod everyone;
mod expiry;
mod fixture;
mod index;
mod list;
mod load;
mod namespace;
mod outage;
mod purge;
mod race;
mod repeat;
mod rotate;
mod scan;
mod secrecy;
mod steps;
mod values;
mod verdicts;

pub use add::*;
pub use authentication::*;
pub use bounded::*;
pub use claim::*;
pub use commit::*;
pub use copy::*;
pub use corrupt::*;
pub use create::*;
pub use dropped::*;
pub use everyone::*;
pub use expiry::*;
pub use fixture::{Fixture, IntoFixture, Purge, Supported};
pub use index::*;
pub use list::CHECKS;
pub use load::*;
pub use namespace::*;
pub use outage::*;
pub use purge::*;
pub use race::*;
pub use repeat::*;
pub use rotate::*;
pub use scan::*;
pub use secrecy::*;
pub use values::*;
pub use verdicts::*;
