//! The toy store of the trait's documentation passes the conformance suite, on a real clock.
#![cfg(feature = "conformance")]

#[expect(
    dead_code,
    unreachable_pub,
    reason = "the example is a program of its own, and the documentation shows it whole"
)]
#[path = "../examples/toy_store.rs"]
mod toy_store;

mod toy_fixture;

session_core::conformance_tests!(async { toy_fixture::Toys::default() });
