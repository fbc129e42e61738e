//! The assertions of the checks. Their messages name the rule, the expected and the actual result.

use std::{error::Error, fmt, time::Duration};

use crate::{BoxError, Committed, Outcome, Rejection, StoreError};

/// Ends a check with the broken rule, the expected result and the actual result.
#[track_caller]
pub(super) fn fail(rule: &str, expected: impl fmt::Display, actual: impl fmt::Display) -> ! {
    panic!("{rule}\n  expected: {expected}\n  actual:   {actual}")
}

/// Checks that two values are equal.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "callers pass literals and temporary results")]
pub(super) fn check_eq<T: PartialEq + fmt::Debug>(actual: T, expected: T, rule: &str) {
    if actual != expected {
        fail(rule, format_args!("{expected:?}"), format_args!("{actual:?}"));
    }
}

/// Checks a condition. `expected` describes the values that meet it.
#[track_caller]
pub(super) fn check(
    condition: bool,
    rule: &str,
    expected: impl fmt::Display,
    actual: impl fmt::Debug,
) {
    if !condition {
        fail(rule, expected, format_args!("{actual:?}"));
    }
}

/// Checks a duration that the clock of the store measured: from `min` to `max`, each with the
/// tolerance.
#[track_caller]
pub(super) fn check_between(
    actual: Duration,
    min: Duration,
    max: Duration,
    tolerance: Duration,
    rule: &str,
) {
    let range = min.saturating_sub(tolerance)..=max + tolerance;
    check(range.contains(&actual), rule, format_args!("{range:?}"), actual);
}

/// Unwraps a result, or fails the check.
pub(super) trait Must<T> {
    /// The value of a call that has to succeed.
    fn must(self, rule: &str) -> T;
}

impl<T> Must<T> for Result<T, StoreError> {
    #[track_caller]
    fn must(self, rule: &str) -> T {
        self.unwrap_or_else(|error| fail(rule, "Ok", error_text(&error)))
    }
}

impl<T> Must<T> for Result<T, BoxError> {
    #[track_caller]
    fn must(self, rule: &str) -> T {
        self.unwrap_or_else(|error| fail(rule, "a client", error_text(error.as_ref())))
    }
}

impl<T> Must<T> for Option<T> {
    #[track_caller]
    fn must(self, rule: &str) -> T {
        self.unwrap_or_else(|| fail(rule, "a live record", "None"))
    }
}

impl Must<Committed> for Outcome {
    #[track_caller]
    fn must(self, rule: &str) -> Committed {
        match self {
            Self::Done(committed) => committed,
            other => fail(rule, "Done", format_args!("{other:?}")),
        }
    }
}

/// Checks that a call failed with the rejection of this variant, and returns the rejection.
#[track_caller]
pub(super) fn check_rejected<T: fmt::Debug>(
    answer: Result<T, StoreError>,
    expected: &str,
    rule: &str,
) -> Rejection {
    let rejection = match answer {
        Err(StoreError::Rejected(rejection)) => rejection,
        Err(error) => fail(rule, format_args!("Rejected({expected})"), error_text(&error)),
        Ok(answer) => fail(rule, format_args!("Rejected({expected})"), format_args!("{answer:?}")),
    };
    check(variant(&rejection) == expected, rule, format_args!("Rejected({expected})"), &rejection);
    rejection
}

/// The name of the variant of a rejection.
fn variant(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::DataTooLarge { .. } => "DataTooLarge",
        Rejection::NotAnInteger { .. } => "NotAnInteger",
        Rejection::Overflow { .. } => "Overflow",
        Rejection::Ttl { .. } => "Ttl",
        Rejection::Key { .. } => "Key",
        Rejection::PrincipalWithoutRotation => "PrincipalWithoutRotation",
        Rejection::GraceWithSignIn => "GraceWithSignIn",
        Rejection::Grace { .. } => "Grace",
        Rejection::Inconsistent { .. } => "Inconsistent",
        Rejection::Full { .. } => "Full",
    }
}

/// `Display` and `Debug` of an error and of all its sources.
pub(super) fn error_text(error: &(dyn Error + 'static)) -> String {
    let mut text = format!("{error} ({error:?})");
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause} ({cause:?})");
        source = cause.source();
    }
    text
}
