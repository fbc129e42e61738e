//! Corrupt records and foreign documents in the collection: how each call treats them.

use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::{
    Collection,
    bson::{Binary, Bson, DateTime, Document, doc, oid::ObjectId, spec::BinarySubtype},
};
use session_core::{
    Claim, Commit, Created, Cursor, Deleted, NewRecord, Outcome, SessionStore, StoreError, StoreKey,
};
use store_mongo::MongoStore;
use tests::service::AnyMongo;

use crate::session::{LONG, PATIENT, Session, connect, name, principal};

/// A description, and the fields that corrupt a document.
type Corruption = (&'static str, Document);

/// Marks a field that is removed from the document.
const REMOVED: Bson = Bson::Undefined;

/// Corruptions that every call has to detect.
fn corruptions() -> Vec<Corruption> {
    vec![
        ("no format", doc! { "format": REMOVED }),
        ("the format of the first version", doc! { "format": 1 }),
        ("a later format", doc! { "format": 3 }),
        ("a format that is a string", doc! { "format": "2" }),
        ("a 64-bit format", doc! { "format": 2_i64 }),
        ("a floating-point format", doc! { "format": 2.0 }),
        ("no version", doc! { "version": REMOVED }),
        ("a version that is a string", doc! { "version": "7" }),
        ("a floating-point version", doc! { "version": 7.5 }),
        ("a 32-bit version", doc! { "version": 7 }),
        ("a negative version", doc! { "version": -1_i64 }),
        ("no deadline", doc! { "expires": REMOVED }),
        ("a deadline that is a number", doc! { "expires": i64::MAX / 2 }),
        ("a deadline that is a string", doc! { "expires": "tomorrow" }),
        (
            "a deadline that is a BSON timestamp",
            doc! { "expires": mongodb::bson::Timestamp { time: u32::MAX, increment: 1 } },
        ),
        ("a deadline that is MaxKey", doc! { "expires": Bson::MaxKey }),
        ("no data", doc! { "data": REMOVED }),
        ("data that is an array", doc! { "data": ["a"] }),
        ("data that is a string", doc! { "data": "{}" }),
        ("data that is null", doc! { "data": Bson::Null }),
        ("no creation", doc! { "created": REMOVED }),
        ("a creation that is a number", doc! { "created": 1_700_000_000_000_i64 }),
        ("a creation that is a string", doc! { "created": "2024-01-01" }),
        ("attributes that are a number", doc! { "attributes": 5 }),
        ("attributes that are nothing", doc! { "attributes": Bson::Null }),
        ("a sign-in that is a string", doc! { "authenticated": "today" }),
        ("a sign-in that is null", doc! { "authenticated": Bson::Null }),
        ("a rotation that is a number", doc! { "rotated": 5_i64 }),
        ("a generation that is a string", doc! { "generation": "5" }),
        ("a 32-bit generation", doc! { "generation": 5 }),
        ("a generation of the sign-in that is null", doc! { "since": Bson::Null }),
        ("a former secret that is a string", doc! { "former": "secret" }),
        ("a principal that is a number", doc! { "principal": 5 }),
        ("a principal that is null", doc! { "principal": Bson::Null }),
    ]
}

/// Bytes with the type of a secret's hash.
fn hash(length: usize) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: vec![7; length] })
}

/// Corruptions that only calls detect that read the whole record.
fn corruptions_of_values() -> Vec<Corruption> {
    let bytes = Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: vec![255, 254] });
    let values = |name: &str, value: Bson| doc! { "data": { name: value } };
    vec![
        ("a value that is a number", values("n", 1.into())),
        ("a value that is an object", values("n", doc! { "a": 1 }.into())),
        ("a value that is null", values("n", Bson::Null)),
        ("a value of bytes", values("n", bytes)),
        ("a value that is not JSON", values("n", "{".into())),
        ("an empty value", values("n", "".into())),
        ("an empty name", values("", "1".into())),
        ("a name with a line break", values("a\nb", "1".into())),
        ("a name that is too long", values(&"n".repeat(200), "1".into())),
        ("a name with an invalid percent-encoding", values("a%41", "1".into())),
        ("a name that ends in a percent sign", values("a%", "1".into())),
        ("an empty principal", doc! { "principal": "" }),
        ("a principal with a line break", doc! { "principal": "a\nb" }),
        ("a principal without a sign-in", doc! { "authenticated": REMOVED }),
        ("a sign-in without a principal", doc! { "principal": REMOVED }),
        ("a negative generation", doc! { "generation": -1_i64 }),
        ("a generation above 32 bits", doc! { "generation": 1_i64 << 32 }),
        ("a former secret without `until`", doc! { "former": { "secret": hash(32) } }),
        (
            "a former secret that is too short",
            doc! { "former": { "secret": hash(31), "until": DateTime::MAX } },
        ),
    ]
}

