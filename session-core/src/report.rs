//! The report of a check that connects to a store once: what was found, and what to do about it.
//!
//! Each store crate has a function `check` that returns a [`CheckReport`]. Its `Display` form is a
//! table for a terminal. With `serde` it becomes JSON for a program.
//!
//! ```
//! use session_core::report::{Check, CheckReport};
//!
//! let mut report = CheckReport::new("redis", "127.0.0.1:6379");
//! report.push(Check::ok("connection", "connected in 2 ms"));
//! let remedy = "CONFIG SET maxmemory-policy noeviction";
//! report.push(Check::failed("eviction", "allkeys-lru: a full server ends sessions", remedy));
//! assert!(!report.is_ok());
//! let text = "\
//! redis at 127.0.0.1:6379
//!
//! CHECK       RESULT  FOUND
//! connection  ok      connected in 2 ms
//! eviction    failed  allkeys-lru: a full server ends sessions
//!
//! eviction: CONFIG SET maxmemory-policy noeviction
//! ";
//! assert_eq!(report.to_string(), text);
//! ```

use std::fmt;

use serde::Serialize;

/// What a check of a store found.
///
/// The report contains no login and no session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// The name of the backend, such as `redis`.
    pub backend: &'static str,
    /// The address of the server, without the login.
    pub server: String,
    /// The checks, in the order in which they were made.
    pub checks: Vec<Check>,
}

/// One check and its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// What was checked, in one or two words.
    pub name: &'static str,
    /// The result.
    pub outcome: Outcome,
    /// What was found, or why the check could not be made.
    pub found: String,
    /// What to do: a command or a line of a configuration file. `None` if there is nothing to do.
    pub remedy: Option<String>,
}

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// The store works. It can lose sessions, or other machines can read them.
    Warning,
    /// The store does not work, or a setting of the server endangers all sessions.
    Failed,
    /// The check could not be made, for example because the user may not ask for the setting.
    NotChecked,
}

impl CheckReport {
    /// A report without checks.
    #[must_use]
    pub fn new(backend: &'static str, server: impl Into<String>) -> Self {
        Self { backend, server: server.into(), checks: Vec::new() }
    }

    /// Adds a check.
    pub fn push(&mut self, check: Check) {
        self.checks.push(check);
    }

    /// Adds checks that could not be made for the same reason.
    pub fn push_not_checked(&mut self, names: &[&'static str], reason: &str) {
        self.checks.extend(names.iter().map(|name| Check::not_checked(name, reason)));
    }

    /// Whether no check failed. Warnings are not failures.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.failed() == 0
    }

    /// The number of failed checks.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.checks.iter().filter(|check| check.outcome == Outcome::Failed).count()
    }
}

impl Check {
    /// A check without a finding.
    pub fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Ok, found: found.into(), remedy: None }
    }

    /// A check that found a risk.
    pub fn warning(
        name: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (found, remedy) = (found.into(), Some(remedy.into()));
        Self { name, outcome: Outcome::Warning, found, remedy }
    }

    /// A check that failed.
    pub fn failed(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (found, remedy) = (found.into(), Some(remedy.into()));
        Self { name, outcome: Outcome::Failed, found, remedy }
    }

    /// A check that could not be made.
    pub fn not_checked(name: &'static str, reason: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::NotChecked, found: reason.into(), remedy: None }
    }

    /// The check with another remedy. For a check that could not be made, and that the operator can
    /// enable.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::NotChecked => "not checked",
        })
    }
}

/// A table of the checks, and below it the remedies.
impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} at {}\n", self.backend, self.server)?;
        let widest = |head: &str, width: &dyn Fn(&Check) -> usize| {
            self.checks.iter().map(width).chain([head.len()]).max().unwrap_or_default()
        };
        let names = widest("CHECK", &|check| check.name.len());
        let outcomes = widest("RESULT", &|check| check.outcome.to_string().len());
        writeln!(f, "{:names$}  {:outcomes$}  FOUND", "CHECK", "RESULT")?;
        for Check { name, outcome, found, .. } in &self.checks {
            writeln!(f, "{name:names$}  {outcome:outcomes$}  {found}")?;
        }
        let mut gap = "\n";
        for Check { name, remedy, .. } in &self.checks {
            if let Some(remedy) = remedy {
                writeln!(f, "{gap}{name}: {remedy}")?;
                gap = "";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failed_check_makes_the_report_fail() {
        let mut report = CheckReport::new("memory", "this process");
        report.push(Check::ok("connection", "none"));
        report.push(Check::warning("durability", "none", "use a database"));
        report.push_not_checked(&["clock", "version"], "there is no server");
        assert!(report.is_ok());
        report.push(Check::failed("operations", "refused", "grant them"));
        assert_eq!((report.is_ok(), report.failed()), (false, 1));
    }

    #[test]
    fn table_is_aligned_and_remedies_follow() {
        let mut report = CheckReport::new("redis", "h:1");
        report.push(Check::not_checked("eviction", "CONFIG is refused").remedy("look it up"));
        report.push(Check::warning("tls", "not encrypted", "use rediss://"));
        let expected = "redis at h:1\n\n\
                        CHECK     RESULT       FOUND\n\
                        eviction  not checked  CONFIG is refused\n\
                        tls       warning      not encrypted\n\n\
                        eviction: look it up\n\
                        tls: use rediss://\n";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn json_has_the_fields_of_each_check() {
        let mut report = CheckReport::new("redis", "h:1");
        report.push(Check::not_checked("clock", "no answer"));
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            r#"{"backend":"redis","server":"h:1","checks":[{"name":"clock","outcome":"not_checked","found":"no answer","remedy":null}]}"#
        );
    }
}
