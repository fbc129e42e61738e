//! Documents that cannot be read, and others that lie among the sessions: what each call makes of
//! them.

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

/// How a document is spoilt: the fields that it has from then on.
type Spoiling = (&'static str, Document);

/// What a document has no more.
const GONE: Bson = Bson::Undefined;

/// What cannot be read, whichever value is asked for.
fn unreadable() -> Vec<Spoiling> {
    vec![
        ("no format", doc! { "format": GONE }),
        ("the format of the first version", doc! { "format": 1 }),
        ("a later format", doc! { "format": 3 }),
        ("a format that is a text", doc! { "format": "2" }),
        ("a format of 64 bits", doc! { "format": 2_i64 }),
        ("a format of floating point", doc! { "format": 2.0 }),
        ("no version", doc! { "version": GONE }),
        ("a version that is a text", doc! { "version": "7" }),
        ("a version of floating point", doc! { "version": 7.5 }),
        ("a version of 32 bits", doc! { "version": 7 }),
        ("a version below zero", doc! { "version": -1_i64 }),
        ("no deadline", doc! { "expires": GONE }),
        ("a deadline that is a number", doc! { "expires": i64::MAX / 2 }),
        ("a deadline that is a text", doc! { "expires": "tomorrow" }),
        (
            "a deadline that is an operation's time",
            doc! { "expires": mongodb::bson::Timestamp { time: u32::MAX, increment: 1 } },
        ),
        ("a deadline after all others", doc! { "expires": Bson::MaxKey }),
        ("no data", doc! { "data": GONE }),
        ("data that is a list", doc! { "data": ["a"] }),
        ("data that is a text", doc! { "data": "{}" }),
        ("data that is nothing", doc! { "data": Bson::Null }),
        ("no creation", doc! { "created": GONE }),
        ("a creation that is a number", doc! { "created": 1_700_000_000_000_i64 }),
        ("a creation that is a text", doc! { "created": "2024-01-01" }),
        ("attributes that are a number", doc! { "attributes": 5 }),
        ("attributes that are nothing", doc! { "attributes": Bson::Null }),
        ("a sign-in that is a text", doc! { "authenticated": "today" }),
        ("a sign-in that is nothing", doc! { "authenticated": Bson::Null }),
        ("a rotation that is a number", doc! { "rotated": 5_i64 }),
        ("a generation that is a text", doc! { "generation": "5" }),
        ("a generation of 32 bits", doc! { "generation": 5 }),
        ("a sign-in's generation that is nothing", doc! { "since": Bson::Null }),
        ("a former secret that is a text", doc! { "former": "secret" }),
        ("a principal that is a number", doc! { "principal": 5 }),
        ("a principal that is nothing", doc! { "principal": Bson::Null }),
    ]
}

/// Bytes like those of a secret's hash.
fn hash(length: usize) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: vec![7; length] })
}

/// What cannot be read as a whole; a commit that does not read it goes on.
fn unreadable_values() -> Vec<Spoiling> {
    let bytes = Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: vec![255, 254] });
    let values = |name: &str, value: Bson| doc! { "data": { name: value } };
    vec![
        ("a value that is a number", values("n", 1.into())),
        ("a value that is an object", values("n", doc! { "a": 1 }.into())),
        ("a value that is nothing", values("n", Bson::Null)),
        ("a value of bytes", values("n", bytes)),
        ("a value that is no JSON", values("n", "{".into())),
        ("a value without a text", values("n", "".into())),
        ("an empty name", values("", "1".into())),
        ("a name with a line's end", values("a\nb", "1".into())),
        ("a name that is too long", values(&"n".repeat(200), "1".into())),
        ("a name with a percent sign that stands for nothing", values("a%41", "1".into())),
        ("a name that ends in a percent sign", values("a%", "1".into())),
        ("an empty principal", doc! { "principal": "" }),
        ("a principal with a line's end", doc! { "principal": "a\nb" }),
        ("a principal without a sign-in", doc! { "authenticated": GONE }),
        ("a sign-in without a principal", doc! { "principal": GONE }),
        ("a generation below zero", doc! { "generation": -1_i64 }),
        ("a generation over 32 bits", doc! { "generation": 1_i64 << 32 }),
        ("a former secret without an end", doc! { "former": { "secret": hash(32) } }),
        (
            "a former secret that is too short",
            doc! { "former": { "secret": hash(31), "until": DateTime::MAX } },
        ),
    ]
}

