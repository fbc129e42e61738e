//! What one request does to a session, as one atomic step.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Json, Lifetime, Limits, Name, Principal, Rejection, StoreKey};

/// What happens to one value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The value becomes this.
    Set(Json),
    /// The value goes. Removing what is not there is fine.
    Remove,
    /// The integer grows by this much, atomically at the store; an absent value counts as 0.
    Add(i64),
}

/// The changes of one commit, one for each name.
pub type Changes = BTreeMap<Name, Change>;

/// On what a commit depends, besides the record being alive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Guard {
    /// On nothing: of two commits to one name the later wins, commits to different names both survive.
    #[default]
    Any,
    /// On the record still having this version.
    Version(u64),
}

/// What a commit does to the principal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PrincipalChange {
    /// Nothing.
    #[default]
    Keep,
    /// This user is signed in now.
    Set(Principal),
    /// Nobody is signed in any more.
    Unset,
}

/// Everything one request does to a session. It takes effect whole or not at all.
///
/// ```
/// # use session_core::{Change, Commit, Json, Name};
/// let commit = Commit::new().change(Name::new("visits")?, Change::Add(1)).change(Name::new("theme")?, Change::Set(Json::encode("dark")?));
/// assert!(!commit.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// On what it depends.
    pub guard: Guard,
    /// Whether all values go before `changes` are applied.
    pub clear: bool,
    /// What happens to single values.
    pub changes: Changes,
    /// What happens to the principal.
    pub principal: PrincipalChange,
    /// The record's new lifetime settings; `None` keeps them.
    pub lifetime: Option<Lifetime>,
    /// How long the record lives from now on; `None` keeps its deadline.
    pub ttl: Option<Duration>,
    /// The key under which the record lives from now on; the old one is dead at once. It must have the old one's lineage.
    pub move_to: Option<StoreKey>,
}

impl Commit {
    /// A commit that does nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, depending on `guard`.
    #[must_use]
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guard = guard;
        self
    }

    /// The same with one more change; a former change of that name is forgotten.
    #[must_use]
    pub fn change(mut self, name: Name, change: Change) -> Self {
        self.changes.insert(name, change);
        self
    }

    /// The same, with all values gone that it does not set itself.
    #[must_use]
    pub fn clear(mut self) -> Self {
        self.clear = true;
        self
    }

    /// The same with this change of the principal.
    #[must_use]
    pub fn principal(mut self, principal: PrincipalChange) -> Self {
        self.principal = principal;
        self
    }

    /// The same with other lifetime settings.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// The same with a new life.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// The same, moving the record to `key`.
    #[must_use]
    pub fn move_to(mut self, key: StoreKey) -> Self {
        self.move_to = Some(key);
        self
    }

    /// Whether it would change nothing at all, so that no store need be asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.is_change() && self.ttl.is_none() && self.move_to.is_none()
    }

    /// Whether it changes data, principal or lifetime, so that the version grows. Moving and extending are not changes; setting a value is
    /// one even if it is equal to the stored one, because not every backend can tell without a read.
    #[must_use]
    pub fn is_change(&self) -> bool {
        self.clear || !self.changes.is_empty() || self.principal != PrincipalChange::Keep || self.lifetime.is_some()
    }

    /// The bytes that the commit itself brings, as [`Data::bytes`](crate::Data::bytes) counts them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let set = |(name, change): (&Name, &Change)| match change {
            Change::Set(value) => name.as_str().len() + value.as_str().len(),
            Change::Remove | Change::Add(_) => 0,
        };
        self.changes.iter().map(set).sum()
    }

    /// The check that every store makes before I/O.
    ///
    /// # Errors
    /// [`Rejection`] if the ttl is out of range, the commit alone is over the cap on data, or `move_to` is not storable or of another
    /// lineage than `key`.
    pub fn check(&self, key: &StoreKey, limits: &Limits) -> Result<(), Rejection> {
        if let Some(ttl) = self.ttl {
            limits.check_ttl(ttl)?;
        }
        limits.check_data(self.bytes())?;
        match &self.move_to {
            Some(target) if !target.is_storable() => Err(Rejection::Key { bytes: target.as_str().len() }),
            Some(target) if !target.same_lineage(key) => Err(Rejection::OtherLineage),
            _ => Ok(()),
        }
    }
}

/// What [`commit`](crate::SessionStore::commit) did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[must_use]
pub enum Outcome {
    /// All of it took effect.
    Done(Committed),
    /// The guard did not hold, or `move_to` is taken by another live record. Nothing changed.
    Conflict,
    /// There is no live record under the key. Nothing changed, nothing was created.
    Gone,
}

/// The record after a commit that took effect.
///
/// Age, ttl and lifetime come along so that a request that never loaded the record still knows when its life has to be extended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// The version now.
    pub version: u64,
    /// What each `Add` came to.
    pub added: BTreeMap<Name, i64>,
    /// How long ago the session was created.
    pub age: Duration,
    /// How long the session lives from now if nothing extends it.
    pub ttl: Duration,
    /// What this session asks for in place of the policy's timeouts.
    pub lifetime: Lifetime,
}
