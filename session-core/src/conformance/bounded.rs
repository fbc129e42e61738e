//! What a store with a cap promises when it is full.

use super::{
    Fixture,
    steps::{
        LONG, Must, TestSession, broken, chain, commit, end, holds, load, name, principal, same,
        signed_in,
    },
};
use crate::{Change, Created, Json, Rejection, StoreError};

/// With the store full of anonymous sessions, users still sign in and sessions still end.
pub async fn c50_a_flood_of_anonymous_sessions_leaves_room_for_users(fixture: &dyn Fixture) {
    let Some(store) = fixture.bounded().await.or_explain("C50") else { return };
    let (law, mut held) =
        ("C50: a full store refuses a further anonymous session as Full", Vec::new());
    let refused = loop {
        let session = TestSession::new();
        match store.create(&session.key, session.record(LONG)).await {
            Ok(Created::New) => held.push(session),
            Err(StoreError::Rejected(Rejection::Full { .. })) => break session,
            Err(error) => broken(law, "Rejected(Full)", chain(&error)),
            Ok(answer) => broken(law, "New or Rejected(Full)", format_args!("{answer:?}")),
        }
        holds(
            held.len() <= fixture.bulk(),
            law,
            format_args!("at most {} sessions", fixture.bulk()),
            held.len(),
        );
    };
    let (Some(visitor), Some(other)) = (held.first(), held.last()) else {
        broken(law, "room for one session", "none")
    };
    same(store.load(&refused.key).await.must(law), None, "C50: a refused create leaves nothing");

    let law = "C50: in a store full of anonymous sessions a user's session is created";
    let user = signed_in(&store, &principal("alice")).await;
    load(&store, &user.key, law).await;
    let law = "C50: in a store full of anonymous sessions a visitor signs in";
    let next = visitor.rotated();
    commit(&store, &visitor.key, visitor.sign_in(&next, &principal("bob")), law).await;
    same(load(&store, &visitor.key, law).await.principal, Some(principal("bob")), law);
    let law = "C50: in a full store sessions rotate and live on";
    commit(&store, &visitor.key, next.rotate(&next.rotated()).ttl(LONG), law).await;
    commit(&store, &user.key, user.commit().change(name("n"), Change::Set(Json::integer(1))), law)
        .await;

    let law = "C50: in a full store sessions end, and their room is free again";
    end(&store, &other.key, law).await;
    end(&store, &user.key, law).await;
    let created = store.create(&refused.key, refused.record(LONG)).await.must(law);
    same(created, Created::New, law);
}
