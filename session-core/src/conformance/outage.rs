//! What holds while the backend is stopped or hangs, and when many clients open it at once.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use super::{
    Fixture,
    steps::{
        Client, LONG, Must, TestSession, at_once, broken, chain, commit, create_any, data, holds,
        load, principal, rejected, same, texts,
    },
};
use crate::{Claim, NewRecord, Rotation, StoreError, StoreKey};

/// The delay that a busy machine may add to a deadline.
const MARGIN: Duration = Duration::from_secs(1);
/// The time in which a client finds a backend that works again.
const RECOVERY: Duration = Duration::from_secs(10);

/// A stopped backend makes every call fail as `Unavailable` or `Timeout` within the deadline; when
/// it works again, so does the same client.
pub async fn c42_a_stopped_backend_is_an_error_in_time_and_comes_back(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = create_any(&store, LONG).await;
    if fixture.stop().await.or_explain("C42").is_none() {
        return;
    }
    let law = "C42: while the backend is stopped";
    // Two rounds: the first may meet connections that break, the second meets none.
    for _ in 0..2 {
        every_call_fails_in_time(&store, &session, fixture.deadline(), law).await;
        fails_in_time("delete_everyone", fixture.deadline(), law, store.delete_everyone(None, 1))
            .await;
    }
    same(
        fixture.start().await.or_explain("C42").is_some(),
        true,
        "C42: a fixture that stops its backend starts it again",
    );
    works_again(&store, "C42: when the backend works again so does the same client").await;
}

/// A call that the check before I/O refuses is refused without a backend as well.
pub async fn c08_refusals_need_no_backend(fixture: &dyn Fixture) {
    let store = fixture.store();
    let held = create_any(&store, LONG).await;
    if fixture.stop().await.or_explain("C08").is_none() {
        return;
    }
    let law = "C08: a call that can be refused before I/O is refused before I/O";
    let (key, next, fresh) = (&held.key, held.rotated(), TestSession::new());
    let over = format!("\"{}\"", "x".repeat(fixture.limits().data_bytes));
    let unstorable = StoreKey::from_text("");
    rejected(
        store.create(&fresh.key, fresh.record(LONG).data(data([("a", &over)]))).await,
        "DataTooLarge",
        law,
    );
    rejected(store.create(&unstorable, fresh.record(LONG)).await, "Key", law);
    rejected(store.create(&fresh.key, fresh.record(Duration::ZERO)).await, "Ttl", law);
    rejected(
        store.create(&fresh.key, NewRecord { version: 0, ..fresh.record(LONG) }).await,
        "Inconsistent",
        law,
    );
    rejected(store.commit(key, held.set("a", &over)).await, "DataTooLarge", law);
    rejected(store.commit(key, held.touch(Duration::ZERO)).await, "Ttl", law);
    let sign_in = held.sign_in(&next, &principal("alice"));
    rejected(
        store.commit(key, crate::Commit { rotate: None, ..sign_in.clone() }).await,
        "PrincipalWithoutRotation",
        law,
    );
    let grace = |grace| Rotation { grace: Some(grace), ..next.rotation() };
    rejected(store.commit(key, sign_in.rotate(grace(LONG / 10))).await, "GraceWithSignIn", law);
    rejected(store.commit(key, held.commit().rotate(grace(Duration::ZERO))).await, "Grace", law);
    let law = "C05: a key that is not storable is absent without I/O";
    same(store.load(&StoreKey::from_text("a\0b")).await.must(law), None, law);
    same(
        fixture.start().await.or_explain("C08").is_some(),
        true,
        "C08: a fixture that stops its backend starts it again",
    );
}

/// A hung backend makes every call end within the deadline; when it continues, the same client
/// works.
pub async fn c43_a_hung_backend_is_an_error_in_time_and_comes_back(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = create_any(&store, LONG).await;
    if fixture.freeze().await.or_explain("C43").is_none() {
        return;
    }
    let (deadline, law) = (fixture.deadline(), "C43: while the backend hangs");
    every_call_fails_in_time(&store, &session, deadline, law).await;
    same(
        fixture.thaw().await.or_explain("C43").is_some(),
        true,
        "C43: a fixture that freezes its backend thaws it again",
    );
    works_again(&store, "C43: when the backend continues the same client works").await;
    load(&store, &session.key, "C43: a backend that hung has lost nothing").await;
    // A call that timed out may take effect later, so this one comes last.
    if fixture.freeze().await.or_explain("C43").is_some() {
        fails_in_time("delete_everyone", deadline, law, store.delete_everyone(None, 1)).await;
        same(
            fixture.thaw().await.or_explain("C43").is_some(),
            true,
            "C43: a fixture that freezes its backend thaws it again",
        );
        works_again(&store, "C43: when the backend continues again the same client works").await;
    }
}

