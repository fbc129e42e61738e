//! What one request knows, has recorded and owes the browser.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::{
    Change, Commit, Committed, Data, Json, Name, Persistence, Policy, PrincipalChange, Record, SessionId, StoreKey,
    cookie::{Presented, SignedBy},
    plan::{Known, Recorded},
    session::CookieChange,
};

/// An id with the key that stores see, computed once.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) id: SessionId,
    pub(super) key: StoreKey,
}

impl From<SessionId> for Identity {
    fn from(id: SessionId) -> Self {
        let key = id.store_key();
        Self { id, key }
    }
}

/// What the browser has to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owed {
    Nothing,
    /// The cookie again if the session is alive: an older key had signed it.
    Resigned,
    /// The cookie again if it is persistent: the session's life was extended.
    Extended,
    /// The id, which is new.
    Id,
    Removal,
}

/// Whether cookies can still be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    Open,
    Sent,
}

#[derive(Debug)]
pub(super) struct State {
    /// `Some` exactly while `known` is neither `Absent` nor `Gone`.
    pub(super) identity: Option<Identity>,
    pub(super) known: Known,
    pub(super) recorded: Recorded,
    pub(super) head: Head,
    /// An id that was drawn for a session whose creation, or move, may or may not have landed.
    pub(super) drawn: Option<Identity>,
    /// When `known` was heard of the store.
    heard: Instant,
    /// Whether the browser showed an id that verified, whatever became of it.
    shown: bool,
    owed: Owed,
    /// Whether this request began the session's life, or extended it.
    pub(super) renewed: bool,
}

impl State {
    pub(super) fn new(presented: Option<Presented>) -> Self {
        let owed = match &presented {
            Some(Presented { signed_by: SignedBy::Older, .. }) => Owed::Resigned,
            _ => Owed::Nothing,
        };
        let known = if presented.is_some() { Known::Presented } else { Known::Absent };
        let shown = presented.is_some();
        let identity = presented.map(|presented| presented.id.into());
        Self {
            shown,
            identity,
            known,
            recorded: Recorded::default(),
            head: Head::Open,
            drawn: None,
            heard: Instant::now(),
            owed,
            renewed: false,
        }
    }

    /// The key to ask the store with, if there may be a record.
    pub(super) fn key(&self) -> Option<StoreKey> {
        self.identity.as_ref().map(|identity| identity.key.clone())
    }

    /// The record as loaded.
    pub(super) fn record(&self) -> Option<&Record> {
        match &self.known {
            Known::Loaded(record) => Some(record),
            _ => None,
        }
    }

    /// Whether the stored values do not show: the handler cleared them, or another user signs in.
    fn hides_data(&self) -> bool {
        self.recorded.clears > 0 || self.record().is_some_and(|record| self.recorded.changes_owner(record))
    }

    /// Whether the value is settled by what the handler itself did, so that the record need not be known.
    pub(super) fn is_settled(&self, name: &str) -> bool {
        self.recorded.clears > 0 || self.recorded.changes.contains_key(name)
    }

    /// The value as the handler sees it.
    pub(super) fn value(&self, name: &str) -> Option<&Json> {
        match self.recorded.changes.get(name) {
            Some(Change::Set(value)) => Some(value),
            Some(Change::Remove | Change::Add(_)) => None,
            None if self.hides_data() => None,
            None => self.record()?.data.get(name),
        }
    }

    /// The names as the handler sees them, in the order of their bytes.
    pub(super) fn names(&self) -> Vec<Name> {
        let held = self.record().filter(|_| !self.hides_data()).map(|record| &record.data);
        let mut names: BTreeSet<&Name> = held.into_iter().flat_map(|data| data.iter().map(|(name, _)| name)).collect();
        for (name, change) in &self.recorded.changes {
            match change {
                Change::Set(_) => drop(names.insert(name)),
                Change::Remove | Change::Add(_) => drop(names.remove(name)),
            }
        }
        names.into_iter().cloned().collect()
    }

    /// How long ago the store said what is known. Only its length is used, never beside a time of the store's clock.
    pub(super) fn elapsed(&self) -> Duration {
        self.heard.elapsed()
    }