/// The `_id` of a session's document.
fn id(key: &StoreKey) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: key.as_str().into() }
}

struct Site {
    /// Ends with the test.
    _server: AnyMongo,
    store: MongoStore,
    documents: Collection<Document>,
}

impl Site {
    async fn start() -> Option<Self> {
        // Otherwise the server might purge what a test has let expire.
        let server = AnyMongo::server_with(&["--setParameter", "ttlMonitorEnabled=false"]).await?;
        let store = connect(&server.url(PATIENT)).await;
        let documents = server.client().await.database(server.database()).collection("sessions");
        Some(Self { _server: server, store, documents })
    }

    /// A session of this user that is spoilt like that.
    async fn spoilt(&self, fields: &Document, user: &str) -> Session {
        let session = Session::signed_in(&self.store, user).await;
        self.spoil(&session, fields).await;
        session
    }

    async fn spoil(&self, session: &Session, fields: &Document) {
        let mut document = self.raw(session).await.expect("there is a document to spoil");
        for (name, value) in fields {
            match value {
                &GONE => drop(document.remove(name)),
                value => drop(document.insert(name, value.clone())),
            }
        }
        let id = document.get("_id").expect("a document has one").clone();
        self.documents.replace_one(doc! { "_id": id }, document).await.expect("the server answers");
    }

    /// The document of a session, as it lies there.
    async fn raw(&self, session: &Session) -> Option<Document> {
        self.documents.find_one(doc! { "_id": id(&session.key) }).await.expect("the server answers")
    }

    async fn bytes(&self, session: &Session) -> Option<Vec<u8>> {
        self.raw(session).await.map(|document| document.to_vec().expect("what was BSON is BSON"))
    }

