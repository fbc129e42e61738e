//! Calls on one session: rotation, deletion by a claim, creation under a key that is in use.

use std::time::Duration;

use futures_util::future::join_all;
use session_core::{
    Change, Claim, Created, Deleted, Guard, Json, NewRecord, Outcome, Rotation, SessionStore,
};
use tests::{
    PATIENCE,
    service::{AnySql, Durability, Postgres},
    session::{LONG, Session, is_done, name, principal},
    wait,
};

use crate::locks::{DirectConnection, PATIENT, connect, listed, number, record, wait_for_blocked};

on_all_databases!(
    c46_one_of_concurrent_renewals_succeeds,
    c47_claim_and_sign_in_have_one_order,
    c47_every_claim_ends_an_unreadable_row,
    c01_create_replaces_every_column_of_an_expired_row,
    c54_repeated_create_changes_nothing,
    c46_renewal_keeps_deadline_and_version,
);

async fn c46_one_of_concurrent_renewals_succeeds(sql: AnySql) {
    const RENEWALS: usize = 16;
    let store = connect(&sql.url(PATIENT)).await;
    let mut session = Session::signed_in(&store, "bob").await;
    for round in 0..10 {
        let next: Vec<_> = (0..RENEWALS).map(|_| session.rotated()).collect();
        let outcomes =
            join_all(next.iter().map(|next| store.commit(&session.key, session.renew(next)))).await;
        let mut won = Vec::new();
        for (next, outcome) in next.into_iter().zip(outcomes) {
            match outcome {
                Ok(Outcome::Done(_)) => won.push(next),
                Ok(Outcome::Superseded) => {}
                other => panic!("round {round}: {other:?}"),
            }
        }
        assert_eq!(won.len(), 1, "round {round}");
        session = won.remove(0);
        assert_eq!(record(&store, &session).await.secret, session.secret, "round {round}");
    }
}

/// A claim of generation 0 ends the session before the sign-in, and is refused after it.
async fn c47_claim_and_sign_in_have_one_order(sql: AnySql) {
    let store = connect(&sql.url(PATIENT)).await;
    let (mut ended, mut kept) = (0, 0);
    for round in 0..60 {
        let session = Session::anonymous(&store).await;
        let next = session.rotated();
        let (signed_in, deleted) =
            tokio::join!(store.commit(&session.key, session.sign_in("bob", &next)), async {
                if round % 2 == 0 {
                    tokio::task::yield_now().await;
                }
                store.delete(&session.key, Claim::Generation(0)).await
            });
        let lives = store.load(&session.key).await.expect("an answer").is_some();
        match (signed_in.expect("an answer"), deleted.expect("an answer")) {
            (Outcome::Gone, Deleted::Ended) => assert!(!lives, "round {round}"),
            (Outcome::Done(_), Deleted::Superseded) => assert!(lives, "round {round}"),
            other => panic!("round {round}: {other:?}"),
        }
        ended += usize::from(!lives);
        kept += usize::from(lives);
    }
    eprintln!("{}: {ended} ended, {kept} signed in", sql.version());
}

/// The sign-in is in a transaction that is still open. The deletion waits for its end and then
/// compares the claim with the result.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c47_claim_waits_for_an_uncommitted_sign_in() {
    for sql in
        [AnySql::own_postgres(Durability::Full).await, AnySql::own_mariadb(Durability::Full).await]
    {
        let Some(sql) = sql else { continue };
        let store = connect(&sql.url(PATIENT)).await;
        let session = Session::anonymous(&store).await;
        let mut direct = DirectConnection::open(&sql.url("")).await;
        direct.run("BEGIN; UPDATE sessions SET since = 4, generation = 4").await;
        let ending = tokio::spawn({
            let (store, key) = (store.clone(), session.key.clone());
            async move { store.delete(&key, Claim::Generation(3)).await }
        });
        wait_for_blocked(&sql, 1).await;
        direct.run("COMMIT").await;
        assert_eq!(ending.await.expect("no panic").expect("an answer"), Deleted::Superseded);
        assert_eq!(
            store.delete(&session.key, Claim::Generation(4)).await.expect("an answer"),
            Deleted::Ended
        );
    }
}

