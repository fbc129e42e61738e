//! The check of the result of a commit.

use std::error::Error;

use session_core::Outcome;

/// Expects that a commit of a benchmark is done.
///
/// # Errors
/// The outcome, if it is another one.
pub fn expect_done(outcome: Outcome) -> Result<(), Box<dyn Error>> {
    match outcome {
        Outcome::Done(_) => Ok(()),
        other => Err(format!("the outcome of a commit is {other:?}").into()),
    }
}
