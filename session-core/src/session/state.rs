//! The state of one request: the session as far as the request has loaded it, the recorded changes,
//! and the cookie that the response must send.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::delivery::CookieChange;
use crate::{
    Change, Changes, Commit, Committed, Data, Json, Name, Persistence, Policy, PrincipalChange,
    Record, SecretHash, SessionId, StoreKey, Superseded,
    cookie::{SignedBy, VerifiedCookie, VerifiedCookies},
    plan::{Alive, Recorded, SessionKnowledge},
};

/// An id with its key and the hash of its secret, computed once.
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

/// The id of the request, if its session lives with another secret.
#[derive(Debug, Clone)]
pub(super) struct SupersededId {
    pub(super) identity: Identity,
    pub(super) record: Superseded,
}

/// An id drawn for a creation or rotation whose outcome may be unknown.
#[derive(Debug)]
pub(super) struct DrawnId {
    pub(super) identity: Identity,
    /// The changes of the failed attempts with this id, if all attempts had the same changes;
    /// otherwise no changes. `None` before the first failure.
    attempted: Option<Recorded>,
}

impl DrawnId {
    pub(super) fn new(identity: Identity) -> Self {
        Self { identity, attempted: None }
    }

    /// The changes that are certainly stored if one of the attempts took effect.
    pub(super) fn attempted(self) -> Recorded {
        self.attempted.unwrap_or_default()
    }
}

/// The cookie that the response has to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PendingCookie {
    None,
    /// The same id with a new signature if the session is alive: an older key had signed it.
    NewSignature,
    /// The same id with a new `Max-Age` if the cookie is persistent: the ttl was extended.
    NewMaxAge,
    /// A new id.
    NewId,
    Removal,
}

/// Whether the response can still set cookies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseHead {
    Open,
    Sent,
}

