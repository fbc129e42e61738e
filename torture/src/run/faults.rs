//! The kinds of faults.

use std::{collections::BTreeSet, fmt, str::FromStr};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// A worker is killed and started again.
    Kill,
    /// A worker or the store is stopped for a while and continues.
    Freeze,
    /// The store is killed and started again with the writes that it had acknowledged.
    Restart,
    /// A primary is killed or frozen until another server has taken over, and returns as its
    /// replica.
    Failover,
    /// Packets to or from the store are dropped.
    Cut,
}

impl FaultKind {
    const NAMES: &[(&str, Self)] = &[
        ("kill", Self::Kill),
        ("freeze", Self::Freeze),
        ("restart", Self::Restart),
        ("failover", Self::Failover),
        ("cut", Self::Cut),
    ];
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES.iter().find(|(_, kind)| kind == self).map_or("?", |(name, _)| name))
    }
}

/// The kinds of faults of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Faults(pub BTreeSet<FaultKind>);

impl FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names =
            text.split(',').map(str::trim).filter(|name| !name.is_empty() && *name != "none");
        let kind = |name| {
            let found =
                FaultKind::NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
            found.ok_or_else(|| {
                format!(
                    "unknown fault {name:?}; use any of kill, freeze, restart, failover and \
                     cut, or none"
                )
            })
        };
        names.map(kind).collect::<Result<_, _>>().map(Self)
    }
}