    async fn scanned(&self) -> Vec<session_core::StoreKey> {
        let (mut visited, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.scan(after, 10).await.expect("a page");
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

/// One commit of each kind.
fn commits(session: &Session) -> [Commit; 7] {
    let gone = session.commit().change(name("a"), session_core::Change::Remove);
    let renewed = session.renew(&session.rotated());
    [
        session.set("a", "1"),
        session.add("a", 1),
        gone,
        session.commit().ttl(LONG),
        session.commit().clear(),
        renewed,
        session.commit(),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_what_cannot_be_read_is_reported_and_left_alone() {
    let Some(site) = Site::start().await else { return };
    let whole = Session::anonymous(&site.store).await;
    let mut spoilt = Vec::new();
    for (what, fields) in unreadable() {
        spoilt.push((what, site.spoilt(&fields, what).await));
    }
    assert_eq!(site.scanned().await, [whole.key], "a scan leaves out what it cannot read");
    assert_eq!(
        site.store.delete_expired(1000).await.expect("a purge"),
        0,
        "what cannot be read has not expired"
    );
    for (what, session) in &spoilt {
        let before = site.bytes(session).await;
        assert!(before.is_some(), "{what}");
        let loaded = site.store.load(&session.key).await;
        assert!(is_corrupt(&loaded), "{what}: a load: {loaded:?}");
        for commit in commits(session) {
            let committed = site.store.commit(&session.key, commit.clone()).await;
            assert!(is_corrupt(&committed), "{what}: {commit:?}: {committed:?}");
        }
        // Corrupt comes before superseded and before a conflict.
        let superseded = site
            .store
            .commit(
                &session.key,
                session.rotated().set("a", "1").guard(session_core::Guard::Version(99)),
            )
            .await;
        assert!(is_corrupt(&superseded), "{what}: a superseded secret: {superseded:?}");
        let created = site.store.create(&session.key, session.record()).await;
        assert!(
            is_corrupt(&created) || matches!(created, Ok(Created::Taken)),
            "{what}: a creation: {created:?}"
        );
        assert!(site.bytes(session).await == before, "{what}: it is left as it is");
    }
    for (number, (what, session)) in spoilt.iter().enumerate() {
        let claim = if number % 2 == 0 { Claim::Any } else { Claim::Generation(0) };
        assert_eq!(
            site.store.delete(&session.key, claim).await.expect("an answer"),
            Deleted::Ended,
            "{what}: it can be ended"
        );
        assert!(site.store.load(&session.key).await.expect("an answer").is_none(), "{what}");
        assert_eq!(
            site.store.delete(&session.key, claim).await.expect("an answer"),
            Deleted::Missing,
            "{what}"
        );
        assert_eq!(
            site.store.create(&session.key, session.record()).await.expect("an answer"),
            Created::New,
            "{what}"
        );
    }
}

/// What a corrupt record says of its principal's sign-in does not count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c47_a_corrupt_record_is_ended_by_any_claim() {
    let Some(site) = Site::start().await else { return };
    let session =
        site.spoilt(&doc! { "since": 7_i64, "generation": 7_i64, "format": 9 }, "bob").await;
    assert_eq!(
        site.store.delete(&session.key, Claim::Generation(3)).await.expect("an answer"),
        Deleted::Ended
    );
    assert!(site.bytes(&session).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_a_list_leaves_out_what_cannot_be_read_and_an_end_of_all_ends_it() {
    let Some(site) = Site::start().await else { return };
    for (what, fields) in unreadable() {
        let whole = Session::signed_in(&site.store, what).await;
        let session = site.spoilt(&fields, what).await;
        let page = site.store.list(&principal(what), None, 100).await.expect("a list");
        let listed: Vec<_> = page.sessions.into_iter().map(|summary| summary.key).collect();
        // A list does not read these.
        let not_read = ["data", "rotated", "generation", "since", "former"]
            .iter()
            .any(|field| fields.contains_key(*field));
        assert_eq!(listed.contains(&session.key), not_read, "{what}: {listed:?}");
        assert!(listed.contains(&whole.key), "{what}");
        // Its time may be unreadable; then nobody can say that it lives.
        let _ = site.store.delete_all(&principal(what), None).await.expect("an end of all");
        assert!(site.store.load(&whole.key).await.expect("an answer").is_none(), "{what}");
        if !fields.contains_key("expires") && !fields.contains_key("principal") {
            assert!(
                site.store.load(&session.key).await.expect("an answer").is_none(),
                "{what}: it is the user's"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_what_a_record_may_not_hold_is_reported_by_whoever_reads_it() {
    let Some(site) = Site::start().await else { return };
    for (what, fields) in unreadable_values() {
        let session = site.spoilt(&fields, "bob").await;
        let loaded = site.store.load(&session.key).await;
        assert!(is_corrupt(&loaded), "{what}: a load: {loaded:?}");
        let before = site.bytes(&session).await;
        let committed = site.store.commit(&session.key, session.commit()).await;
        assert!(is_corrupt(&committed), "{what}: a commit that reads: {committed:?}");
        // Whoever has seen another version reads again, and learns it then.
        let committed = site
            .store
            .commit(&session.key, session.add("n", 1).guard(session_core::Guard::Version(9)))
            .await;
        assert!(
            is_corrupt(&committed) || matches!(committed, Ok(Outcome::Conflict)),
            "{what}: a guarded commit: {committed:?}"
        );
        let created = site.store.create(&session.key, session.record()).await;
        assert!(
            is_corrupt(&created) || matches!(created, Ok(Created::Taken)),
            "{what}: a creation: {created:?}"
        );
        assert!(site.bytes(&session).await == before, "{what}: it is left as it is");
        assert!(site.scanned().await.is_empty(), "{what}: a scan");
        assert_eq!(
            site.store.delete(&session.key, Claim::Any).await.expect("an answer"),
            Deleted::Ended,
            "{what}: it can be ended"
        );
    }
}

/// A sum of what is no integer changes nothing, whatever else it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_nothing_is_added_to_what_is_no_text() {
    let Some(site) = Site::start().await else { return };
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
        let session = site.spoilt(&doc! { "data": { "n": value.clone() } }, "bob").await;
        let before = site.bytes(&session).await;
        let added = site.store.commit(&session.key, session.add("n", 1)).await;
        assert!(is_corrupt(&added), "{value:?}: {added:?}");
        assert!(site.bytes(&session).await == before, "{value:?}: it is left as it is");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_a_document_with_another_id_is_not_a_session() {
    let Some(site) = Site::start().await else { return };
    let now = DateTime::now().timestamp_millis();
    let record = |id: Bson, expires: i64| {
        doc! {
            "_id": id, "format": 2, "version": 1_i64, "secret": hash(32), "bytes": 0_i64, "principal": "bob", "data": {},
            "created": DateTime::from_millis(now), "authenticated": DateTime::from_millis(now), "expires": DateTime::from_millis(now + expires),
        }
    };
    let bytes = |subtype, bytes: &[u8]| Bson::Binary(Binary { subtype, bytes: bytes.to_vec() });
    let generic = BinarySubtype::Generic;
    let strangers = vec![
        record("AAAAtext".into(), 600_000),
        record(5.into(), 600_000),
        record(doc! { "a": 1 }.into(), 600_000),
        record(ObjectId::new().into(), 600_000),
        // Bytes that cannot be a key.
        record(bytes(generic, b""), 600_000),
        record(bytes(generic, b"a\0b"), 600_000),
        record(bytes(generic, &[b'a'; 129]), 600_000),
        record(bytes(generic, &[255, 254]), 600_000),
        record(bytes(BinarySubtype::Uuid, &[b'a'; 16]), 600_000),
        doc! { "something": "else" },
    ];
    site.documents.insert_many(strangers.clone()).await.expect("the server answers");
    assert!(site.scanned().await.is_empty(), "a scan");
    // Page by page, so that strangers stand at the ends of pages.
    let mut after: Option<Cursor> = None;
    for _ in 0..strangers.len() {
        let page = site.store.list(&principal("bob"), after, 1).await.expect("a page");
        assert!(page.sessions.is_empty(), "{:?}", page.sessions);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(after, None, "a walk ends");
    for text in ["AAAAtext", "aaaaaaaaaaaaaaaa"] {
        assert!(
            site.store.load(&StoreKey::from_text(text)).await.expect("an answer").is_none(),
            "{text}"
        );
    }
    assert_eq!(site.store.delete_expired(100).await.expect("a purge"), 0);
    let held = site.documents.count_documents(doc! {}).await.expect("the server answers");
    assert_eq!(held, u64::try_from(strangers.len()).expect("few"), "nothing of it is purged");
    // An expired one is purged, whatever its `_id` is.
    site.documents.insert_one(record("over".into(), -1000)).await.expect("the server answers");
    assert_eq!(site.store.delete_expired(100).await.expect("a purge"), 1);
}

/// What the server's own purge and this one leave alone: a time that nobody can read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_a_purge_leaves_alone_what_has_no_time_that_can_be_read() {
    let Some(site) = Site::start().await else { return };
    let times = [
        GONE,
        Bson::Null,
        0.into(),
        1_i64.into(),
        "2001-01-01".into(),
        true.into(),
        doc! { "a": DateTime::from_millis(1) }.into(),
    ];
    for time in &times {
        let _ = site.spoilt(&doc! { "expires": time.clone() }, "bob").await;
    }
    let brief = Session::new();
    let _ = site
        .store
        .create(&brief.key, NewRecord::new(brief.secret, Duration::from_millis(1)))
        .await
        .expect("a new session");
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(site.store.delete_expired(100).await.expect("a purge"), 1);
    assert_eq!(site.store.delete_expired(100).await.expect("a purge"), 0);
    let left: Vec<Document> = site
        .documents
        .find(doc! {})
        .await
        .expect("an answer")
        .try_collect()
        .await
        .expect("an answer");
    assert_eq!(left.len(), times.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_a_size_that_cannot_be_read_is_not_calculated_with() {
    let Some(site) = Site::start().await else { return };
    for (what, value) in
        [("none", GONE), ("a text", "5".into()), ("32 bits", 5.into()), ("nothing", Bson::Null)]
    {
        let session = site.spoilt(&doc! { "bytes": value }, "bob").await;
        let before = site.bytes(&session).await;
        for commit in commits(&session) {
            let committed = site.store.commit(&session.key, commit).await;
            assert!(is_corrupt(&committed), "{what}: {committed:?}");
        }
        assert!(site.bytes(&session).await == before, "{what}: it is left as it is");
        assert_eq!(
            site.store.delete(&session.key, Claim::Any).await.expect("an answer"),
            Deleted::Ended,
            "{what}: it can be ended"
        );
    }
}

/// A server that commits does not read the words; the store reads them in its answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_attributes_of_other_words_are_reported_by_every_call() {
    let Some(site) = Site::start().await else { return };
    for text in ["nonsense", "i60000 x"] {
        let session = site.spoilt(&doc! { "attributes": text }, "bob").await;
        let loaded = site.store.load(&session.key).await;
        assert!(is_corrupt(&loaded), "{text}: {loaded:?}");
        for commit in commits(&session).into_iter().filter(|commit| commit.rotate.is_none()) {
            let committed = site.store.commit(&session.key, commit.clone()).await;
            assert!(is_corrupt(&committed), "{text}: {commit:?}: {committed:?}");
        }
        assert_eq!(
            site.raw(&session).await.expect("it is there").get_str("attributes").ok(),
            Some(text),
            "they are left as they are"
        );
        assert_eq!(
            site.store.delete(&session.key, Claim::Any).await.expect("an answer"),
            Deleted::Ended,
            "{text}: it can be ended"
        );
    }
}

/// A commit of another secret finds a hash that is not one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_a_secret_that_is_not_a_hash_is_reported_by_every_call() {
    let Some(site) = Site::start().await else { return };
    let uuid = Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: vec![7; 32] });
    for (what, secret) in [
        ("none", GONE),
        ("a text", "secret".into()),
        ("too short", hash(31)),
        ("another type", uuid),
    ] {
        let session = site.spoilt(&doc! { "secret": secret }, "bob").await;
        let before = site.bytes(&session).await;
        assert!(is_corrupt(&site.store.load(&session.key).await), "{what}");
        for commit in commits(&session) {
            let committed = site.store.commit(&session.key, commit.clone()).await;
            assert!(is_corrupt(&committed), "{what}: {commit:?}: {committed:?}");
        }
        assert!(site.bytes(&session).await == before, "{what}: it is left as it is");
    }
}

/// The server's own purge goes by the earliest time of a list, and this one is far away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_a_purge_leaves_alone_a_deadline_that_is_a_list() {
    let Some(site) = Site::start().await else { return };
    let far = DateTime::from_millis(DateTime::now().timestamp_millis() + 600_000);
    let session = site.spoilt(&doc! { "expires": [far] }, "bob").await;
    let before = site.bytes(&session).await;
    assert!(is_corrupt(&site.store.load(&session.key).await));
    assert_eq!(site.store.delete_expired(100).await.expect("a purge"), 0);
    let created = site.store.create(&session.key, session.record()).await;
    assert!(
        is_corrupt(&created) || matches!(created, Ok(Created::Taken)),
        "a creation: {created:?}"
    );
    assert!(site.bytes(&session).await == before, "it is left as it is");
}
