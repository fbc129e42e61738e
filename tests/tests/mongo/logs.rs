//! The server's log contains no data of sessions.

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

/// Text that must not appear in the log.
const USER: &str = "user-that-the-log-must-not-contain";
const VALUE: &str = "\"value-that-the-log-must-not-contain\"";
const OTHER_VALUE: &str = "\"value-that-the-store-rejects\"";
const FIELD: &str = "name-that-the-log-must-not-contain";

/// A server logs failed and slow commands with all their data.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_log_contains_no_session_data() {
    let Some(server) = AnyMongo::own_server(Durability::Full).await else {
        return;
    };
    // On a busy machine every command may be slow, so this test switches the slow log off.
    let slow = doc! { "profile": 0, "slowms": 60_000 };
    server
        .client()
        .await
        .database("admin")
        .run_command(slow)
        .await
        .expect("the server accepts the setting");
    let config = Config::new(&server.url(PATIENT))
        .expect("a valid URL")
        .limits(Limits { data_bytes: 4_096 });
    let stores = [0, 1].map(|_| MongoStore::new(&config).expect("the settings are valid"));
    let mut keys: Vec<StoreKey> = Vec::new();
    let creator = MongoStore::new(&config).expect("the settings are valid");
    for store in &stores {
        let session = Session::new();
        let data = [
            (name(FIELD), Json::from_text(VALUE).expect("valid JSON")),
            (name("most"), Json::integer(i64::MAX)),
        ];
        let record = session.record().principal(principal(USER)).data(data.into_iter().collect());
        let created = creator.create(&session.key, record.clone()).await;
        assert_eq!(created.expect("the store responds"), Created::New);
        keys.push(session.key.clone());
        assert_eq!(
            store.create(&session.key, record.clone()).await.expect("the store responds"),
            Created::Taken
        );
        let conflict = store
            .commit(&session.key, session.set(FIELD, OTHER_VALUE).guard(Guard::Version(99)))
            .await;
        assert_eq!(conflict.expect("the store responds"), Outcome::Conflict);
        let other_value = Change::Set(Json::from_text(OTHER_VALUE).expect("valid JSON"));
        for (what, refused) in [
            ("an add to a string", session.add(FIELD, 1)),
            ("an add beyond 64 bits", session.add("most", 1).change(name(FIELD), other_value)),
            ("data above the limit", session.set("large", &format!("\"{}\"", "x".repeat(4_070)))),
        ] {
            let outcome = store.commit(&session.key, refused).await;
            let Err(StoreError::Rejected(rejection)) = outcome else {
                panic!("{what}: {outcome:?}")
            };
            assert!(!matches!(rejection, Rejection::Full { .. }), "{what}");
        }
        let rotated = session.rotated();
        assert!(is_done(&store.commit(&session.key, session.sign_in(USER, &rotated)).await));
        for superseded in [session.set(FIELD, OTHER_VALUE), session.renew(&rotated)] {
            assert_eq!(
                store.commit(&session.key, superseded).await.expect("the store responds"),
                Outcome::Superseded
            );
        }
        assert_eq!(
            store.delete(&session.key, Claim::Generation(0)).await.expect("the store responds"),
            Deleted::Superseded
        );
        let brief = Session::new();
        keys.push(brief.key.clone());
        let record =
            NewRecord::new(brief.secret, Duration::from_millis(1)).principal(principal(USER));
        let _ = store.create(&brief.key, record.clone()).await.expect("the session is created");
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(
            store
                .commit(&brief.key, brief.set(FIELD, OTHER_VALUE))
                .await
                .expect("the store responds"),
            Outcome::Gone
        );
        assert_eq!(
            store.create(&brief.key, record).await.expect("the store responds"),
            Created::New
        );
        assert_eq!(
            store.list(&principal(USER), None, 10).await.expect("list succeeds").sessions.len(),
            1
        );
        assert_eq!(store.delete_all(&principal(USER), None).await.expect("delete_all succeeds"), 1);
    }
    let output = server.output();
    assert!(
        output.contains("Waiting for connections"),
        "an external server writes its log elsewhere"
    );
    // The server logs bytes as base64.
    for key in &keys {
        assert_not_logged(&output, key.as_str());
        assert_not_logged(&output, &STANDARD_NO_PAD.encode(key.as_str()));
    }
    for secret in
        [USER, VALUE.trim_matches('"'), OTHER_VALUE.trim_matches('"'), FIELD, &"x".repeat(100)]
    {
        assert_not_logged(&output, secret);
    }
}

fn assert_not_logged(output: &str, secret: &str) {
    let line = output.lines().find(|line| line.contains(secret));
    assert!(line.is_none(), "the server logged {secret:?}: {}", line.unwrap_or_default());
}
