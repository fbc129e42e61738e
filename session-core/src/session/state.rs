//! What one request knows, has recorded and has to tell the browser.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::{
    Change, Commit, Committed, Data, Json, Name, Persistence, Policy, PrincipalChange, Record,
    SecretHash, SessionId, StoreKey, Superseded,
    cookie::{SignedBy, VerifiedCookie, VerifiedCookies},
    plan::{Alive, Recorded, SessionKnowledge},
    session::CookieChange,
};

/// An id with what stores see of it, computed once.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) id: SessionId,
    pub(super) key: StoreKey,
    pub(super) secret: SecretHash,
    pub(super) signed_by: SignedBy,
}

impl From<Identity> for VerifiedCookie {
    fn from(Identity { id, signed_by, .. }: Identity) -> Self {
        Self { id, signed_by }
    }
}

impl From<SessionId> for Identity {
    fn from(id: SessionId) -> Self {
        VerifiedCookie { id, signed_by: SignedBy::Current }.into()
    }
}

impl From<VerifiedCookie> for Identity {
    fn from(VerifiedCookie { id, signed_by }: VerifiedCookie) -> Self {
        Self { key: id.key(), secret: id.secret_hash(), id, signed_by }
    }
}

/// The request's own id, when its session lives with another secret.
#[derive(Debug, Clone)]
pub(super) struct SupersededId {
    pub(super) identity: Identity,
    pub(super) record: Superseded,
}

/// An id that was drawn for a creation or rotation that may or may not have landed.
#[derive(Debug)]
pub(super) struct DrawnId {
    pub(super) identity: Identity,
    /// What the failed attempts with this id carried, if they all carried the same; nothing if they
    /// did not. `None` before the first failure.
    attempted: Option<Recorded>,
}

impl DrawnId {
    pub(super) fn new(identity: Identity) -> Self {
        Self { identity, attempted: None }
    }

    /// What is certain to have landed if an attempt did.
    pub(super) fn attempted(self) -> Recorded {
        self.attempted.unwrap_or_default()
    }
}

/// What the browser has to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PendingCookie {
    None,
    /// The cookie again if the session is alive: an older key had signed it.
    NewSignature,
    /// The cookie again if it is persistent: the session's life was extended.
    NewMaxAge,
    /// The id, which is new.
    NewId,
    Removal,
}

/// Whether cookies can still be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseHead {
    Open,
    Sent,
}

#[derive(Debug)]
pub(super) struct State {
    /// `Some` exactly while `known` is neither `Absent` nor `Gone`.
    pub(super) identity: Option<Identity>,
    /// The other cookies that verified; only `destroy` uses them once `identity` is chosen.
    pub(super) others: Vec<VerifiedCookie>,
    pub(super) known: SessionKnowledge,
    /// What the store said of the request's own id, if that is superseded. `known` is `Superseded`
    /// while the rotation settles and `Absent` later.
    pub(super) superseded: Option<SupersededId>,
    pub(super) recorded: Recorded,
    pub(super) head: ResponseHead,
    pub(super) drawn: Option<DrawnId>,
    /// When the request began.
    began: Instant,
    /// When the store said what is `known`.
    known_at: Instant,
    /// Whether this request saw its session alive.
    was_alive: bool,
    /// Whether the browser sent an id that verified.
    sent_cookie: bool,
    pending_cookie: PendingCookie,
    /// Whether this request began the session's life, or extended it.
    pub(super) renewed: bool,
}

impl State {
    pub(super) fn new(cookies: VerifiedCookies, began: Instant) -> Self {
        let VerifiedCookies { first, others } = cookies;
        let sent_cookie = first.is_some();
        Self {
            identity: first.map(Identity::from),
            others,
            known: if sent_cookie { SessionKnowledge::Unloaded } else { SessionKnowledge::Absent },
            superseded: None,
            recorded: Recorded::default(),
            head: ResponseHead::Open,
            drawn: None,
            began,
            known_at: began,
            was_alive: false,
            sent_cookie,
            pending_cookie: PendingCookie::None,
            renewed: false,
        }
    }

    /// The cookies of which the store has to say which one counts: several that verified, none of
    /// them looked up.
    pub(super) fn has_unchosen_cookies(&self) -> bool {
        !self.others.is_empty() && matches!(self.known, SessionKnowledge::Unloaded)
    }

