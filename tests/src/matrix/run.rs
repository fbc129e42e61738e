//! Parses the output of a run of tests.

use std::collections::BTreeMap;

/// The first words of the reason that a skipped test prints.
const SKIPPED: &str = "SKIPPED, ";

/// The status of nextest for a test that still runs.
const NOTICES: &[&str] = &["SLOW", "START", "TERMINATING"];

/// The statuses of nextest for a test that passed. `LEAK` means that the test left a process or an
/// open pipe, which is not a failure.
const PASSED: &[&str] = &["PASS", "LEAK", "FLAKY"];

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// It passed.
    Passed,
    /// It was skipped, and printed why.
    Skipped,
    /// It failed.
    Failed,
}

/// The outcome of a run, read from the lines that cargo-nextest prints with
/// `--success-output immediate`, or `cargo test` with `--show-output`. Each has its own
/// format.
#[derive(Debug, Default)]
pub struct Run {
    /// The outcomes, by the binary and the name of the test.
    tests: BTreeMap<(String, String), Ended>,
    /// The binary that runs now. nextest names it with each test.
    binary: String,
    /// The test whose output follows, if it has passed.
    passed: Option<(String, String)>,
    /// Whether the following lines are output of passed tests.
    is_of_passed: bool,
}

impl Run {
    /// Parses a line. Returns whether to show it; the output of passed tests is hidden.
    pub fn take(&mut self, line: &str) -> bool {
        if let Some((status, binary, name)) = of_nextest(line) {
            let passed = PASSED.contains(&status);
            if passed || !NOTICES.contains(&status) {
                self.end(binary, name, if passed { Ended::Passed } else { Ended::Failed });
                self.is_of_passed = passed;
                self.passed = passed.then(|| (binary.to_owned(), name.to_owned()));
            }
            return true;
        }
        if let Some(binary) = line.trim_start().strip_prefix("Running ") {
            binary.clone_into(&mut self.binary);
        }
        match line {
            "successes:" => self.is_of_passed = true,
            "failures:" => self.is_of_passed = false,
            _ if line.starts_with("test result: ") || line.starts_with("────") => {
                self.is_of_passed = false;
            }
            _ if self.is_of_passed => {
                if let Some(name) =
                    line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"))
                {
                    self.passed = Some((self.binary.clone(), name.to_owned()));
                }
                if let Some((binary, name)) =
                    self.passed.clone().filter(|_| line.trim_start().starts_with(SKIPPED))
                {
                    self.end(&binary, &name, Ended::Skipped);
                }
            }
            _ => {
                if let Some((name, status)) =
                    line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
                {
                    let binary = self.binary.clone();
                    match status {
                        "ok" => self.end(&binary, name, Ended::Passed),
                        "FAILED" => self.end(&binary, name, Ended::Failed),
                        _ => {}
                    }
                }
            }
        }
        !self.is_of_passed
    }

    /// How each test ended, by its name.
    pub fn tests(&self) -> impl Iterator<Item = (&str, Ended)> {
        self.tests.iter().map(|((_, name), ended)| (name.as_str(), *ended))
    }

    /// The number of tests that ended this way.
    #[must_use]
    pub fn count(&self, how: Ended) -> usize {
        self.tests.values().filter(|ended| **ended == how).count()
    }

    /// If a test has several outcomes, as in a summary, the worst counts.
    fn end(&mut self, binary: &str, name: &str, how: Ended) {
        let ended = self.tests.entry((binary.to_owned(), name.to_owned())).or_insert(how);
        *ended = (*ended).max(how);
    }
}

