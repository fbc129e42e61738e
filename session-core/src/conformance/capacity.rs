//! Checks of a full store: C50.

use super::{
    assert::{Must, check, check_eq, error_text, fail},
    calls::{commit, create_signed_in, end_session, load},
    fixture::Fixture,
    session::{LONG, TestSession, name, principal},
};
use crate::{Change, Created, Json, Rejection, StoreError};

/// In a store full of anonymous sessions users still sign in and sessions still end.
pub async fn c50_anonymous_sessions_leave_room_for_users(fixture: &dyn Fixture) {
    let Some(store) = fixture.bounded().await.or_explain("C50") else { return };
    let (rule, mut held) =
        ("C50: a full store rejects one more anonymous session as Full", Vec::new());
    let refused = loop {
        let session = TestSession::new();
        match store.create(&session.key, session.record(LONG)).await {
            Ok(Created::New) => held.push(session),
            Err(StoreError::Rejected(Rejection::Full { .. })) => break session,
            Err(error) => fail(rule, "Rejected(Full)", error_text(&error)),
            Ok(answer) => fail(rule, "New or Rejected(Full)", format_args!("{answer:?}")),
        }
        check(
            held.len() <= fixture.bulk(),
            rule,
            format_args!("at most {} sessions", fixture.bulk()),
            held.len(),
        );
    };
    let (Some(visitor), Some(other)) = (held.first(), held.last()) else {
        fail(rule, "room for one session", "none")
    };
    check_eq(
        store.load(&refused.key).await.must(rule),
        None,
        "C50: a rejected create stores nothing",
    );

    let rule = "C50: a store full of anonymous sessions accepts the session of a user";
    let user = create_signed_in(&store, &principal("alice")).await;
    load(&store, &user.key, rule).await;
    let rule = "C50: in a store full of anonymous sessions a sign-in succeeds";
    let next = visitor.rotated();
    commit(&store, &visitor.key, visitor.sign_in(&next, &principal("bob")), rule).await;
    check_eq(load(&store, &visitor.key, rule).await.principal, Some(principal("bob")), rule);
    let rule = "C50: in a full store a rotation and a commit succeed";
    commit(&store, &visitor.key, next.rotate(&next.rotated()).ttl(LONG), rule).await;
    commit(&store, &user.key, user.commit().change(name("n"), Change::Set(Json::integer(1))), rule)
        .await;

    let rule = "C50: in a full store sessions end, and their space is free again";
    end_session(&store, &other.key, rule).await;
    end_session(&store, &user.key, rule).await;
    let created = store.create(&refused.key, refused.record(LONG)).await.must(rule);
    check_eq(created, Created::New, rule);
}
