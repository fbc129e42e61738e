//! The checks that every store must pass, with the feature `conformance`.
//!
//! Each check is an async function over a [`Fixture`], a store on an empty storage with access to
//! its backend. The name of a check begins with the id of the promise that it proves and continues
//! with the behavior. A check panics if the store breaks the promise. The message names the rule,
//! the expected result and the actual result.
//!
//! Store authors write a [`Fixture`] and turn the checks into tests with
//! [`conformance_tests!`](crate::conformance_tests). [`own_store`](crate::own_store) shows a
//! complete fixture and the dependencies that it needs.
//!
//! The list of checks is in `checks.rs`, which also explains how to add one. The table in
//! `docs/conformance.md` says what each check proves.
#![expect(clippy::missing_panics_doc, reason = "every check panics if the store breaks a promise")]

mod add;
mod assert;
mod authentication;
mod calls;
mod cancellation;
mod capacity;
mod checks;
mod commit;
mod copy;
mod corrupt;
mod create;
mod delete;
mod delete_all;
mod delete_everyone;
mod delete_expired;
mod expiry;
mod fixture;
mod grace;
mod guard;
mod keys;
mod list;
mod load;
mod namespace;
mod outage;
mod outcomes;
mod retry;
mod rotation;
mod scan;
mod secrecy;
mod session;
mod values;

pub use add::*;
pub use authentication::*;
pub use cancellation::*;
pub use capacity::*;
pub use checks::CHECKS;
pub use commit::*;
pub use copy::*;
pub use corrupt::*;
pub use create::*;
pub use delete::*;
pub use delete_all::*;
pub use delete_everyone::*;
pub use delete_expired::*;
pub use expiry::*;
pub use fixture::{Fixture, IntoFixture, Purge, Supported};
pub use grace::*;
pub use guard::*;
pub use keys::*;
pub use list::*;
pub use load::*;
pub use namespace::*;
pub use outage::*;
pub use outcomes::*;
pub use retry::*;
pub use rotation::*;
pub use scan::*;
pub use secrecy::*;
pub use values::*;