/// The `_id` of the session's document.
fn id(key: &StoreKey) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: key.as_str().into() }
}

struct Fixture {
    /// Stops at the end of the test.
    _server: AnyMongo,
    store: MongoStore,
    documents: Collection<Document>,
}

impl Fixture {
    async fn start() -> Option<Self> {
        // The server must not delete expired documents by itself.
        let server = AnyMongo::server_with(&["--setParameter", "ttlMonitorEnabled=false"]).await?;
        let store = connect(&server.url(PATIENT)).await;
        let documents = server.client().await.database(server.database()).collection("sessions");
        Some(Self { _server: server, store, documents })
    }

    /// A session of this user with these corrupt fields.
    async fn corrupt_session(&self, fields: &Document, user: &str) -> Session {
        let session = Session::signed_in(&self.store, user).await;
        self.corrupt(&session, fields).await;
        session
    }

    async fn corrupt(&self, session: &Session, fields: &Document) {
        let mut document = self.raw(session).await.expect("the document exists");
        for (name, value) in fields {
            match value {
                &REMOVED => drop(document.remove(name)),
                value => drop(document.insert(name, value.clone())),
            }
        }
        let id = document.get("_id").expect("the document has an _id").clone();
        self.documents
            .replace_one(doc! { "_id": id }, document)
            .await
            .expect("the server responds");
    }

    /// The stored document of a session.
    async fn raw(&self, session: &Session) -> Option<Document> {
        self.documents
            .find_one(doc! { "_id": id(&session.key) })
            .await
            .expect("the server responds")
    }

    /// Checks that a delete ends the session.
    async fn assert_deletable(&self, session: &Session, what: &str) {
        let deleted = self.store.delete(&session.key, Claim::Any).await;
        assert_eq!(
            deleted.expect("the store responds"),
            Deleted::Ended,
            "{what}: the session can be deleted"
        );
    }

    async fn bytes(&self, session: &Session) -> Option<Vec<u8>> {
        self.raw(session)
            .await
            .map(|document| document.to_vec().expect("the document encodes as BSON"))
    }

    async fn scanned(&self) -> Vec<session_core::StoreKey> {
        let (mut visited, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.scan(after, 10).await.expect("the page is read");
            visited.extend(page.records.into_iter().map(|(key, _)| key));
            after = page.next;
            if after.is_none() {
                return visited;
            }
        }
    }
}

fn is_corrupt<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Corrupt { store: "mongo", .. }))
}