    /// The hash of the request's secret; zeros without an id, which no commit is made with.
    pub(super) fn secret(&self) -> SecretHash {
        self.identity
            .as_ref()
            .map_or(SecretHash::from_bytes([0; SecretHash::BYTES]), |identity| identity.secret)
    }

    /// The key to ask the store with, if there may be a record.
    pub(super) fn key(&self) -> Option<StoreKey> {
        self.identity.as_ref().map(|identity| identity.key.clone())
    }

    /// The record as loaded.
    pub(super) fn record(&self) -> Option<&Record> {
        match &self.known {
            SessionKnowledge::Loaded(record) | SessionKnowledge::Grace(record) => Some(record),
            _ => None,
        }
    }

    /// Whether the stored values do not show: the handler cleared them, or another user signs in.
    fn hides_data(&self) -> bool {
        self.recorded.clears > 0
            || self.record().is_some_and(|record| self.recorded.changes_user(record))
    }

    /// Whether the value is settled by what the handler itself did, so that the record need not be
    /// known.
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
        let mut names: BTreeSet<&Name> =
            held.into_iter().flat_map(|data| data.iter().map(|(name, _)| name)).collect();
        for (name, change) in &self.recorded.changes {
            match change {
                Change::Set(_) => drop(names.insert(name)),
                Change::Remove | Change::Add(_) => drop(names.remove(name)),
            }
        }
        names.into_iter().cloned().collect()
    }

    /// How long ago the store said what is known. Only its length is used, never beside a time of
    /// the store's clock.
    pub(super) fn elapsed(&self) -> Duration {
        self.known_at.elapsed()
    }

    /// The store has given the record, which the request's secret opened.
    pub(super) fn loaded(&mut self, record: Box<Record>) {
        self.known = SessionKnowledge::Loaded(record);
        (self.was_alive, self.known_at, self.superseded) = (true, Instant::now(), None);
        if self.pending_cookie == PendingCookie::None
            && self.identity.as_ref().is_some_and(|identity| identity.signed_by == SignedBy::Older)
        {
            self.pending_cookie = PendingCookie::NewSignature;
        }
    }

    /// The store has given the record, which the former secret may still read.
    pub(super) fn in_grace(&mut self, record: Box<Record>) {
        self.known = SessionKnowledge::Grace(record);
        (self.was_alive, self.known_at) = (true, Instant::now());
    }

    /// The store says that the session lives with another secret. `true` if the id is so old that
    /// its use is worth a report.
    ///
    /// While the rotation settles, writes are refused, because the browser has the new id or is
    /// about to get it. Later the id counts as absent, so that no browser is locked out. A request
    /// that saw its session alive began before the rotation.
    pub(super) fn superseded(
        &mut self,
        identity: Identity,
        record: Superseded,
        policy: &Policy,
    ) -> bool {
        let own = identity.id.generation();
        let settling = self.began.elapsed().saturating_add(policy.rotation_settles);
        let settles = self.was_alive || record.replaced_ago(own).is_some_and(|ago| ago < settling);
        let late = !settles && record.since <= own && own < record.generation;
        self.known = if settles { SessionKnowledge::Superseded } else { SessionKnowledge::Absent };
        self.identity = settles.then(|| identity.clone());
        (self.drawn, self.known_at) = (None, Instant::now());
        self.superseded = Some(SupersededId { identity, record });
        late
    }

    /// There is a record under this id now that the browser does not know of.
    pub(super) fn created(&mut self, identity: Identity, record: Box<Record>) {
        self.identity = Some(identity);
        self.drawn = None;
        self.pending_cookie = PendingCookie::NewId;
        self.renewed = true;
        self.loaded(record);
    }

    /// The store has applied `commit`.
    pub(super) fn committed(
        &mut self,
        commit: &Commit,
        successor: Option<Identity>,
        done: &Committed,
    ) {
        (self.was_alive, self.known_at) = (true, Instant::now());
        self.renewed |= commit.ttl.is_some();
        if successor.is_some() {
            self.identity = successor;
            self.drawn = None;
            self.pending_cookie = PendingCookie::NewId;
        } else if (commit.ttl.is_some() || commit.attributes.is_some())
            && self.pending_cookie == PendingCookie::None
        {
            self.pending_cookie = PendingCookie::NewMaxAge;
        }
        if self.pending_cookie == PendingCookie::None
            && self.identity.as_ref().is_some_and(|identity| identity.signed_by == SignedBy::Older)
        {
            self.pending_cookie = PendingCookie::NewSignature;
        }
        let Committed { version, added, age, authenticated, ttl, attributes } = done;
        let SessionKnowledge::Loaded(record) = &mut self.known else {
            let attributes = attributes.clone();
            self.known = SessionKnowledge::Alive(Alive {
                age: *age,
                authenticated: *authenticated,
                ttl: *ttl,
                attributes,
            });
            return;
        };
        if commit.clear {
            record.data.clear();
        }
        apply(&mut record.data, &commit.changes);
        for (name, sum) in added {
            record.data.insert(name.clone(), Json::integer(*sum));
        }
        match &commit.principal {
            PrincipalChange::Keep => {}
            PrincipalChange::Set(principal) => record.principal = Some(principal.clone()),
            PrincipalChange::Unset => record.principal = None,
        }
        record.rotated += age.saturating_sub(record.age);
        if let Some(rotation) = commit.rotate {
            (record.secret, record.generation, record.rotated) =
                (rotation.secret, rotation.generation, Duration::ZERO);
        }
        record.since = commit.since().unwrap_or(record.since);
        // If others committed in between, the values held here are older than `done.version`. The
        // version stays behind then, so that a guard made from it fails and loads anew, instead of
        // overwriting what was never seen.
        if *version == record.version + u64::from(commit.is_change()) {
            record.version = *version;
        }
        (record.age, record.authenticated, record.ttl) = (*age, *authenticated, *ttl);
        record.attributes = attributes.clone();
    }

    /// An attempt to bring `planned` failed, and may have landed with the id that it drew.
    pub(super) fn attempt_failed(&mut self, planned: Recorded) {
        if let Some(drawn) = &mut self.drawn {
            let others_differ = drawn.attempted.as_ref().is_some_and(|former| *former != planned);
            drawn.attempted = Some(if others_differ { Recorded::default() } else { planned });
        }
    }

    /// The store says that there is no such record. A request that never saw it alive is anonymous
    /// from its start.
    pub(super) fn missing(&mut self) {
        (self.identity, self.drawn, self.superseded) = (None, None, None);
        self.known = if self.was_alive { SessionKnowledge::Gone } else { SessionKnowledge::Absent };
    }

    /// Another user signs in, under another key. The session of the former one has been `ended` for
    /// that, or is another request's.
    pub(super) fn end_for_other_user(&mut self, ended: bool) {
        (self.identity, self.drawn, self.superseded) = (None, None, None);
        self.was_alive = false;
        self.known = SessionKnowledge::Absent;
        self.pending_cookie =
            if ended && self.sent_cookie { PendingCookie::Removal } else { PendingCookie::None };
    }

    /// The session is over for this request. What comes later starts a new one; a browser that sent
    /// an id is told to forget it.
    pub(super) fn ended(&mut self) {
        self.end_for_other_user(true);
        self.others.clear();
        self.recorded = Recorded::default();
    }

    /// What the response has to tell the browser.
    pub(super) fn cookie(&self, policy: &Policy) -> CookieChange {
        let (attributes, ttl) = match &self.known {
            SessionKnowledge::Loaded(record) => (&record.attributes, record.ttl),
            SessionKnowledge::Alive(alive) => (&alive.attributes, alive.ttl),
            SessionKnowledge::Absent | SessionKnowledge::Gone
                if self.pending_cookie == PendingCookie::Removal =>
            {
                return CookieChange::Remove;
            }
            // Only a request with the current secret sets a cookie: another one would overwrite the
            // browser's newer id.
            SessionKnowledge::Absent
            | SessionKnowledge::Unloaded
            | SessionKnowledge::Grace(_)
            | SessionKnowledge::Superseded
            | SessionKnowledge::Gone => return CookieChange::Keep,
        };
        let persistence = policy.persistence_of(attributes);
        let due = match self.pending_cookie {
            PendingCookie::None | PendingCookie::Removal => false,
            PendingCookie::NewSignature | PendingCookie::NewId => true,
            // Also when the session stopped being persistent: the browser has to forget the old
            // Max-Age.
            PendingCookie::NewMaxAge => {
                persistence == Persistence::Persistent || attributes.persistence.is_some()
            }
        };
        match &self.identity {
            Some(identity) if due => CookieChange::Issue {
                id: identity.id.clone(),
                max_age: (persistence == Persistence::Persistent).then_some(ttl),
            },
            _ => CookieChange::Keep,
        }
    }
}

pub(super) fn apply(data: &mut Data, changes: &crate::Changes) {
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