/// The claim does not cover the session's generation. The row is unreadable, in each way that the
/// database allows.
async fn c47_every_claim_ends_an_unreadable_row(sql: AnySql) {
    let store = connect(&sql.url(PATIENT)).await;
    for corruption in [
        "format = 7",
        "attributes = 'no words'",
        "principal = NULL",
        "generation = -1",
        r#"data = '{"a":"{"}'"#,
    ] {
        for claim in [Claim::Any, Claim::Generation(0)] {
            let session = Session::new();
            let new = NewRecord {
                generation: 5,
                since: 5,
                ..session.record().principal(principal("bob"))
            };
            let _ = store.create(&session.key, new).await.expect("a new session");
            sql.ask(&format!("UPDATE sessions SET {corruption}"))
                .await
                .expect("the server executes it");
            assert_eq!(
                store.delete(&session.key, claim).await.expect("an answer"),
                Deleted::Ended,
                "{corruption}, {claim:?}"
            );
            assert_eq!(
                number(&sql, "SELECT count(*) FROM sessions").await,
                0,
                "{corruption}, {claim:?}"
            );
        }
    }
}

async fn c01_create_replaces_every_column_of_an_expired_row(sql: AnySql) {
    let store = connect(&sql.url(PATIENT)).await;
    let session = Session::new();
    let value =
        |text: &str| [(name("a"), Json::from_text(text).expect("JSON"))].into_iter().collect();
    let old =
        NewRecord { version: 9, age: LONG, ttl: Duration::from_millis(100), ..session.record() }
            .data(value("1"))
            .principal(principal("bob"));
    assert_eq!(store.create(&session.key, old).await.expect("an answer"), Created::New);
    // The old row has a value in every column that is null in the new row.
    let graced = Rotation {
        secret: session.rotated().secret,
        generation: 1,
        grace: Some(Duration::from_mins(1)),
    };
    let _ = store.commit(&session.key, session.commit().rotate(graced)).await.expect("an answer");
    let expired =
        async || store.load(&session.key).await.expect("an answer").is_none().then_some(());
    wait::until("the session to expire", PATIENCE, expired).await;
    let created =
        join_all((0..4).map(|_| store.create(&session.key, session.record().data(value("2")))))
            .await;
    let new = created
        .into_iter()
        .filter(|created| *created.as_ref().expect("an answer") == Created::New)
        .count();
    assert_eq!(new, 1, "of four creators of one key");
    let record = record(&store, &session).await;
    assert_eq!(
        (record.version, record.generation, record.grace, record.authenticated, record.principal),
        (1, 0, None, None, None)
    );
    assert_eq!(
        (record.secret, record.rotated, record.data),
        (session.secret, record.age, value("2"))
    );
    assert!(listed(&store, "bob").await.expect("a list").is_empty());
}

async fn c54_repeated_create_changes_nothing(sql: AnySql) {
    let store = connect(&sql.url(PATIENT)).await;
    let session = Session::new();
    assert_eq!(
        store.create(&session.key, session.record()).await.expect("an answer"),
        Created::New
    );
    assert!(is_done(&store.commit(&session.key, session.add("n", 1)).await));
    let before = sql.dump().await;
    for _ in 0..3 {
        assert_eq!(
            store.create(&session.key, session.record()).await.expect("an answer"),
            Created::Taken
        );
    }
    assert_eq!(sql.dump().await, before);
}

async fn c46_renewal_keeps_deadline_and_version(sql: AnySql) {
    let store = connect(&sql.url(PATIENT)).await;
    let session = Session::signed_in(&store, "bob").await;
    let columns = "SELECT version, expires, created, principal, authenticated, since FROM sessions";
    let before = sql.ask(columns).await.expect("the server answers");
    let next = session.rotated();
    assert!(is_done(&store.commit(&session.key, session.renew(&next)).await));
    assert_eq!(sql.ask(columns).await.expect("the server answers"), before);
    assert_eq!(number(&sql, "SELECT generation FROM sessions").await, 1);
}

