//! A run in numbers.

use std::{collections::BTreeMap, fmt};

use crate::{
    check::{Law, Verdict},
    history::{Fate, History},
};

/// A run in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Which store.
    pub store: String,
    /// What chose the calls.
    pub seed: u64,
    /// The calls.
    pub calls: usize,
    /// Those that were answered with yes.
    pub acknowledged: usize,
    /// Those that were answered with no.
    pub refused: usize,
    /// Those that may or may not have happened.
    pub unknown: usize,
    /// What was done to the processes.
    pub faults: usize,
    /// How many single questions were asked of the history.
    pub checks: u64,
    /// How much was shown that the end of a store took back, none of it acknowledged.
    pub taken_back: usize,
    /// What was broken, and how often.
    pub violations: BTreeMap<Law, usize>,
}

impl Summary {
    /// The numbers of a history.
    #[must_use]
    pub fn of(history: &History, verdict: &Verdict) -> Self {
        let count = |fate| history.calls.iter().filter(|call| call.fate() == fate).count();
        let mut violations = BTreeMap::new();
        for violation in &verdict.violations {
            *violations.entry(violation.law).or_insert(0) += 1;
        }
        Self {
            store: history.store.clone(),
            seed: history.seed,
            calls: history.calls.len(),
            acknowledged: count(Fate::Happened),
            refused: count(Fate::Refused),
            unknown: count(Fate::Unknown),
            faults: history.faults.len(),
            checks: verdict.checks,
            taken_back: verdict.taken_back,
            violations,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, seed, calls, acknowledged, refused, unknown, faults, checks, taken_back, violations } = self;
        let total: usize = violations.values().sum();
        let head = ["store", "seed", "calls", "acknowledged", "refused", "unknown", "faults", "checks", "taken back", "violations"];
        let row = [
            store.clone(),
            seed.to_string(),
            calls.to_string(),
            acknowledged.to_string(),
            refused.to_string(),
            unknown.to_string(),
            faults.to_string(),
            checks.to_string(),
            taken_back.to_string(),
            total.to_string(),
        ];
        for cells in [head.map(str::to_owned), row.clone()] {
            let cells: Vec<_> = cells
                .iter()
                .zip(head.iter().zip(&row))
                .map(|(cell, (name, value))| {
                    let width = name.len().max(value.len());
                    format!("{cell:>width$}")
                })
                .collect();
            writeln!(f, "{}", cells.join("  "))?;
        }
        for (law, count) in violations {
            writeln!(f, "  {law}: {count}")?;
        }
        Ok(())
    }
}