/// One commit for each kind of change.
fn commits(session: &Session) -> [Commit; 7] {
    let removal = session.commit().change(name("a"), session_core::Change::Remove);
    let renewed = session.renew(&session.rotated());
    [
        session.set("a", "1"),
        session.add("a", 1),
        removal,
        session.commit().ttl(LONG),
        session.commit().clear(),
        renewed,
        session.commit(),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_corrupt_records_are_reported_and_stay_unchanged() {
    let Some(fixture) = Fixture::start().await else { return };
    let whole = Session::anonymous(&fixture.store).await;
    let mut corrupt = Vec::new();
    for (what, fields) in corruptions() {
        corrupt.push((what, fixture.corrupt_session(&fields, what).await));
    }
    assert_eq!(fixture.scanned().await, [whole.key], "a scan omits corrupt records");
    assert_eq!(
        fixture.store.delete_expired(1000).await.expect("delete_expired succeeds"),
        0,
        "a corrupt record does not count as expired"
    );
    for (what, session) in &corrupt {
        let before = fixture.bytes(session).await;
        assert!(before.is_some(), "{what}");
        let loaded = fixture.store.load(&session.key).await;
        assert!(is_corrupt(&loaded), "{what}: a load: {loaded:?}");
        for commit in commits(session) {
            let committed = fixture.store.commit(&session.key, commit.clone()).await;
            assert!(is_corrupt(&committed), "{what}: {commit:?}: {committed:?}");
        }
        // Corrupt takes precedence over Superseded and Conflict.
        let superseded = fixture
            .store
            .commit(
                &session.key,
                session.rotated().set("a", "1").guard(session_core::Guard::Version(99)),
            )
            .await;
        assert!(is_corrupt(&superseded), "{what}: a superseded secret: {superseded:?}");
        let created = fixture.store.create(&session.key, session.record()).await;
        assert!(
            is_corrupt(&created) || matches!(created, Ok(Created::Taken)),
            "{what}: a creation: {created:?}"
        );
        assert!(fixture.bytes(session).await == before, "{what}: the document is unchanged");
    }
    for (number, (what, session)) in corrupt.iter().enumerate() {
        let claim = if number % 2 == 0 { Claim::Any } else { Claim::Generation(0) };
        assert_eq!(
            fixture.store.delete(&session.key, claim).await.expect("the store responds"),
            Deleted::Ended,
            "{what}: the session can be deleted"
        );
        assert!(
            fixture.store.load(&session.key).await.expect("the store responds").is_none(),
            "{what}"
        );
        assert_eq!(
            fixture.store.delete(&session.key, claim).await.expect("the store responds"),
            Deleted::Missing,
            "{what}"
        );
        assert_eq!(
            fixture.store.create(&session.key, session.record()).await.expect("the store responds"),
            Created::New,
            "{what}"
        );
    }
}

/// The generation in a corrupt record is ignored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c47_any_claim_ends_a_corrupt_record() {
    let Some(fixture) = Fixture::start().await else { return };
    let session = fixture
        .corrupt_session(&doc! { "since": 7_i64, "generation": 7_i64, "format": 9 }, "bob")
        .await;
    assert_eq!(
        fixture.store.delete(&session.key, Claim::Generation(3)).await.expect("the store responds"),
        Deleted::Ended
    );
    assert!(fixture.bytes(&session).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_list_omits_corrupt_records_and_delete_all_ends_them() {
    let Some(fixture) = Fixture::start().await else { return };
    for (what, fields) in corruptions() {
        let whole = Session::signed_in(&fixture.store, what).await;
        let session = fixture.corrupt_session(&fields, what).await;
        let page = fixture.store.list(&principal(what), None, 100).await.expect("list succeeds");
        let listed: Vec<_> = page.sessions.into_iter().map(|summary| summary.key).collect();
        // A list does not read these fields.
        let not_read = ["data", "rotated", "generation", "since", "former"]
            .iter()
            .any(|field| fields.contains_key(*field));
        assert_eq!(listed.contains(&session.key), not_read, "{what}: {listed:?}");
        assert!(listed.contains(&whole.key), "{what}");
        // Without a valid deadline the record does not count as alive.
        let _ =
            fixture.store.delete_all(&principal(what), None).await.expect("delete_all succeeds");
        assert!(
            fixture.store.load(&whole.key).await.expect("the store responds").is_none(),
            "{what}"
        );
        if !fields.contains_key("expires") && !fields.contains_key("principal") {
            assert!(
                fixture.store.load(&session.key).await.expect("the store responds").is_none(),
                "{what}: delete_all deletes it"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_invalid_values_are_reported_by_calls_that_read_them() {
    let Some(fixture) = Fixture::start().await else { return };
    for (what, fields) in corruptions_of_values() {
        let session = fixture.corrupt_session(&fields, "bob").await;
        let loaded = fixture.store.load(&session.key).await;
        assert!(is_corrupt(&loaded), "{what}: a load: {loaded:?}");
        let before = fixture.bytes(&session).await;
        let committed = fixture.store.commit(&session.key, session.commit()).await;
        assert!(is_corrupt(&committed), "{what}: a commit that reads: {committed:?}");
        // A conflict makes the client load the session, which reports the corruption.
        let committed = fixture
            .store
            .commit(&session.key, session.add("n", 1).guard(session_core::Guard::Version(9)))
            .await;
        assert!(
            is_corrupt(&committed) || matches!(committed, Ok(Outcome::Conflict)),
            "{what}: a guarded commit: {committed:?}"
        );
        let created = fixture.store.create(&session.key, session.record()).await;
        assert!(
            is_corrupt(&created) || matches!(created, Ok(Created::Taken)),
            "{what}: a creation: {created:?}"
        );
        assert!(fixture.bytes(&session).await == before, "{what}: the document is unchanged");
        assert!(fixture.scanned().await.is_empty(), "{what}: a scan");
        fixture.assert_deletable(&session, what).await;
    }
}

/// The add changes nothing, whatever the type of the value is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_add_to_a_value_that_is_not_text_is_corrupt() {
    let Some(fixture) = Fixture::start().await else { return };
    for value in [
        Bson::from(5),
        5_i64.into(),
        5.5.into(),
        true.into(),
        Bson::Null,
        doc! {}.into(),
        vec![1].into(),
        "{".into(),
        "".into(),
    ] {
        let session =
            fixture.corrupt_session(&doc! { "data": { "n": value.clone() } }, "bob").await;
        let before = fixture.bytes(&session).await;
        let added = fixture.store.commit(&session.key, session.add("n", 1)).await;
        assert!(is_corrupt(&added), "{value:?}: {added:?}");
        assert!(fixture.bytes(&session).await == before, "{value:?}: the document is unchanged");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_documents_with_other_ids_are_not_sessions() {
    let Some(fixture) = Fixture::start().await else { return };
    let now = DateTime::now().timestamp_millis();
    let record = |id: Bson, expires: i64| {
        doc! {
            "_id": id,
            "format": 2,
            "version": 1_i64,
            "secret": hash(32),
            "bytes": 0_i64,
            "principal": "bob",
            "data": {},
            "created": DateTime::from_millis(now),
            "authenticated": DateTime::from_millis(now),
            "expires": DateTime::from_millis(now + expires),
        }
    };
    let bytes = |subtype, bytes: &[u8]| Bson::Binary(Binary { subtype, bytes: bytes.to_vec() });
    let generic = BinarySubtype::Generic;
    let foreign = vec![
        record("AAAAtext".into(), 600_000),
        record(5.into(), 600_000),
        record(doc! { "a": 1 }.into(), 600_000),
        record(ObjectId::new().into(), 600_000),
        // Bytes that are not a valid key.
        record(bytes(generic, b""), 600_000),
        record(bytes(generic, b"a\0b"), 600_000),
        record(bytes(generic, &[b'a'; 129]), 600_000),
        record(bytes(generic, &[255, 254]), 600_000),
        record(bytes(BinarySubtype::Uuid, &[b'a'; 16]), 600_000),
        doc! { "something": "else" },
    ];
    fixture.documents.insert_many(foreign.clone()).await.expect("the server responds");
    assert!(fixture.scanned().await.is_empty(), "a scan");
    // Pages of one document, so that each page ends with a foreign document.
    let mut after: Option<Cursor> = None;
    for _ in 0..foreign.len() {
        let page = fixture.store.list(&principal("bob"), after, 1).await.expect("the page is read");
        assert!(page.sessions.is_empty(), "{:?}", page.sessions);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(after, None, "the pages end");
    for text in ["AAAAtext", "aaaaaaaaaaaaaaaa"] {
        assert!(
            fixture
                .store
                .load(&StoreKey::from_text(text))
                .await
                .expect("the store responds")
                .is_none(),
            "{text}"
        );
    }
    assert_eq!(fixture.store.delete_expired(100).await.expect("delete_expired succeeds"), 0);
    let held = fixture.documents.count_documents(doc! {}).await.expect("the server responds");
    assert_eq!(
        held,
        u64::try_from(foreign.len()).expect("the number fits"),
        "the purge keeps foreign documents"
    );
    // The purge deletes an expired document with any `_id`.
    fixture
        .documents
        .insert_one(record("expired".into(), -1000))
        .await
        .expect("the server responds");
    assert_eq!(fixture.store.delete_expired(100).await.expect("delete_expired succeeds"), 1);
}

/// The server's TTL monitor also keeps documents without a date as their deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_purge_keeps_records_with_an_invalid_deadline() {
    let Some(fixture) = Fixture::start().await else { return };
    let times = [
        REMOVED,
        Bson::Null,
        0.into(),
        1_i64.into(),
        "2001-01-01".into(),
        true.into(),
        doc! { "a": DateTime::from_millis(1) }.into(),
    ];
    for time in &times {
        let _ = fixture.corrupt_session(&doc! { "expires": time.clone() }, "bob").await;
    }
    let brief = Session::new();
    let _ = fixture
        .store
        .create(&brief.key, NewRecord::new(brief.secret, Duration::from_millis(1)))
        .await
        .expect("the session is created");
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(fixture.store.delete_expired(100).await.expect("delete_expired succeeds"), 1);
    assert_eq!(fixture.store.delete_expired(100).await.expect("delete_expired succeeds"), 0);
    let left: Vec<Document> = fixture
        .documents
        .find(doc! {})
        .await
        .expect("the store responds")
        .try_collect()
        .await
        .expect("the store responds");
    assert_eq!(left.len(), times.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_commit_reports_an_invalid_size() {
    let Some(fixture) = Fixture::start().await else { return };
    for (what, value) in
        [("none", REMOVED), ("a string", "5".into()), ("32 bits", 5.into()), ("null", Bson::Null)]
    {
        let session = fixture.corrupt_session(&doc! { "bytes": value }, "bob").await;
        let before = fixture.bytes(&session).await;
        for commit in commits(&session) {
            let committed = fixture.store.commit(&session.key, commit).await;
            assert!(is_corrupt(&committed), "{what}: {committed:?}");
        }
        assert!(fixture.bytes(&session).await == before, "{what}: the document is unchanged");
        fixture.assert_deletable(&session, what).await;
    }
}

/// The server does not check the attributes of a commit. The store checks them in the response.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_invalid_attributes_are_reported_by_every_call() {
    let Some(fixture) = Fixture::start().await else { return };
    for text in ["nonsense", "i60000 x"] {
        let session = fixture.corrupt_session(&doc! { "attributes": text }, "bob").await;
        let loaded = fixture.store.load(&session.key).await;
        assert!(is_corrupt(&loaded), "{text}: {loaded:?}");
        for commit in commits(&session).into_iter().filter(|commit| commit.rotate.is_none()) {
            let committed = fixture.store.commit(&session.key, commit.clone()).await;
            assert!(is_corrupt(&committed), "{text}: {commit:?}: {committed:?}");
        }
        assert_eq!(
            fixture.raw(&session).await.expect("the document exists").get_str("attributes").ok(),
            Some(text),
            "the attributes are unchanged"
        );
        fixture.assert_deletable(&session, text).await;
    }
}

/// A commit compares its secret with a stored value that is not a hash.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_invalid_secret_hash_is_reported_by_every_call() {
    let Some(fixture) = Fixture::start().await else { return };
    let uuid = Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: vec![7; 32] });
    for (what, secret) in [
        ("none", REMOVED),
        ("a string", "secret".into()),
        ("too short", hash(31)),
        ("another type", uuid),
    ] {
        let session = fixture.corrupt_session(&doc! { "secret": secret }, "bob").await;
        let before = fixture.bytes(&session).await;
        assert!(is_corrupt(&fixture.store.load(&session.key).await), "{what}");
        for commit in commits(&session) {
            let committed = fixture.store.commit(&session.key, commit.clone()).await;
            assert!(is_corrupt(&committed), "{what}: {commit:?}: {committed:?}");
        }
        assert!(fixture.bytes(&session).await == before, "{what}: the document is unchanged");
    }
}

/// The server's TTL monitor uses the earliest date of an array. This date is in the future.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_purge_keeps_records_with_an_array_as_deadline() {
    let Some(fixture) = Fixture::start().await else { return };
    let far = DateTime::from_millis(DateTime::now().timestamp_millis() + 600_000);
    let session = fixture.corrupt_session(&doc! { "expires": [far] }, "bob").await;
    let before = fixture.bytes(&session).await;
    assert!(is_corrupt(&fixture.store.load(&session.key).await));
    assert_eq!(fixture.store.delete_expired(100).await.expect("delete_expired succeeds"), 0);
    let created = fixture.store.create(&session.key, session.record()).await;
    assert!(
        is_corrupt(&created) || matches!(created, Ok(Created::Taken)),
        "a creation: {created:?}"
    );
    assert!(fixture.bytes(&session).await == before, "the document is unchanged");
}