/// An update that changes an indexed column is not a HOT update: it writes an entry into every
/// index of the table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c46_postgres_renewals_are_hot_updates() {
    const SESSIONS: usize = 300;
    const RENEWALS: usize = 5;
    let Some(postgres) = Postgres::start().await else { return };
    let sql = AnySql::Postgres(postgres);
    let store = connect(&sql.url(PATIENT)).await;
    let mut sessions = join_all(
        (0..SESSIONS).map(|n| Session::signed_in(&store, if n % 2 == 0 { "bob" } else { "eve" })),
    )
    .await;
    for _ in 0..RENEWALS {
        for session in &mut sessions {
            let next = session.rotated();
            let outcome = store.commit(&session.key, session.renew(&next)).await;
            assert!(is_done(&outcome), "{outcome:?}");
            *session = next;
        }
    }
    let updates = async |least: usize| {
        let of = |column: &str| {
            format!("SELECT {column} FROM pg_stat_user_tables WHERE relname = 'sessions'")
        };
        wait::until("the statistics", PATIENCE, async || {
            let all = number(&sql, &of("n_tup_upd")).await;
            (all >= i64::try_from(least).expect("a few")).then_some(())
        })
        .await;
        (number(&sql, &of("n_tup_upd")).await, number(&sql, &of("n_tup_hot_upd")).await)
    };
    let (all, hot) = updates(SESSIONS * RENEWALS).await;
    eprintln!("{hot} of {all} renewals were HOT updates");
    assert!(hot * 100 >= all * 95, "{hot} of {all} renewals were HOT updates");
    for session in &sessions {
        assert!(is_done(&store.commit(&session.key, session.commit().ttl(2 * LONG)).await));
    }
    let (after, hot_after) = updates(SESSIONS * (RENEWALS + 1)).await;
    assert_eq!(
        (after - all, hot_after - hot),
        (i64::try_from(SESSIONS).expect("a few"), 0),
        "an extension is not a HOT update"
    );
}

/// A server logs failed statements. No statement fails because of stored content, or because the
/// store refuses the call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c45_refused_calls_leave_no_postgres_log_lines() {
    let Some(postgres) = Postgres::start_with(&[
        "-c",
        "log_min_messages=warning",
        "-c",
        "log_min_error_statement=error",
    ])
    .await
    else {
        return;
    };
    let store = connect(&format!("{}?{PATIENT}", postgres.url())).await;
    let before = postgres.output().expect("the test started this server").len();
    let session = Session::signed_in(&store, "bob").await;
    let (next, missing) = (session.rotated(), Session::new());
    let _ = store.create(&session.key, session.record()).await.expect("an answer");
    for (field, json) in [
        ("text", "\"t\""),
        ("most", "9223372036854775807"),
        ("half", "0.5"),
        ("long", "123456789012345678901234567890"),
    ] {
        assert!(is_done(&store.commit(&session.key, session.set(field, json)).await));
    }
    for commit in ["text", "most", "half", "long"]
        .map(|field| session.commit().change(name(field), Change::Add(1)))
    {
        assert!(store.commit(&session.key, commit).await.is_err());
    }
    for commit in [
        next.add("n", 1),
        session.set("a", "1").guard(Guard::Version(99)),
        next.renew(&session),
        next.commit(),
    ] {
        assert!(!is_done(&store.commit(&session.key, commit).await));
    }
    assert_eq!(
        store.commit(&missing.key, missing.add("n", 1)).await.expect("an answer"),
        Outcome::Gone
    );
    assert!(is_done(&store.commit(&session.key, session.sign_in("eve", &next)).await));
    for claim in [Claim::Generation(0), Claim::Any, Claim::Any] {
        let _ = store.delete(&session.key, claim).await.expect("an answer");
    }
    let output = postgres.output().expect("the test started this server");
    assert!(
        !output[before..].contains("ERROR") && !output[before..].contains("WARNING"),
        "{}",
        &output[before..]
    );
    postgres.ask("SELECT 1 / 0").await.expect_err("a statement that fails");
    assert!(
        postgres.output().expect("the test started this server")[before..].contains("ERROR"),
        "the server logs a failed statement"
    );
}
