//! What a server writes down of what it is asked.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use mongodb::bson::doc;
use session_core::{
    Change, Claim, Created, Deleted, Guard, Json, Limits, NewRecord, Outcome, Rejection,
    SessionStore, StoreError, StoreKey,
};
use store_mongo::{Config, MongoStore};
use tests::service::{AnyMongo, Durability};

use crate::session::{PATIENT, Session, is_done, name, principal};

/// What nobody may find in a log.
const USER: &str = "user-of-whom-nobody-is-to-know";
const VALUE: &str = "\"value-that-nobody-is-to-know\"";
const OTHER_VALUE: &str = "\"value-that-is-not-kept\"";
const FIELD: &str = "name-that-nobody-is-to-know";

/// A server writes a command that fails, and one that is slow, into its log with all that it was
/// sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_writes_down_nothing_of_a_session_whatever_is_refused() {
    let Some(server) = AnyMongo::own_server(Durability::Full).await else { return };
    // A busy machine may be slow at anything, and what is slow is written down by design.
    let slow = doc! { "profile": 0, "slowms": 60_000 };
    server
        .client()
        .await
        .database("admin")
        .run_command(slow)
        .await
        .expect("the server may be set up");
    let config =
        Config::new(&server.url(PATIENT)).expect("a URL").limits(Limits { data_bytes: 4_096 });
    let stores = [0, 1].map(|_| MongoStore::new(&config).expect("settings"));
    let mut keys: Vec<StoreKey> = Vec::new();
    let creator = MongoStore::new(&config).expect("settings");
    for store in &stores {
        let session = Session::new();
        let data = [
            (name(FIELD), Json::from_text(VALUE).expect("JSON")),
            (name("most"), Json::integer(i64::MAX)),
        ];
        let record = session.record().principal(principal(USER)).data(data.into_iter().collect());
        let created = creator.create(&session.key, record.clone()).await;
        assert_eq!(created.expect("an answer"), Created::New);
        keys.push(session.key.clone());
        assert_eq!(
            store.create(&session.key, record.clone()).await.expect("an answer"),
            Created::Taken
        );
        let conflict = store
            .commit(&session.key, session.set(FIELD, OTHER_VALUE).guard(Guard::Version(99)))
            .await;
        assert_eq!(conflict.expect("an answer"), Outcome::Conflict);
        let other_value = Change::Set(Json::from_text(OTHER_VALUE).expect("JSON"));
        for (what, refused) in [
            ("an add to a text", session.add(FIELD, 1)),
            ("an add beyond 64 bits", session.add("most", 1).change(name(FIELD), other_value)),
            ("too much", session.set("large", &format!("\"{}\"", "x".repeat(4_070)))),
        ] {
            let outcome = store.commit(&session.key, refused).await;
            assert!(
                matches!(outcome, Err(StoreError::Rejected(rejection)) if !matches!(rejection, Rejection::Full { .. })),
                "{what}"
            );
        }
        let rotated = session.rotated();
        assert!(is_done(&store.commit(&session.key, session.sign_in(USER, &rotated)).await));
        for superseded in [session.set(FIELD, OTHER_VALUE), session.renew(&rotated)] {
            assert_eq!(
                store.commit(&session.key, superseded).await.expect("an answer"),
                Outcome::Superseded
            );
        }
        assert_eq!(
            store.delete(&session.key, Claim::Generation(0)).await.expect("an answer"),
            Deleted::Superseded
        );
        let brief = Session::new();
        keys.push(brief.key.clone());
        let record =
            NewRecord::new(brief.secret, Duration::from_millis(1)).principal(principal(USER));
        let _ = store.create(&brief.key, record.clone()).await.expect("a new session");
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(
            store.commit(&brief.key, brief.set(FIELD, OTHER_VALUE)).await.expect("an answer"),
            Outcome::Gone
        );
        assert_eq!(store.create(&brief.key, record).await.expect("an answer"), Created::New);
        assert_eq!(store.list(&principal(USER), None, 10).await.expect("a list").sessions.len(), 1);
        assert_eq!(store.delete_all(&principal(USER), None).await.expect("an end of all"), 1);
    }
    let output = server.output();
    assert!(
        output.contains("Waiting for connections"),
        "a server that is not ours writes elsewhere"
    );
    // As a server writes bytes, too.
    for key in &keys {
        written_nowhere(&output, key.as_str());
        written_nowhere(&output, &STANDARD_NO_PAD.encode(key.as_str()));
    }
    for secret in
        [USER, VALUE.trim_matches('"'), OTHER_VALUE.trim_matches('"'), FIELD, &"x".repeat(100)]
    {
        written_nowhere(&output, secret);
    }
}

fn written_nowhere(output: &str, secret: &str) {
    let line = output.lines().find(|line| line.contains(secret));
    assert!(line.is_none(), "the server wrote {secret:?} down: {}", line.unwrap_or_default());
}
