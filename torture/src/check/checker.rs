//! The entry of the checker: the verdict on a history, with what crashes and failovers excuse.

use super::{
    crash, failover,
    laws::{Scope, check_laws},
    violation::{Verdict, Violation},
};
use crate::history::History;

/// Checks a history against every law.
#[must_use]
pub fn check(history: &History) -> Verdict {
    if !history.failovers.is_empty() {
        return failover::check(history);
    }
    let strict = check_laws(history, &Scope::default());
    let Some(trusted) = crash::without_unsynced_reads(history) else { return strict };
    let verdict = check_laws(&trusted, &Scope::default());
    let proved = |found: &&Violation| verdict.violations.contains(found);
    let taken_back = strict.violations.iter().filter(|found| !proved(found)).count();
    Verdict { taken_back, ..verdict }
}
