//! The changes that one request makes to a session, as one atomic step.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Attributes, Json, Limits, Name, Principal, Rejection, SecretHash};

/// A change of one value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Sets the value.
    Set(Json),
    /// Removes the value. Removing an absent value succeeds.
    Remove,
    /// Adds to the integer, atomically at the store. An absent value counts as 0.
    Add(i64),
}

/// The changes of one commit: at most one for each name.
pub type Changes = BTreeMap<Name, Change>;

/// The condition under which a commit is applied, beside a live record and the current secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Guard {
    /// No condition. Of two commits to one name the later wins. Commits to different names both
    /// survive.
    #[default]
    Any,
    /// The record must have this version.
    Version(u64),
}

/// What a commit does to the principal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum PrincipalChange {
    /// It stays.
    #[default]
    Keep,
    /// This user signs in.
    Set(Principal),
    /// The session becomes anonymous.
    Unset,
}

/// What a commit does to the time of the authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthenticationChange {
    /// It stays.
    Keep,
    /// It becomes now: the user has just proved their identity.
    Now,
    /// It is removed, together with the principal.
    Clear,
}

/// A new secret for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// The hash of the new secret.
    pub secret: SecretHash,
    /// The generation of the new secret.
    pub generation: u32,
    /// How long the former secret may still read. With `None` the store forgets it.
    pub grace: Option<Duration>,
}

/// All changes that one request makes to a session. They take effect together or not at all.
///
/// ```
/// # use session_core::{Change, Commit, Json, Name, SessionId};
/// let id = SessionId::random()?;
/// let theme = Change::Set(Json::encode("dark")?);
/// let commit = Commit::new(id.secret_hash()).change(Name::new("theme")?, theme);
/// assert!(!commit.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The hash of the request's secret. The store compares it with that of the record in the same
    /// atomic step.
    pub secret: SecretHash,
    /// A further condition.
    pub guard: Guard,
    /// Whether all values are removed before `changes` are applied.
    pub clear: bool,
    /// The changes of single values.
    pub changes: Changes,
    /// The change of the principal. A new principal needs `rotate`: the session's `since` becomes
    /// that generation.
    pub principal: PrincipalChange,
    /// Whether the user has just proved their identity. A new principal implies it.
    pub authenticated: bool,
    /// The new secret. `None` keeps the current one.
    pub rotate: Option<Rotation>,
    /// The new attributes. `None` keeps the current ones.
    pub attributes: Option<Attributes>,
    /// The new ttl, counted from now. `None` keeps the deadline.
    pub ttl: Option<Duration>,
}

impl Commit {
    /// A commit of a request with this secret. It changes nothing yet.
    #[must_use]
    pub fn new(secret: SecretHash) -> Self {
        Self {
            secret,
            guard: Guard::Any,
            clear: false,
            changes: Changes::new(),
            principal: PrincipalChange::Keep,
            authenticated: false,
            rotate: None,
            attributes: None,
            ttl: None,
        }
    }

