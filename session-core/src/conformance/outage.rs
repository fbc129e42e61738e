//! Checks of a stopped or hung backend, and of concurrent setup: C08, C42 to C44.

use std::{
    fmt::Debug,
    future::Future,
    time::{Duration, Instant},
};

use super::{
    assert::{Must, check, check_eq, check_rejected, error_text, fail},
    calls::{Client, commit, create_anonymous, load, run_concurrently},
    fixture::Fixture,
    session::{LONG, TestSession, data, principal, texts},
};
use crate::{Claim, Commit, NewRecord, Rotation, StoreError, StoreKey};

/// The delay that a machine under load may add to a deadline.
const MARGIN: Duration = Duration::from_secs(1);

/// The time in which a client must recover after the backend works again.
const RECOVERY: Duration = Duration::from_secs(10);

/// A call that fails validation is rejected before I/O, even without a backend.
pub async fn c08_invalid_calls_are_rejected_before_io(fixture: &dyn Fixture) {
    let store = fixture.store();
    let held = create_anonymous(&store, LONG).await;
    if fixture.stop().await.or_explain("C08").is_none() {
        return;
    }
    let rule = "C08: an invalid call is rejected before I/O";
    let (key, next, fresh) = (&held.key, held.rotated(), TestSession::new());
    let over = format!("\"{}\"", "x".repeat(fixture.limits().data_bytes));
    let unstorable = StoreKey::from_text("");
    check_rejected(
        store.create(&fresh.key, fresh.record(LONG).data(data([("a", &over)]))).await,
        "DataTooLarge",
        rule,
    );
    check_rejected(store.create(&unstorable, fresh.record(LONG)).await, "Key", rule);
    check_rejected(store.create(&fresh.key, fresh.record(Duration::ZERO)).await, "Ttl", rule);
    check_rejected(
        store.create(&fresh.key, NewRecord { version: 0, ..fresh.record(LONG) }).await,
        "Inconsistent",
        rule,
    );
    check_rejected(store.commit(key, held.set("a", &over)).await, "DataTooLarge", rule);
    check_rejected(store.commit(key, held.touch(Duration::ZERO)).await, "Ttl", rule);
    let sign_in = held.sign_in(&next, &principal("alice"));
    check_rejected(
        store.commit(key, Commit { rotate: None, ..sign_in.clone() }).await,
        "PrincipalWithoutRotation",
        rule,
    );
    let grace = |grace| Rotation { grace: Some(grace), ..next.rotation() };
    check_rejected(
        store.commit(key, sign_in.rotate(grace(LONG / 10))).await,
        "GraceWithSignIn",
        rule,
    );
    check_rejected(
        store.commit(key, held.commit().rotate(grace(Duration::ZERO))).await,
        "Grace",
        rule,
    );
    let rule = "C05: a key that is not storable is absent before I/O";
    check_eq(store.load(&StoreKey::from_text("a\0b")).await.must(rule), None, rule);
    check_eq(
        fixture.start().await.or_explain("C08").is_some(),
        true,
        "C08: the fixture starts the stopped backend again",
    );
}

/// With a stopped backend every call is `Unavailable` or `Timeout` within the deadline.
///
/// The same client works again when the backend does.
pub async fn c42_calls_fail_in_time_while_the_backend_is_stopped(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = create_anonymous(&store, LONG).await;
    if fixture.stop().await.or_explain("C42").is_none() {
        return;
    }
    let rule = "C42: while the backend is stopped";
    // In the first round the connections may break. In the second round there are none.
    for _ in 0..2 {
        check_every_call_fails_in_time(&store, &session, fixture.deadline(), rule).await;
        check_fails_in_time(
            "delete_everyone",
            fixture.deadline(),
            rule,
            store.delete_everyone(None, 1),
        )
        .await;
    }
    check_eq(
        fixture.start().await.or_explain("C42").is_some(),
        true,
        "C42: the fixture starts the stopped backend again",
    );
    check_recovery(&store, "C42: the client works again after the backend has started").await;
}

/// With a hung backend every call is `Unavailable` or `Timeout` within the deadline.
///
/// The same client works again when the backend continues.
pub async fn c43_calls_fail_in_time_while_the_backend_hangs(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = create_anonymous(&store, LONG).await;
    if fixture.freeze().await.or_explain("C43").is_none() {
        return;
    }
    let (deadline, rule) = (fixture.deadline(), "C43: while the backend hangs");
    check_every_call_fails_in_time(&store, &session, deadline, rule).await;
    check_eq(
        fixture.thaw().await.or_explain("C43").is_some(),
        true,
        "C43: the fixture lets the frozen backend continue",
    );
    check_recovery(&store, "C43: the client works again after the backend continues").await;
    load(&store, &session.key, "C43: a hung backend loses no record").await;
    // A call that timed out may take effect later, so this call is the last one.
    if fixture.freeze().await.or_explain("C43").is_some() {
        check_fails_in_time("delete_everyone", deadline, rule, store.delete_everyone(None, 1))
            .await;
        check_eq(
            fixture.thaw().await.or_explain("C43").is_some(),
            true,
            "C43: the fixture lets the frozen backend continue",
        );
        check_recovery(&store, "C43: the client works again after the backend continues").await;
    }
}

