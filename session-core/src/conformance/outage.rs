//! What holds when the backend is away, hangs, or is opened by many at once.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use super::{
    Fixture,
    steps::{
        Client, LONG, Must, add, at_once, broken, chain, commit, create, create_any, data, holds, id, key, load, principal, rejected, same,
        set, texts,
    },
};
use crate::{Commit, NewRecord, StoreError, StoreKey};

/// What a busy machine may add to a deadline.
const MARGIN: Duration = Duration::from_secs(1);
/// How long a backend that is back may take to be found.
const RECOVERY: Duration = Duration::from_secs(10);

/// A stopped backend makes every call fail as `Unavailable` or `Timeout` within the deadline; when it is back, the same client works.
pub async fn c42_a_stopped_backend_is_an_error_in_time_and_comes_back(fixture: &dyn Fixture) {
    let store = fixture.store();
    let key = create_any(&store, LONG).await;
    if fixture.stop().await.or_explain("C42").is_none() {
        return;
    }
    let law = "C42: while the backend is stopped";
    // Two rounds: the first may meet connections that break, the second meets none.
    for _ in 0..2 {
        every_call_fails_in_time(&store, &key, fixture.deadline(), law).await;
    }
    same(fixture.start().await.or_explain("C42").is_some(), true, "C42: a fixture that stops its backend starts it again");
    works_again(&store, "C42: when the backend is back the same client works").await;
}

/// What a check before I/O refuses is refused without a backend as well.
pub async fn c08_refusals_need_no_backend(fixture: &dyn Fixture) {
    let store = fixture.store();
    let held = create_any(&store, LONG).await;
    if fixture.stop().await.or_explain("C08").is_none() {
        return;
    }
    let law = "C08: what can be refused before I/O is refused before I/O";
    let over = format!("\"{}\"", "x".repeat(fixture.limits().data_bytes));
    rejected(store.create(&key(), NewRecord::new(LONG).data(data([("a", &over)]))).await, "DataTooLarge", law);
    rejected(store.create(&StoreKey::from_text(""), NewRecord::new(LONG)).await, "Key", law);
    rejected(store.create(&key(), NewRecord::new(Duration::ZERO)).await, "Ttl", law);
    rejected(store.commit(&held, set("a", &over)).await, "DataTooLarge", law);
    rejected(store.commit(&held, Commit::new().move_to(key())).await, "OtherLineage", law);
    let law = "C05: a key that is not storable is absent without I/O";
    same(store.load(&StoreKey::from_text("a\0b")).await.must(law), None, law);
    same(fixture.start().await.or_explain("C08").is_some(), true, "C08: a fixture that stops its backend starts it again");
}

/// A hung backend makes every call end within the deadline; when it goes on, the same client works.
pub async fn c43_a_hung_backend_is_an_error_in_time_and_comes_back(fixture: &dyn Fixture) {
    let store = fixture.store();
    let key = create_any(&store, LONG).await;
    if fixture.freeze().await.or_explain("C43").is_none() {
        return;
    }
    every_call_fails_in_time(&store, &key, fixture.deadline(), "C43: while the backend hangs").await;
    same(fixture.thaw().await.or_explain("C43").is_some(), true, "C43: a fixture that freezes its backend thaws it again");
    works_again(&store, "C43: when the backend goes on the same client works").await;
    load(&store, &key, "C43: a backend that hung has lost nothing").await;
}

/// A thousand calls on a hung backend end together: they do not wait for each other's deadlines.
pub async fn c43_queued_calls_on_a_hung_backend_end_together(fixture: &dyn Fixture) {
    let store = fixture.store();
    let key = create_any(&store, LONG).await;
    if fixture.freeze().await.or_explain("C43").is_none() {
        return;
    }
    let begun = Instant::now();
    let client = [Client::clone(&store)];
    let answers = at_once(&client, 1_000, |store, at| {
        let key = key.clone();
        async move { if at % 2 == 0 { store.load(&key).await.map(drop) } else { store.commit(&key, add("n", 1)).await.map(drop) } }
    });
    let most = fixture.deadline() + MARGIN * 2;
    let Ok(answers) = tokio::time::timeout(most, answers).await else {
        broken("C43: 1,000 queued calls on a hung backend end", format_args!("at most {most:?}"), "no answer by then")
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
    same(fixture.thaw().await.or_explain("C43").is_some(), true, "C43: a fixture that freezes its backend thaws it again");
    works_again(&store, "C43: when the backend goes on the same client works").await;
}

/// Eight processes that open a store on a storage that is not prepared yet all succeed and share it.
pub async fn c44_opening_an_empty_storage_at_once_succeeds(fixture: &dyn Fixture) {
    let open = || fixture.open_namespace("c44");
    let opened = <[_; 8]>::from(tokio::join!(open(), open(), open(), open(), open(), open(), open(), open()));
    let law = "C44: 8 openings of an empty storage at the same moment all succeed";
    let clients = opened.map(|opened| opened.must(law));
    let key = key();
    create(&clients[0], &key, NewRecord::new(LONG)).await;
    for client in &clients {
        commit(client, &key, add("n", 1), "C44: all who opened at once work on one storage").await;
    }
    let record = load(&clients[7], &key, law).await;
    same(texts(&record.data), texts(&data([("n", "8")])), "C44: all who opened at once work on one storage");
}

async fn every_call_fails_in_time(store: &Client, key: &StoreKey, deadline: Duration, law: &str) {
    let (new, alice) = (id().store_key(), principal("alice"));
    fails_in_time("load", deadline, law, store.load(key)).await;
    fails_in_time("create", deadline, law, store.create(&new, NewRecord::new(LONG))).await;
    fails_in_time("commit", deadline, law, store.commit(key, add("n", 1))).await;
    fails_in_time("delete", deadline, law, store.delete(&new)).await;
    fails_in_time("list", deadline, law, store.list(&alice)).await;
    fails_in_time("delete_all", deadline, law, store.delete_all(&alice, None)).await;
    fails_in_time("scan", deadline, law, store.scan(None, 10)).await;
    fails_in_time("ping", deadline, law, store.ping()).await;
}

async fn fails_in_time<T: std::fmt::Debug>(method: &str, deadline: Duration, law: &str, call: impl Future<Output = Result<T, StoreError>>) {
    let most = deadline + MARGIN;
    match tokio::time::timeout(most, call).await {
        Ok(answer) => is_transient(answer, &format!("{law} {method} is Unavailable or Timeout (law 7)")),
        Err(_) => broken(&format!("{law} {method} ends within the deadline (law 7)"), format_args!("at most {most:?}"), "no answer"),
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
    let key = key();
    while let Err(error) = store.create(&key, NewRecord::new(LONG)).await {
        holds(error.is_transient(), law, "Unavailable or Timeout until it works", chain(&error));
        holds(begun.elapsed() < RECOVERY, law, format_args!("at most {RECOVERY:?}"), begun.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    store.ping().await.must(law);
    same(commit(store, &key, add("n", 1), law).await.version, 2, law);
}
