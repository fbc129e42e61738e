//! Calls that need more than one page, and keys and users that a collation would equate.

use futures_util::{StreamExt, stream};
use session_core::{Cursor, NewRecord, SecretHash, SessionStore, StoreError, StoreKey};
use store_sql::SqlStore;
use tests::{
    service::AnySql,
    session::{LONG, Session, principal},
};

use crate::locks::{PATIENT, connect, listed, number};

on_all_databases!(
    c35_delete_all_continues_after_its_first_page,
    c52_list_pages_show_each_session_once,
    c53_delete_everyone_leaves_no_older_session,
    c36_keys_and_users_are_compared_by_bytes,
    c37_foreign_cursor_is_refused,
);

/// More sessions than one page of a deletion.
const MANY: usize = 1_100;

async fn fill(store: &SqlStore, count: usize, user: &str) {
    let sessions =
        stream::iter(0..count).map(async |_| drop(Session::signed_in(store, user).await));
    sessions.buffer_unordered(8).for_each(async |()| ()).await;
}

async fn c35_delete_all_continues_after_its_first_page(sql: AnySql) {
    let store = connect(&sql.url(PATIENT)).await;
    fill(&store, MANY, "bob").await;
    let (kept, eve) =
        (Session::signed_in(&store, "bob").await, Session::signed_in(&store, "eve").await);
    assert_eq!(
        store.delete_all(&principal("bob"), Some(&kept.key)).await.expect("delete_all succeeds"),
        MANY as u64
    );
    assert_eq!(number(&sql, "SELECT count(*) FROM sessions").await, 2);
    for session in [&kept, &eve] {
        assert!(store.load(&session.key).await.expect("an answer").is_some());
    }
}

async fn c52_list_pages_show_each_session_once(sql: AnySql) {
    let store = connect(&sql.url(PATIENT)).await;
    fill(&store, 25, "bob").await;
    let session = Session::signed_in(&store, "eve").await;
    let (mut keys, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(&principal("bob"), after, 7).await.expect("a list");
        keys.extend(page.sessions.into_iter().map(|one| one.key));
        // A commit during the walk moves no session.
        let _ = store.commit(&session.key, session.add("n", 1).ttl(LONG)).await.expect("an answer");
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert!(
        keys.is_sorted_by(|one, other| one.as_str() < other.as_str()),
        "each key once, in ascending order"
    );
    assert_eq!(keys.len(), 25);
    assert_eq!(
        store.list(&principal("bob"), None, 0).await.expect("a list").sessions.len(),
        1,
        "a limit of 0 counts as 1"
    );
}

async fn c53_delete_everyone_leaves_no_older_session(sql: AnySql) {
    let store = connect(&sql.url(PATIENT)).await;
    fill(&store, MANY, "bob").await;
    let _ = Session::anonymous(&store).await;
    let (mut ended, mut pages, mut after, mut younger) = (0, 0, None, 0);
    loop {
        let page = store.delete_everyone(after, 300).await.expect("a page");
        assert!(page.ended <= 300 + younger, "a page ends at most its limit of older sessions");
        (ended, pages, after) = (ended + page.ended, pages + 1, page.next);
        if after.is_none() {
            break;
        }
        // A session is created during the walk.
        let _ = Session::signed_in(&store, "eve").await;
        younger += 1;
    }
    assert!(ended > MANY as u64 && pages >= 4, "{ended} in {pages} pages");
    assert!(listed(&store, "bob").await.expect("a list").is_empty());
    let left = u64::try_from(number(&sql, "SELECT count(*) FROM sessions").await).expect("a count");
    assert_eq!(
        ended + left,
        MANY as u64 + 1 + younger,
        "each session is counted as ended or is still stored"
    );
    assert_eq!(
        store.delete_everyone(None, 0).await.expect("a page").ended,
        left.min(1),
        "a limit of 0 counts as 1"
    );
}

async fn c36_keys_and_users_are_compared_by_bytes(sql: AnySql) {
    let store = connect(&sql.url(PATIENT)).await;
    let long = "k".repeat(StoreKey::MAX_BYTES);
    let texts =
        ["key", "KEY", "key ", "k\u{e9}y", "ke\u{301}y", "'", "\\x6b", "%", &long, &long[1..]];
    for (n, text) in (0_u8..).zip(texts) {
        let new = NewRecord::new(SecretHash::from_bytes([n; 32]), LONG).principal(principal(text));
        let created = store.create(&StoreKey::from_text(text), new).await.expect("an answer");
        assert_eq!(created, session_core::Created::New, "{text}");
    }
    for (n, text) in (0_u8..).zip(texts) {
        let record = store
            .load(&StoreKey::from_text(text))
            .await
            .expect("an answer")
            .expect("the session is live")
            .into_record();
        assert_eq!(
            (record.secret.as_bytes()[0], record.principal),
            (n, Some(principal(text))),
            "{text}"
        );
        let keys: Vec<_> =
            listed(&store, text).await.expect("a list").into_iter().map(|one| one.key).collect();
        assert_eq!(keys, [StoreKey::from_text(text)]);
    }
    for text in texts {
        assert_eq!(
            store.delete_all(&principal(text), None).await.expect("delete_all succeeds"),
            1,
            "{text}"
        );
    }
}

async fn c37_foreign_cursor_is_refused(sql: AnySql) {
    let store = connect(&sql.url(PATIENT)).await;
    for text in ["", "x", "6b6", "6g", "\u{fc}"] {
        let answers = [
            store.scan(Some(Cursor::new(text)), 10).await.map(drop),
            store.list(&principal("bob"), Some(Cursor::new(text)), 10).await.map(drop),
            store.delete_everyone(Some(Cursor::new(text)), 10).await.map(drop),
        ];
        for answer in answers {
            assert!(matches!(answer, Err(StoreError::Other { .. })), "{text:?}: {answer:?}");
        }
    }
}
