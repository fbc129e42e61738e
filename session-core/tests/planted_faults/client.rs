//! A client of the backend, and the faults that apply to several calls.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use session_core::{
    Attributes, Claim, Deleted, Json, Limits, Name, NewRecord, Principal, Record, Rejection,
    SessionStore, SessionSummary, StoreError, StoreKey, Stored,
};

use crate::{
    backend::{Backend, DEADLINE, Namespace, PASSWORD, State},
    fault::Fault,
};

/// A client of the backend with one fault.
pub(crate) struct Client {
    pub(crate) fault: Fault,
    pub(crate) namespace: Arc<Namespace>,
    /// The records that this client read last.
    pub(crate) last_read: Mutex<HashMap<StoreKey, Record>>,
    pub(crate) backend: Arc<Backend>,
    /// The ordinal of this client among the clients of the backend.
    pub(crate) number: usize,
    busy: AtomicBool,
    failed: AtomicBool,
    queue: tokio::sync::Mutex<()>,
}

impl Client {
    pub(crate) fn new(backend: Arc<Backend>, namespace: Arc<Namespace>, number: usize) -> Self {
        let (busy, failed) = (AtomicBool::new(false), AtomicBool::new(false));
        Self {
            fault: backend.fault,
            namespace,
            last_read: Mutex::default(),
            backend,
            number,
            busy,
            failed,
            queue: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// Sends a request to the backend and waits for its answer. The future can be dropped at an
    /// await.
    pub(crate) async fn request(&self) -> Result<(), StoreError> {
        if self.has(Fault::DroppedCallLocksClient) && self.busy.swap(true, Ordering::SeqCst) {
            return Err(unavailable("the client is busy"));
        }
        tokio::task::yield_now().await;
        self.busy.store(false, Ordering::SeqCst);
        let queue = if self.has(Fault::QueuedCallsWaitInTurn) {
            Some(self.queue.lock().await)
        } else {
            None
        };
        let mut state = self.backend.state.subscribe();
        let thawed = state.wait_for(|state| *state != State::Frozen);
        let answer = if self.has(Fault::NoDeadline) {
            thawed.await.map(|state| *state)
        } else {
            match tokio::time::timeout(DEADLINE, thawed).await {
                Ok(answer) => answer.map(|state| *state),
                Err(_) => return Err(StoreError::Timeout { store: "remote", after: DEADLINE }),
            }
        };
        drop(queue);
        match answer {
            Ok(State::Running)
                if !(self.has(Fault::ClientNeverRecovers)
                    && self.failed.load(Ordering::SeqCst)) =>
            {
                Ok(())
            }
            _ => {
                self.failed.store(true, Ordering::SeqCst);
                Err(unavailable("connection refused"))
            }
        }
    }

    /// The result of the validation before I/O, or `Ok` if the fault is about that validation.
    pub(crate) fn check(&self, checked: Result<(), Rejection>) -> Result<(), StoreError> {
        let unchecked = [
            Fault::ValidatesAfterRequest,
            Fault::NoDataLimit,
            Fault::NewRecordsAreRepaired,
            Fault::GraceIsClamped,
            Fault::SignInWithoutRotationIsAccepted,
        ];
        if unchecked.contains(&self.fault) { Ok(()) } else { Ok(checked?) }
    }

    pub(crate) fn is_corrupt(&self, key: &StoreKey) -> bool {
        self.namespace.corrupt_keys.lock().contains(key)
    }

    /// The key as the backend compares it.
    pub(crate) fn key(&self, key: &StoreKey) -> StoreKey {
        match self.fault {
            Fault::KeysIgnoreCase => StoreKey::from_text(key.as_str().to_lowercase()),
            Fault::KeysIgnoreTrailingSpaces => StoreKey::from_text(
                Some(key.as_str().trim_end_matches(' '))
                    .filter(|text| !text.is_empty())
                    .unwrap_or(key.as_str()),
            ),
            _ => key.clone(),
        }
    }

    /// The name as the backend stores it.
    pub(crate) fn name(&self, name: Name) -> Name {
        if self.has(Fault::DotsInNamesAreReplaced) {
            Name::new(name.as_str().replace('.', "_")).unwrap_or(name)
        } else {
            name
        }
    }

    /// The value as the backend stores it.
    pub(crate) fn value(&self, value: Json) -> Json {
        if !self.has(Fault::JsonIsReencoded) {
            return value;
        }
        value
            .decode::<serde_json::Value>()
            .ok()
            .and_then(|parsed| Json::encode(&parsed).ok())
            .unwrap_or(value)
    }

    /// The ttl as the backend uses it.
    pub(crate) fn ttl(&self, ttl: Duration) -> Duration {
        match self.fault {
            Fault::ExpiryIsAnHourLate => (ttl + Duration::from_secs(3600)).min(Limits::LONGEST_TTL),
            Fault::TtlIsClamped => ttl.clamp(Duration::from_millis(1), Limits::LONGEST_TTL),
            _ => ttl,
        }
    }

    /// The principal as the backend compares it.
    pub(crate) fn principal(&self, principal: Principal) -> Principal {
        let lower = principal.as_str().to_lowercase();
        if self.has(Fault::PrincipalsIgnoreCase) {
            Principal::new(lower).unwrap_or(principal)
        } else {
            principal
        }
    }

    /// The error for a corrupt record.
    pub(crate) async fn corrupt(&self, key: &StoreKey) -> StoreError {
        let hash = match self.namespace.records.load(key).await {
            Ok(Some(stored)) if self.has(Fault::ErrorsShowHash) => {
                format!("{:?}", stored.into_record().secret.as_bytes())
            }
            _ => String::new(),
        };
        StoreError::Corrupt {
            store: "remote",
            handle: key.handle(),
            source: format!("not a record {hash}").into(),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = if self.has(Fault::DebugShowsPassword) { PASSWORD } else { "***" };
        f.debug_struct("Client").field("password", &password).finish_non_exhaustive()
    }
}

impl Client {
    /// The record that `create` stores.
    pub(crate) fn new_record(&self, mut new: NewRecord) -> NewRecord {
        new.ttl = self.ttl(new.ttl);
        new.data = new
            .data
            .into_iter()
            .map(|(name, value)| (self.name(name), self.value(value)))
            .collect();
        new.principal = new.principal.map(|principal| self.principal(principal));
        match self.fault {
            Fault::AttributesAreNotStored => new.attributes = Attributes::default(),
            Fault::CreateResetsAges => {
                new.age = Duration::ZERO;
                new.authenticated = new.authenticated.map(|_| Duration::ZERO);
            }
            Fault::CreateResetsVersion => new.version = 1,
            Fault::CreateExtendsTtlOfCopy if !new.age.is_zero() => {
                new.ttl = new.ttl.max(Duration::from_secs(60));
            }
            Fault::NewRecordsAreRepaired => {
                new.version = new.version.clamp(1, Limits::LARGEST_VERSION);
                new.age = new.age.min(Limits::LONGEST_AGE);
                new.since = new.since.min(if new.principal.is_some() { new.generation } else { 0 });
                let authenticated = new.authenticated.unwrap_or_default().min(new.age);
                new.authenticated = new.principal.as_ref().map(|_| authenticated);
            }
            _ => {}
        }
        new
    }

    /// The record as this client reads it.
    pub(crate) fn read(&self, key: &StoreKey, mut record: Record) -> Record {
        match self.fault {
            Fault::LoadReturnsFirstTtl => {
                record.ttl =
                    self.namespace.created_by.lock().get(key).copied().unwrap_or_default().1;
            }
            Fault::PrincipalsAreTrimmed => {
                record.principal = record.principal.map(|principal| {
                    Principal::new(principal.as_str().trim()).unwrap_or(principal)
                });
            }
            Fault::RotationTimeIsNotStored => record.rotated = record.age,
            Fault::SinceFollowsRotations if record.principal.is_some() => {
                record.since = record.generation;
            }
            Fault::GenerationLosesHighBit => {
                (record.generation, record.since) =
                    (record.generation & (u32::MAX >> 1), record.since & (u32::MAX >> 1));
            }
            Fault::VersionHas32Bits => record.version &= u64::from(u32::MAX),
            Fault::GraceSurvivesNextRotation if record.grace.is_none() => {
                record.grace = self.namespace.former_secrets.lock().get(key).copied();
            }
            Fault::AuthenticationAgeIsSessionAge => {
                record.authenticated = record.authenticated.map(|_| record.age);
            }
            _ => {}
        }
        record
    }

    /// All live records.
    pub(crate) async fn everything(&self) -> Result<Vec<(StoreKey, Record)>, StoreError> {
        Ok(self.namespace.records.scan(None, usize::MAX).await?.records)
    }

    /// All sessions of a principal, in the order of a list with offsets.
    pub(crate) async fn whole_list(
        &self,
        principal: &Principal,
    ) -> Result<Vec<SessionSummary>, StoreError> {
        let mut sessions = self.namespace.records.list(principal, None, usize::MAX).await?.sessions;
        let list_positions = self.namespace.list_positions.lock();
        sessions.sort_by_key(|summary| list_positions.get(&summary.key).copied().unwrap_or(0));
        Ok(sessions)
    }

    /// Ends those of the sessions whose secret has not changed since they were read.
    pub(crate) async fn delete_unchanged(
        &self,
        sessions: Vec<(StoreKey, Record)>,
    ) -> Result<u64, StoreError> {
        let mut ended = 0;
        for (key, read) in sessions {
            round_trip().await;
            let now = self.namespace.records.load(&key).await?.map(Stored::into_record);
            if now.is_some_and(|now| now.secret == read.secret) {
                ended += u64::from(
                    self.namespace.records.delete(&key, Claim::Any).await? == Deleted::Ended,
                );
            }
        }
        Ok(ended)
    }

    /// Whether this client starts at the first page after a paged call has failed.
    pub(crate) fn accepts_foreign<T>(&self, answer: &Result<T, StoreError>) -> bool {
        self.has(Fault::ForeignCursorRestarts) && answer.is_err()
    }
}

/// The error of a backend that does not answer.
pub(crate) fn unavailable(reason: &'static str) -> StoreError {
    StoreError::Unavailable { store: "remote", source: reason.into() }
}

/// Waits as long as a round trip to a server takes. Concurrent calls run in that time.
pub(crate) async fn round_trip() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
