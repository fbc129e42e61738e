//! The bugs that can be planted in a store, to show what the checker finds.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// One bug of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlantedBug {
    /// A commit on a missing session creates it.
    Upsert,
    /// A commit ignores its guard.
    LostGuard,
    /// Sessions outlive their deadline.
    ForgottenExpiry,
    /// Sessions get half of their life.
    EarlyExpiry,
    /// Some reads show a session that has ended.
    StaleRead,
    /// Commits with a superseded secret take effect, except rotations.
    SupersededAccepted,
    /// A rotation does not compare the secret, so two rotations can win.
    RotationWithoutCheck,
    /// A rotation writes back the values that it read earlier, so concurrent updates are lost.
    LossyRotation,
    /// A deletion ignores its claim.
    IgnoredClaim,
    /// A creation replaces a live session.
    OverwritingCreate,
    /// Some sets are acknowledged and dropped.
    LostSet,
    /// Some additions are acknowledged and dropped.
    LostAdd,
    /// Some additions are made twice.
    DoubleAdd,
    /// Some creations are acknowledged and dropped.
    LostSession,
    /// A revocation ends only the first session of the list.
    HalfRevoke,
    /// Some lists lack a session.
    LostIndex,
    /// A commit of several changes is made in two steps.
    TornCommit,
}

impl PlantedBug {
    /// All bugs with their names on the command line.
    pub const ALL: &[(&str, Self)] = &[
        ("upsert", Self::Upsert),
        ("lost-guard", Self::LostGuard),
        ("forgotten-expiry", Self::ForgottenExpiry),
        ("early-expiry", Self::EarlyExpiry),
        ("stale-read", Self::StaleRead),
        ("superseded-accepted", Self::SupersededAccepted),
        ("rotation-without-check", Self::RotationWithoutCheck),
        ("lossy-rotation", Self::LossyRotation),
        ("ignored-claim", Self::IgnoredClaim),
        ("overwriting-create", Self::OverwritingCreate),
        ("lost-set", Self::LostSet),
        ("lost-add", Self::LostAdd),
        ("double-add", Self::DoubleAdd),
        ("lost-session", Self::LostSession),
        ("half-revoke", Self::HalfRevoke),
        ("lost-index", Self::LostIndex),
        ("torn-commit", Self::TornCommit),
    ];
}

impl FromStr for PlantedBug {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, plant)| *plant);
        let names = || Self::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        found.ok_or_else(|| format!("unknown bug {text:?}; use one of {}", names()))
    }
}

impl fmt::Display for PlantedBug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, plant)| plant == self).map_or("?", |(name, _)| name);
        f.write_str(name)
    }
}
