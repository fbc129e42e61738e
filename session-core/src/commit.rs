//! What one request does to a session, as one atomic step.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Attributes, Json, Limits, Name, Principal, Rejection, SecretHash};

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
    /// On nothing: of two commits to one name the later wins, commits to different names both
    /// survive.
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
    /// The session is anonymous from now on.
    Unset,
}

/// What a commit does to the time of the authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthenticationChange {
    /// Nothing.
    Keep,
    /// The user has proved who they are just now.
    Now,
    /// The session has no principal any more.
    Clear,
}

/// A new secret for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// The hash of the new secret.
    pub secret: SecretHash,
    /// The generation of the new secret.
    pub generation: u32,
    /// How long the secret that it replaces may still read. With `None` the store forgets that
    /// secret.
    pub grace: Option<Duration>,
}

/// Everything one request does to a session. It takes effect whole or not at all.
///
/// ```
/// # use session_core::{Change, Commit, Json, Name, SessionId};
/// let id = SessionId::random()?;
/// let commit = Commit::new(id.secret_hash()).change(Name::new("theme")?, Change::Set(Json::encode("dark")?));
/// assert!(!commit.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The hash of the request's secret. The store compares it with the record's in the atomic
    /// step.
    pub secret: SecretHash,
    /// On what it depends besides.
    pub guard: Guard,
    /// Whether all values go before `changes` are applied.
    pub clear: bool,
    /// What happens to single values.
    pub changes: Changes,
    /// What happens to the principal. A new one takes effect together with `rotate`: the session's
    /// `since` becomes that generation.
    pub principal: PrincipalChange,
    /// Whether the user has proved who they are just now. A new principal says that as well.
    pub authenticated: bool,
    /// The new secret; `None` keeps it.
    pub rotate: Option<Rotation>,
    /// The record's new attributes; `None` keeps them.
    pub attributes: Option<Attributes>,
    /// How long the record lives from now on; `None` keeps its deadline.
    pub ttl: Option<Duration>,
}

impl Commit {
    /// A commit of a request with this secret, that does nothing yet.
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

    /// The same with the time of the authentication set to now.
    #[must_use]
    pub fn authenticated(mut self) -> Self {
        self.authenticated = true;
        self
    }

    /// The same with a new secret.
    #[must_use]
    pub fn rotate(mut self, rotation: Rotation) -> Self {
        self.rotate = Some(rotation);
        self
    }

    /// The same with other attributes.
    #[must_use]
    pub fn attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = Some(attributes);
        self
    }

    /// The same with a new life.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Whether it writes nothing. A store still judges it: the session may be gone, or the secret
    /// superseded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.is_change() && self.ttl.is_none() && self.rotate.is_none() && !self.authenticated
    }

    /// Whether it changes data, principal or attributes, so that the version grows. Rotating,
    /// extending the life and proving who one is are not changes; setting a value is one even if it
    /// equals the stored one, because not every backend can tell without a read.
    #[must_use]
    pub fn is_change(&self) -> bool {
        self.clear
            || !self.changes.is_empty()
            || self.principal != PrincipalChange::Keep
            || self.attributes.is_some()
    }

    /// What it does to the time of the authentication. Stores use this, not the fields it is made
    /// of.
    #[must_use]
    pub fn authentication(&self) -> AuthenticationChange {
        match &self.principal {
            PrincipalChange::Unset => AuthenticationChange::Clear,
            PrincipalChange::Set(_) => AuthenticationChange::Now,
            PrincipalChange::Keep if self.authenticated => AuthenticationChange::Now,
            PrincipalChange::Keep => AuthenticationChange::Keep,
        }
    }

    /// What `since` becomes; `None` keeps it.
    #[must_use]
    pub fn since(&self) -> Option<u32> {
        match &self.principal {
            PrincipalChange::Keep => None,
            PrincipalChange::Unset => Some(0),
            // `check` refuses a new principal without a rotation.
            PrincipalChange::Set(_) => self.rotate.map(|rotation| rotation.generation),
        }
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
    /// [`Rejection`] if the ttl is out of range, the commit alone is over the cap on data, a new
    /// principal comes without a rotation, or a grace is too long or comes with a new principal or
    /// authentication.
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

/// What [`commit`](crate::SessionStore::commit) did. Where several verdicts apply, the first in
/// this order counts: `Gone`, `Superseded`, `Conflict`; a record that cannot be read is `Corrupt`
/// before `Superseded`, and `Rejected` comes last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[must_use]
pub enum Outcome {
    /// All of it took effect.
    Done(Committed),
    /// The guard did not hold. Nothing changed.
    Conflict,
    /// The session lives and the commit's secret is not its current one. Nothing changed.
    Superseded,
    /// There is no live record under the key. Nothing changed, nothing was created.
    Gone,
}

/// The record after a commit that took effect.
///
/// Ages, ttl and attributes come along so that a request that never loaded the record still knows
/// when its life has to be extended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// The version now.
    pub version: u64,
    /// The sum of each `Add`.
    pub added: BTreeMap<Name, i64>,
    /// How long ago the session was created.
    pub age: Duration,
    /// How long ago the user proved who they are. `None` exactly if there is no principal.
    pub authenticated: Option<Duration>,
    /// How long the session lives from now if nothing extends it.
    pub ttl: Duration,
    /// What the session keeps beside its data.
    pub attributes: Attributes,
}
