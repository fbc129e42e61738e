//! The toy store of the documentation passes the conformance suite, on a real clock.
#![cfg(feature = "conformance")]

#[expect(
    dead_code,
    unreachable_pub,
    reason = "the example is a separate program, and the documentation includes the whole file"
)]
#[path = "../examples/toy_store.rs"]
mod toy_store;

mod toy_fixture;

session_core::conformance_tests!(async { toy_fixture::ToyFixture::default() });