    /// Sets the condition.
    #[must_use]
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guard = guard;
        self
    }

    /// Adds a change. It replaces an earlier change of the same name.
    #[must_use]
    pub fn change(mut self, name: Name, change: Change) -> Self {
        self.changes.insert(name, change);
        self
    }

    /// Removes all values that the commit does not set itself.
    #[must_use]
    pub fn clear(mut self) -> Self {
        self.clear = true;
        self
    }

    /// Sets the change of the principal.
    #[must_use]
    pub fn principal(mut self, principal: PrincipalChange) -> Self {
        self.principal = principal;
        self
    }

    /// Sets the time of the authentication to now.
    #[must_use]
    pub fn authenticated(mut self) -> Self {
        self.authenticated = true;
        self
    }

    /// Sets the new secret.
    #[must_use]
    pub fn rotate(mut self, rotation: Rotation) -> Self {
        self.rotate = Some(rotation);
        self
    }

    /// Sets the new attributes.
    #[must_use]
    pub fn attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = Some(attributes);
        self
    }

    /// Sets the new ttl.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Whether the commit writes nothing. A store still judges it: the session may have ended, or
    /// the secret may be superseded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.is_change() && self.ttl.is_none() && self.rotate.is_none() && !self.authenticated
    }

    /// Whether the commit changes data, principal or attributes, so that the version grows. A
    /// rotation, a new ttl and a new authentication are not changes. Setting a value is a change
    /// even if it equals the stored one, because not every backend can tell without a read.
    #[must_use]
    pub fn is_change(&self) -> bool {
        self.clear
            || !self.changes.is_empty()
            || self.principal != PrincipalChange::Keep
            || self.attributes.is_some()
    }

    /// What the commit does to the time of the authentication. Stores use this method instead of
    /// the fields behind it.
    #[must_use]
    pub fn authentication(&self) -> AuthenticationChange {
        match &self.principal {
            PrincipalChange::Unset => AuthenticationChange::Clear,
            PrincipalChange::Set(_) => AuthenticationChange::Now,
            PrincipalChange::Keep if self.authenticated => AuthenticationChange::Now,
            PrincipalChange::Keep => AuthenticationChange::Keep,
        }
    }

    /// The new value of `since`. `None` keeps it.
    #[must_use]
    pub fn since(&self) -> Option<u32> {
        match &self.principal {
            PrincipalChange::Keep => None,
            PrincipalChange::Unset => Some(0),
            // `check` rejects a new principal without a rotation.
            PrincipalChange::Set(_) => self.rotate.map(|rotation| rotation.generation),
        }
    }

    /// The bytes of data in the commit itself, counted as in [`Data::bytes`](crate::Data::bytes).
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
    /// [`Rejection`] if the ttl is out of range, if the commit alone exceeds the limit on data, if
    /// it sets a principal without a rotation, or if its grace is too long or comes with a new
    /// principal or authentication.
    pub fn check(&self, limits: &Limits) -> Result<(), Rejection> {
        if let Some(ttl) = self.ttl {
            limits.check_ttl(ttl)?;
        }
        limits.check_data(self.bytes())?;
        let signs_in = matches!(self.principal, PrincipalChange::Set(_));
        if signs_in && self.rotate.is_none() {
            return Err(Rejection::PrincipalWithoutRotation);
        }
        match self.rotate.and_then(|rotation| rotation.grace) {
            Some(_) if self.principal != PrincipalChange::Keep || self.authenticated => {
                Err(Rejection::GraceWithSignIn)
            }
            Some(grace) if grace < Duration::from_millis(1) || grace > Limits::LONGEST_GRACE => {
                Err(Rejection::Grace { grace })
            }
            _ => Ok(()),
        }
    }
}

/// The result of [`commit`](crate::SessionStore::commit). If several apply, the first in this order
/// is returned: `Gone`, `Superseded`, `Conflict`. An unreadable record is `Corrupt` before
/// `Superseded`. `Rejected` comes last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[must_use]
pub enum Outcome {
    /// The whole commit took effect.
    Done(Committed),
    /// The record does not have the version of the guard. Nothing changed.
    Conflict,
    /// The session lives, and the secret of the commit is not its current one. Nothing changed.
    Superseded,
    /// There is no live record under the key. Nothing changed, and nothing was created.
    Gone,
}

/// The state of the record after a commit that took effect.
///
/// It contains ages, ttl and attributes, so that a request that never loaded the record still knows
/// when to extend the lifetime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// The new version.
    pub version: u64,
    /// The result of each `Add`.
    pub added: BTreeMap<Name, i64>,
    /// The time since the session was created.
    pub age: Duration,
    /// The time since the user last proved their identity. `None` exactly if there is no principal.
    pub authenticated: Option<Duration>,
    /// The remaining lifetime if no call extends it.
    pub ttl: Duration,
    /// The settings and facts beside the data.
    pub attributes: Attributes,
}