/// Status, binary and name in `  PASS [   0.010s] (2/4) tests::http cookies::ipc::s01_…`.
fn of_nextest(line: &str) -> Option<(&str, &str, &str)> {
    let (status, rest) = line.trim_start().split_once(" [")?;
    if status.is_empty()
        || !status.bytes().all(|byte| byte.is_ascii_uppercase() || b" -+0123456789".contains(&byte))
    {
        return None;
    }
    let (time, rest) = rest.split_once(']')?;
    if !time.ends_with('s') {
        return None;
    }
    let rest = rest.trim_start();
    let rest = rest
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(')'))
        .map_or(rest, |(_, rest)| rest.trim_start());
    let (binary, name) = rest.split_once(' ')?;
    (!name.contains(' ')).then_some((status.trim(), binary, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<(String, Ended)>, String) {
        let mut run = Run::default();
        let seen: Vec<_> = text.lines().filter(|line| run.take(line)).collect();
        (run.tests().map(|(name, ended)| (name.to_owned(), ended)).collect(), seen.join("\n"))
    }

    const NEXTEST: &str = "    Starting 5 tests across 1 binary (1 test skipped)
     SIGABRT [   0.012s] (1/5) tests::http ipc::h03_aborts
  stdout ───

    (test aborted with signal 6: SIGABRT)

        PASS [   0.010s] (2/5) tests::http redis::h01_skips
  stderr ───
    SKIPPED, there is no redis

        PASS [   0.005s] (3/5) tests::http ipc::h01_passes
  stdout ───
    s01: figures

        SLOW [> 60.000s] (---) tests::http ipc::h04_is_slow
        FAIL [   0.269s] (4/5) tests::http ipc::s01_fails
  stdout ───
    SKIPPED, not at all
     TIMEOUT [ 180.269s] (5/5) tests::http ipc::h04_is_slow
────────────
     Summary [   0.274s] 4 tests run: 2 passed, 2 failed, 1 skipped
     SIGABRT [   0.012s] (1/5) tests::http ipc::h03_aborts
        FAIL [   0.269s] (4/5) tests::http ipc::s01_fails
error: test run failed";

    #[test]
    fn nextest_output_is_parsed_and_passed_tests_are_hidden() {
        let (tests, seen) = read(NEXTEST);
        let wanted = [
            ("ipc::h01_passes", Ended::Passed),
            ("ipc::h03_aborts", Ended::Failed),
            ("ipc::h04_is_slow", Ended::Failed),
            ("ipc::s01_fails", Ended::Failed),
            ("redis::h01_skips", Ended::Skipped),
        ];
        assert_eq!(tests, wanted.map(|(name, ended)| (name.to_owned(), ended)));
        assert!(
            seen.contains("(test aborted")
                && seen.contains("SKIPPED, not at all")
                && seen.contains("error: test run failed"),
            "{seen}"
        );
        assert!(!seen.contains("figures") && !seen.contains("no redis"), "{seen}");
    }

    const CARGO: &str = "     Running tests/http/main.rs (target/debug/deps/http-1)

running 4 tests
test ipc::h01_passes ... ok
test ipc::h02_is_not_run ... ignored
test redis::h01_skips ... ok
test ipc::s01_fails ... FAILED

successes:

---- redis::h01_skips stdout ----
SKIPPED, there is no redis
test ipc::h09_is_only_said ... ok

successes:
    ipc::h01_passes
    redis::h01_skips

failures:

---- ipc::s01_fails stdout ----
SKIPPED, not at all

failures:
    ipc::s01_fails

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.21s

     Running tests/redis/main.rs (target/debug/deps/redis-1)

running 1 test
test ipc::s01_fails ... ok

successes:

successes:
    ipc::s01_fails

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
error: 1 target failed:";

    #[test]
    fn output_of_cargo_test_is_parsed() {
        let (tests, seen) = read(CARGO);
        let wanted = [
            ("ipc::h01_passes", Ended::Passed),
            ("ipc::s01_fails", Ended::Failed),
            ("redis::h01_skips", Ended::Skipped),
            ("ipc::s01_fails", Ended::Passed),
        ];
        assert_eq!(tests, wanted.map(|(name, ended)| (name.to_owned(), ended)));
        assert!(
            seen.contains("SKIPPED, not at all") && seen.contains("error: 1 target failed"),
            "{seen}"
        );
        assert!(!seen.contains("no redis") && seen.contains("test result: FAILED."), "{seen}");
    }

    #[test]
    fn compiler_output_is_not_a_test() {
        let (tests, seen) = read(
            "warning: x [-W foo]\nerror[E0425]: cannot find value `s01_x` in this scope\n   Compiling tests v0.1.0 (/x)",
        );
        assert!(tests.is_empty() && seen.lines().count() == 3);
    }
}