/// A thousand calls on a hung backend all end within one deadline.
pub async fn c43_queued_calls_share_one_deadline(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = create_anonymous(&store, LONG).await;
    if fixture.freeze().await.or_explain("C43").is_none() {
        return;
    }
    let started = Instant::now();
    let client = [Client::clone(&store)];
    let answers = run_concurrently(&client, 1_000, |store, at| {
        let session = session.clone();
        async move {
            if at % 2 == 0 {
                store.load(&session.key).await.map(drop)
            } else {
                store.commit(&session.key, session.add("n", 1)).await.map(drop)
            }
        }
    });
    let most = fixture.deadline() + MARGIN * 2;
    let Ok(answers) = tokio::time::timeout(most, answers).await else {
        fail(
            "C43: 1,000 queued calls on a hung backend end within the deadline",
            format_args!("at most {most:?}"),
            "no result",
        )
    };
    check(
        started.elapsed() <= most,
        "C43: 1,000 queued calls on a hung backend end within the deadline",
        format_args!("at most {most:?}"),
        started.elapsed(),
    );
    for answer in answers {
        check_transient(answer, "C43: a queued call on a hung backend is Timeout or Unavailable");
    }
    check_eq(
        fixture.thaw().await.or_explain("C43").is_some(),
        true,
        "C43: the fixture lets the frozen backend continue",
    );
    check_recovery(&store, "C43: the client works again after the backend continues").await;
}

/// Eight clients that open an empty storage at once all succeed and share it.
pub async fn c44_concurrent_setup_of_an_empty_storage_succeeds(fixture: &dyn Fixture) {
    let open = || fixture.open_namespace("c44");
    let opened = <[_; 8]>::from(tokio::join!(
        open(),
        open(),
        open(),
        open(),
        open(),
        open(),
        open(),
        open()
    ));
    let rule = "C44: 8 clients open an empty storage concurrently";
    let clients = opened.map(|opened| opened.must(rule));
    let session = create_anonymous(&clients[0], LONG).await;
    for client in &clients {
        commit(
            client,
            &session.key,
            session.add("n", 1),
            "C44: clients that opened concurrently share one storage",
        )
        .await;
    }
    let record = load(&clients[7], &session.key, rule).await;
    check_eq(
        texts(&record.data),
        texts(&data([("n", "8")])),
        "C44: clients that opened concurrently share one storage",
    );
}

async fn check_every_call_fails_in_time(
    store: &Client,
    held: &TestSession,
    deadline: Duration,
    rule: &str,
) {
    let (new, alice) = (TestSession::new(), principal("alice"));
    check_fails_in_time("load", deadline, rule, store.load(&held.key)).await;
    check_fails_in_time("create", deadline, rule, store.create(&new.key, new.record(LONG))).await;
    check_fails_in_time("commit", deadline, rule, store.commit(&held.key, held.add("n", 1))).await;
    check_fails_in_time("an empty commit", deadline, rule, store.commit(&held.key, held.commit()))
        .await;
    check_fails_in_time("delete", deadline, rule, store.delete(&new.key, Claim::Any)).await;
    check_fails_in_time("list", deadline, rule, store.list(&alice, None, 10)).await;
    check_fails_in_time("delete_all", deadline, rule, store.delete_all(&alice, None)).await;
    check_fails_in_time("scan", deadline, rule, store.scan(None, 10)).await;
    check_fails_in_time("ping", deadline, rule, store.ping()).await;
}

async fn check_fails_in_time<T: Debug>(
    method: &str,
    deadline: Duration,
    rule: &str,
    call: impl Future<Output = Result<T, StoreError>>,
) {
    let most = deadline + MARGIN;
    match tokio::time::timeout(most, call).await {
        Ok(answer) => {
            check_transient(answer, &format!("{rule} {method} is Unavailable or Timeout (law 7)"));
        }
        Err(_) => fail(
            &format!("{rule} {method} ends within the deadline (law 7)"),
            format_args!("at most {most:?}"),
            "no result",
        ),
    }
}

#[track_caller]
fn check_transient<T: Debug>(answer: Result<T, StoreError>, rule: &str) {
    match answer {
        Err(error) if error.is_transient() => {}
        Err(error) => fail(rule, "Unavailable or Timeout", error_text(&error)),
        Ok(answer) => fail(rule, "Unavailable or Timeout", format_args!("{answer:?}")),
    }
}

async fn check_recovery(store: &Client, rule: &str) {
    let started = Instant::now();
    let session = TestSession::new();
    while let Err(error) = store.create(&session.key, session.record(LONG)).await {
        check(
            error.is_transient(),
            rule,
            "Unavailable or Timeout until the backend works",
            error_text(&error),
        );
        check(
            started.elapsed() < RECOVERY,
            rule,
            format_args!("at most {RECOVERY:?}"),
            started.elapsed(),
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    store.ping().await.must(rule);
    check_eq(commit(store, &session.key, session.add("n", 1), rule).await.version, 2, rule);
}