#[derive(Debug)]
pub(super) struct State {
    /// `Some` exactly while `known` is neither `Absent` nor `Gone`.
    pub(super) identity: Option<Identity>,
    /// The other cookies that verified. Once `identity` is chosen, only `destroy` uses them.
    pub(super) others: Vec<VerifiedCookie>,
    pub(super) known: SessionKnowledge,
    /// What the store reported about the request's own id, if the id is superseded. `known` is
    /// `Superseded` while the rotation settles, and `Absent` later.
    pub(super) superseded: Option<SupersededId>,
    pub(super) recorded: Recorded,
    pub(super) head: ResponseHead,
    pub(super) drawn: Option<DrawnId>,
    /// The session that this request copied to a new id, until it has ended. Only in a store that
    /// cannot rotate.
    pub(super) copied: Option<StoreKey>,
    /// When the request began.
    began: Instant,
    /// When the store reported `known`.
    known_at: Instant,
    /// Whether this request saw its session alive.
    was_alive: bool,
    /// Whether the browser sent an id that verified.
    sent_cookie: bool,
    pending_cookie: PendingCookie,
    /// Whether this request created the session or extended its ttl.
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
            copied: None,
            began,
            known_at: began,
            was_alive: false,
            sent_cookie,
            pending_cookie: PendingCookie::None,
            renewed: false,
        }
    }

    /// Whether several cookies verified and none has been loaded yet: the store decides which one
    /// is used.
    pub(super) fn has_unchosen_cookies(&self) -> bool {
        !self.others.is_empty() && matches!(self.known, SessionKnowledge::Unloaded)
    }

    /// The hash of the request's secret. Zeros if the request has no id; no commit is made then.
    pub(super) fn secret(&self) -> SecretHash {
        self.identity
            .as_ref()
            .map_or(SecretHash::from_bytes([0; SecretHash::BYTES]), |identity| identity.secret)
    }

    /// The id of a rotation of this session with an unknown outcome.
    pub(super) fn drawn_rotation_of(&self, identity: &Identity) -> Option<Identity> {
        let drawn = self.drawn.as_ref().map(|drawn| &drawn.identity);
        drawn.filter(|drawn| drawn.key == identity.key).cloned()
    }

    /// Whether this id was drawn for a call with an unknown outcome.
    pub(super) fn is_drawn(&self, identity: &Identity) -> bool {
        self.drawn.as_ref().is_some_and(|drawn| drawn.identity.id == identity.id)
    }

    /// The key of the record, if there may be one.
    pub(super) fn key(&self) -> Option<StoreKey> {
        self.identity.as_ref().map(|identity| identity.key.clone())
    }

    /// The record as it was loaded.
    pub(super) fn record(&self) -> Option<&Record> {
        match &self.known {
            SessionKnowledge::Loaded(record) | SessionKnowledge::Grace(record) => Some(record),
            _ => None,
        }
    }

    /// Whether the stored values are hidden: the handler cleared them, or another user signs in.
    fn hides_data(&self) -> bool {
        self.recorded.clears > 0
            || self.record().is_some_and(|record| self.recorded.changes_user(record))
    }

    /// Whether the recorded changes alone determine the value, so that no load is needed.
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

    /// The names as the handler sees them, in byte order.
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

    /// The time since the store reported `known`. Only this duration is used. The local clock is
    /// never compared with the store's clock.
    pub(super) fn elapsed(&self) -> Duration {
        self.known_at.elapsed()
    }

    /// The store returned the record, and the secret of the request is the current one.
    pub(super) fn loaded(&mut self, record: Box<Record>) {
        self.known = SessionKnowledge::Loaded(record);
        (self.was_alive, self.known_at, self.superseded) = (true, Instant::now(), None);
        if self.pending_cookie == PendingCookie::None
            && self.identity.as_ref().is_some_and(|identity| identity.signed_by == SignedBy::Older)
        {
            self.pending_cookie = PendingCookie::NewSignature;
        }
    }

    /// The store returned the record, and the secret of the request may read it in the grace.
    pub(super) fn in_grace(&mut self, record: Box<Record>) {
        self.known = SessionKnowledge::Grace(record);
        (self.was_alive, self.known_at) = (true, Instant::now());
    }

    /// The store reported that the session lives with another secret. `true` if the id is so old
    /// that its use must be reported.
    ///
    /// While the rotation settles, writes are refused, because the browser has the new id or is
    /// about to receive it. Later the id counts as absent, so that no browser is locked out. A
    /// request that saw its session alive began before the rotation. That says nothing about the
    /// session of another cookie.
    pub(super) fn superseded(
        &mut self,
        identity: Identity,
        record: Superseded,
        policy: &Policy,
    ) -> bool {
        let own = identity.id.generation();
        let settling = self.began.elapsed().saturating_add(policy.rotation_settles);
        let was_alive =
            self.was_alive && self.identity.as_ref().is_some_and(|own| own.key == identity.key);
        let settles = was_alive || record.replaced_ago(own).is_some_and(|ago| ago < settling);
        let late = !settles && record.since <= own && own < record.generation;
        self.known = if settles { SessionKnowledge::Superseded } else { SessionKnowledge::Absent };
        self.identity = settles.then(|| identity.clone());
        (self.drawn, self.known_at) = (None, Instant::now());
        self.superseded = Some(SupersededId { identity, record });
        late
    }

    /// The store has a record under this new id, which the browser does not know yet.
    pub(super) fn created(&mut self, identity: Identity, record: Box<Record>) {
        self.identity = Some(identity);
        self.drawn = None;
        self.pending_cookie = PendingCookie::NewId;
        self.renewed = true;
        self.loaded(record);
    }

    /// The store applied `commit`.
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
        // If another request committed in between, the values held here are older than
        // `done.version`. Then the version is not updated, so that a guard with it fails and the
        // record is loaded again. Otherwise the guard would overwrite values that this request
        // never saw.
        if *version == record.version + u64::from(commit.is_change()) {
            record.version = *version;
        }
        (record.age, record.authenticated, record.ttl) = (*age, *authenticated, *ttl);
        record.attributes = attributes.clone();
    }

    /// An attempt to commit `planned` failed. It may have taken effect with the drawn id.
    pub(super) fn attempt_failed(&mut self, planned: Recorded) {
        if let Some(drawn) = &mut self.drawn {
            let others_differ = drawn.attempted.as_ref().is_some_and(|former| *former != planned);
            drawn.attempted = Some(if others_differ { Recorded::default() } else { planned });
        }
    }

    /// The store reported that there is no record. A request that never saw its session alive is
    /// anonymous from the start.
    pub(super) fn missing(&mut self) {
        (self.identity, self.drawn, self.superseded) = (None, None, None);
        self.known = if self.was_alive { SessionKnowledge::Gone } else { SessionKnowledge::Absent };
    }

    /// Another user signs in under another key. `ended` tells whether this request ended the former
    /// user's session. Otherwise that session belongs to another request.
    pub(super) fn end_for_other_user(&mut self, ended: bool) {
        (self.identity, self.drawn, self.superseded) = (None, None, None);
        self.was_alive = false;
        self.known = SessionKnowledge::Absent;
        self.pending_cookie =
            if ended && self.sent_cookie { PendingCookie::Removal } else { PendingCookie::None };
    }

    /// The session has ended for this request. Later changes start a new session. If the browser
    /// sent an id, the response removes the cookie.
    pub(super) fn ended(&mut self) {
        self.end_for_other_user(true);
        self.others.clear();
        self.recorded = Recorded::default();
    }

    /// The change of the cookie that the response has to send.
    pub(super) fn cookie(&self, policy: &Policy) -> CookieChange {
        let (attributes, ttl) = match &self.known {
            SessionKnowledge::Loaded(record) => (&record.attributes, record.ttl),
            SessionKnowledge::Alive(alive) => (&alive.attributes, alive.ttl),
            SessionKnowledge::Absent | SessionKnowledge::Gone
                if self.pending_cookie == PendingCookie::Removal =>
            {
                return CookieChange::Remove;
            }
            // Only a request with the current secret sets a cookie. Any other request would
            // overwrite the newer id of the browser.
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
            // Also if the session is no longer persistent: the browser has to drop the old
            // `Max-Age`.
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

pub(super) fn apply(data: &mut Data, changes: &Changes) {
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
