//! The list of all checks.

/// Hands the names of all checks to another macro, after what that macro is given.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_checks {
    ($callback:path $(, $given:tt)*) => {
        $callback! {
            $($given)*
            c01_created_records_are_visible_to_every_client
            c02_a_taken_key_keeps_its_record
            c02_an_expired_leftover_is_replaced
            c02_one_of_many_creators_wins
            c04_a_record_without_values_is_a_record
        }
    };
}

/// Makes one test of each conformance check.
///
/// It takes an expression whose value is a future of a [`Fixture`](crate::conformance::Fixture); each test awaits a new one. The tests are
/// `#[tokio::test(flavor = "multi_thread")]` functions named like the checks, so a second call needs a module of its own. The calling crate
/// needs `tokio` with the features `macros` and `rt-multi-thread`.
///
/// The [module's documentation](crate::conformance) has a whole example.
#[macro_export]
macro_rules! conformance_tests {
    ($fixture:expr) => {
        $crate::__conformance_checks!($crate::__conformance_test_each, ($fixture));
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_test_each {
    (($fixture:expr) $($check:ident)*) => {
        $(
            #[::tokio::test(flavor = "multi_thread")]
            async fn $check() {
                let fixture = $fixture.await;
                $crate::conformance::$check(&fixture).await;
            }
        )*
    };
}

macro_rules! names {
    ($($check:ident)*) => {
        /// The names of all checks, in the order of the checklist.
        pub const CHECKS: &[&str] = &[$(stringify!($check)),*];
    };
}

crate::__conformance_checks!(names);