/// A thousand calls on a hung backend end together: they do not wait for each other's deadlines.
pub async fn c43_queued_calls_on_a_hung_backend_end_together(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = create_any(&store, LONG).await;
    if fixture.freeze().await.or_explain("C43").is_none() {
        return;
    }
    let begun = Instant::now();
    let client = [Client::clone(&store)];
    let answers = at_once(&client, 1_000, |store, at| {
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
        broken(
            "C43: 1,000 queued calls on a hung backend end",
            format_args!("at most {most:?}"),
            "no answer by then",
        )
    };
    holds(
        begun.elapsed() <= most,
        "C43: 1,000 queued calls on a hung backend end at about the deadline",
        format_args!("at most {most:?}"),
        begun.elapsed(),
    );
    for answer in answers {
        is_transient(answer, "C43: a queued call on a hung backend is Timeout or Unavailable");
    }
    same(
        fixture.thaw().await.or_explain("C43").is_some(),
        true,
        "C43: a fixture that freezes its backend thaws it again",
    );
    works_again(&store, "C43: when the backend continues the same client works").await;
}

/// Eight processes that open a store on a storage that is not prepared yet all succeed and share
/// it.
pub async fn c44_opening_an_empty_storage_at_once_succeeds(fixture: &dyn Fixture) {
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
    let law = "C44: 8 openings of an empty storage at the same moment all succeed";
    let clients = opened.map(|opened| opened.must(law));
    let session = create_any(&clients[0], LONG).await;
    for client in &clients {
        commit(
            client,
            &session.key,
            session.add("n", 1),
            "C44: all clients that opened at once work on one storage",
        )
        .await;
    }
    let record = load(&clients[7], &session.key, law).await;
    same(
        texts(&record.data),
        texts(&data([("n", "8")])),
        "C44: all clients that opened at once work on one storage",
    );
}

async fn every_call_fails_in_time(
    store: &Client,
    held: &TestSession,
    deadline: Duration,
    law: &str,
) {
    let (new, alice) = (TestSession::new(), principal("alice"));
    fails_in_time("load", deadline, law, store.load(&held.key)).await;
    fails_in_time("create", deadline, law, store.create(&new.key, new.record(LONG))).await;
    fails_in_time("commit", deadline, law, store.commit(&held.key, held.add("n", 1))).await;
    fails_in_time("an empty commit", deadline, law, store.commit(&held.key, held.commit())).await;
    fails_in_time("delete", deadline, law, store.delete(&new.key, Claim::Any)).await;
    fails_in_time("list", deadline, law, store.list(&alice, None, 10)).await;
    fails_in_time("delete_all", deadline, law, store.delete_all(&alice, None)).await;
    fails_in_time("scan", deadline, law, store.scan(None, 10)).await;
    fails_in_time("ping", deadline, law, store.ping()).await;
}

async fn fails_in_time<T: std::fmt::Debug>(
    method: &str,
    deadline: Duration,
    law: &str,
    call: impl Future<Output = Result<T, StoreError>>,
) {
    let most = deadline + MARGIN;
    match tokio::time::timeout(most, call).await {
        Ok(answer) => {
            is_transient(answer, &format!("{law} {method} is Unavailable or Timeout (law 7)"))
        }
        Err(_) => broken(
            &format!("{law} {method} ends within the deadline (law 7)"),
            format_args!("at most {most:?}"),
            "no answer",
        ),
    }
}

#[track_caller]
fn is_transient<T: std::fmt::Debug>(answer: Result<T, StoreError>, law: &str) {
    match answer {
        Err(error) if error.is_transient() => {}
        Err(error) => broken(law, "Unavailable or Timeout", chain(&error)),
        Ok(answer) => broken(law, "Unavailable or Timeout", format_args!("{answer:?}")),
    }
}

async fn works_again(store: &Client, law: &str) {
    let begun = Instant::now();
    let session = TestSession::new();
    while let Err(error) = store.create(&session.key, session.record(LONG)).await {
        holds(error.is_transient(), law, "Unavailable or Timeout until it works", chain(&error));
        holds(
            begun.elapsed() < RECOVERY,
            law,
            format_args!("at most {RECOVERY:?}"),
            begun.elapsed(),
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    store.ping().await.must(law);
    same(commit(store, &session.key, session.add("n", 1), law).await.version, 2, law);
}
