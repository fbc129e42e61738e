//! A run in numbers.

use std::{collections::BTreeMap, fmt};

use crate::{
    check::{Law, Verdict, Violation},
    history::{CallOutcome, History},
};

/// A run in numbers. Its display is the table that the program prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The store.
    pub store: String,
    /// The seed.
    pub seed: u64,
    /// The number of calls.
    pub calls: usize,
    /// The number of calls that took effect.
    pub acknowledged: usize,
    /// The number of calls that the store refused.
    pub refused: usize,
    /// The number of calls that may have taken effect.
    pub unknown: usize,
    /// The number of faults.
    pub faults: usize,
    /// The number of single checks.
    pub checks: u64,
    /// The number of violations that a crash of the store explains. None concerns an acknowledged
    /// write.
    pub taken_back: usize,
    /// The number of failovers that may have lost something.
    pub failovers: usize,
    /// The number of documented losses in failovers, by law.
    pub undone: BTreeMap<Law, usize>,
    /// The number of violations, by law.
    pub violations: BTreeMap<Law, usize>,
}

impl Summary {
    /// Counts the calls of a history and the results of its check.
    #[must_use]
    pub fn of(history: &History, verdict: &Verdict) -> Self {
        let count = |outcome| history.calls.iter().filter(|call| call.outcome() == outcome).count();
        let by_law = |violations: &[Violation]| {
            let mut laws = BTreeMap::new();
            for violation in violations {
                *laws.entry(violation.law).or_insert(0) += 1;
            }
            laws
        };
        Self {
            store: history.store.clone(),
            seed: history.seed,
            calls: history.calls.len(),
            acknowledged: count(CallOutcome::Happened),
            refused: count(CallOutcome::Refused),
            unknown: count(CallOutcome::Unknown),
            faults: history.faults.len(),
            checks: verdict.checks,
            taken_back: verdict.taken_back,
            failovers: history
                .failovers
                .iter()
                .filter(|failover| !failover.spans.is_empty())
                .count(),
            undone: by_law(&verdict.undone),
            violations: by_law(&verdict.violations),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            store,
            seed,
            calls,
            acknowledged,
            refused,
            unknown,
            faults,
            checks,
            taken_back,
            failovers,
            undone,
            violations,
        } = self;
        let total = |laws: &BTreeMap<Law, usize>| laws.values().sum::<usize>().to_string();
        let columns = [
            ("store", store.clone()),
            ("seed", seed.to_string()),
            ("calls", calls.to_string()),
            ("acknowledged", acknowledged.to_string()),
            ("refused", refused.to_string()),
            ("unknown", unknown.to_string()),
            ("faults", faults.to_string()),
            ("checks", checks.to_string()),
            ("taken back", taken_back.to_string()),
            ("failovers", failovers.to_string()),
            ("undone", total(undone)),
            ("violations", total(violations)),
        ];
        for cell in [
            |(name, _): &(&'static str, String)| (*name).to_owned(),
            |(_, value): &(&'static str, String)| value.clone(),
        ] {
            let cells: Vec<_> = columns
                .iter()
                .map(|column| {
                    let width = column.0.len().max(column.1.len());
                    format!("{:>width$}", cell(column))
                })
                .collect();
            writeln!(f, "{}", cells.join("  "))?;
        }
        for (law, count) in undone {
            writeln!(f, "  documented, lost in a failover: {law}: {count}")?;
        }
        for (law, count) in violations {
            writeln!(f, "  {law}: {count}")?;
        }
        Ok(())
    }
}