    /// The store has given the record.
    pub(super) fn loaded(&mut self, record: Record) {
        self.known = Known::Loaded(record);
        self.heard = Instant::now();
    }

    /// There is a record under this id now that the browser does not know of.
    pub(super) fn created(&mut self, identity: Identity, record: Record) {
        self.identity = Some(identity);
        self.drawn = None;
        self.owed = Owed::Id;
        self.renewed = true;
        self.loaded(record);
    }

    /// The store has applied `commit`.
    pub(super) fn committed(&mut self, commit: &Commit, successor: Option<Identity>, done: &Committed) {
        self.heard = Instant::now();
        self.renewed |= commit.ttl.is_some();
        if successor.is_some() {
            self.identity = successor;
            self.drawn = None;
            self.owed = Owed::Id;
        } else if (commit.ttl.is_some() || commit.lifetime.is_some()) && self.owed == Owed::Nothing {
            self.owed = Owed::Extended;
        }
        let Known::Loaded(record) = &mut self.known else {
            self.known = Known::Alive { age: done.age, ttl: done.ttl, lifetime: done.lifetime };
            return;
        };
        if commit.clear {
            record.data.clear();
        }
        apply(&mut record.data, &commit.changes);
        for (name, sum) in &done.added {
            record.data.insert(name.clone(), Json::integer(*sum));
        }
        match &commit.principal {
            PrincipalChange::Keep => {}
            PrincipalChange::Set(principal) => record.principal = Some(principal.clone()),
            PrincipalChange::Unset => record.principal = None,
        }
        // If others committed in between, the values held here are older than `done.version`. The version stays behind then, so that
        // a guard made from it fails and loads anew, instead of overwriting what was never seen.
        if done.version == record.version + u64::from(commit.is_change()) {
            record.version = done.version;
        }
        (record.age, record.ttl, record.lifetime) = (done.age, done.ttl, done.lifetime);
    }

    /// The store says that there is no such record. A request that never saw it alive is anonymous from its start.
    pub(super) fn missing(&mut self) {
        self.identity = None;
        self.known = match self.known {
            Known::Absent | Known::Presented => Known::Absent,
            Known::Alive { .. } | Known::Loaded(_) | Known::Gone => Known::Gone,
        };
    }

    /// The session is over for this request. What comes later starts a new one; a browser that showed an id is told to forget it.
    pub(super) fn ended(&mut self) {
        (self.identity, self.drawn) = (None, None);
        self.known = Known::Absent;
        self.recorded = Recorded::default();
        self.owed = if self.shown { Owed::Removal } else { Owed::Nothing };
    }

    /// What the response has to tell the browser.
    pub(super) fn cookie(&self, policy: &Policy) -> CookieChange {
        let (lifetime, ttl) = match &self.known {
            Known::Loaded(record) => (record.lifetime, record.ttl),
            Known::Alive { lifetime, ttl, .. } => (*lifetime, *ttl),
            Known::Absent | Known::Presented | Known::Gone if self.owed == Owed::Removal => return CookieChange::Remove,
            Known::Absent | Known::Presented | Known::Gone => return CookieChange::Keep,
        };
        let persistence = policy.persistence_of(&lifetime);
        let due = match self.owed {
            Owed::Nothing | Owed::Removal => false,
            Owed::Resigned | Owed::Id => true,
            // Also when the session stopped being persistent: the browser has to forget the old Max-Age.
            Owed::Extended => persistence == Persistence::Persistent || lifetime.persistence.is_some(),
        };
        match &self.identity {
            Some(identity) if due => {
                CookieChange::Issue { id: identity.id.clone(), max_age: (persistence == Persistence::Persistent).then_some(ttl) }
            }
            _ => CookieChange::Keep,
        }
    }
}

fn apply(data: &mut Data, changes: &crate::Changes) {
    for (name, change) in changes {
        match change {
            Change::Set(value) => {
                data.insert(name.clone(), value.clone());
            }
            Change::Remove => {
                data.remove(name.as_str());
            }
            Change::Add(_) => {}
        }
    }
}
