//! The time of each call of `store-redis` with a real Redis: one call at a time, and 64 concurrent
//! calls.
//!
//! The benchmark starts a Redis server. If `TEST_REDIS_URL` is set, it uses that server and leaves
//! sessions there, which expire after an hour.

use std::time::Duration;

use bench::RedisServer;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use futures_util::future::join_all;
use session_core::{
    Change, Claim, Commit, Data, Guard, Json, Name, NewRecord, Principal, Rotation, SecretHash,
    SessionId, SessionStore, StoreKey,
};
use store_redis::{Config, RedisStore};
use tokio::runtime::{Builder, Runtime};

const HOUR: Duration = Duration::from_hours(1);
const CONCURRENT_CALLS: usize = 64;
/// The secret of all sessions.
const SECRET: SecretHash = SecretHash::from_bytes([0xa5; SecretHash::BYTES]);

fn must<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

fn key() -> StoreKey {
    must(SessionId::random()).key()
}

fn name(text: &str) -> Name {
    must(Name::new(text))
}

fn record() -> NewRecord {
    let data: Data =
        [(name("n"), Json::integer(1)), (name("user"), must(Json::from_text(r#""bob""#)))]
            .into_iter()
            .collect();
    NewRecord::new(SECRET, HOUR).data(data)
}

async fn created(store: &RedisStore, new: NewRecord) -> StoreKey {
    let key = key();
    let _ = must(store.create(&key, new).await);
    key
}

fn add() -> Commit {
    Commit::new(SECRET).change(name("n"), Change::Add(1))
}

fn insert() -> Commit {
    Commit::new(SECRET).change(name("n"), Change::Set(Json::integer(2)))
}

fn calls(criterion: &mut Criterion) {
    let server = must(RedisServer::from_env_or_start());
    let runtime: Runtime = must(Builder::new_current_thread().enable_all().build());
    let store = runtime
        .block_on(async { must(RedisStore::connect(&must(Config::new(server.url()))).await) });
    let key = runtime.block_on(created(&store, record()));
    // One user with ten sessions. The name is random, so other runs use other users.
    let user = must(Principal::new(key.as_str()));
    for _ in 0..10 {
        runtime.block_on(created(&store, record().principal(user.clone())));
    }

    let mut group = criterion.benchmark_group("redis");
    group.bench_function("create", |bencher| {
        bencher.iter(|| runtime.block_on(created(&store, record())));
    });
    group.bench_function("load", |bencher| {
        bencher.iter(|| must(runtime.block_on(store.load(&key))));
    });
    group.bench_function("commit add", |bencher| {
        bencher.iter(|| must(runtime.block_on(store.commit(&key, add()))));
    });
    group.bench_function("commit insert", |bencher| {
        bencher.iter(|| must(runtime.block_on(store.commit(&key, insert()))));
    });
    group.bench_function("commit insert if unchanged", |bencher| {
        let version = || {
            must(runtime.block_on(store.load(&key)))
                .map_or(0, |stored| stored.into_record().version)
        };
        let guarded = || insert().guard(Guard::Version(version()));
        bencher.iter_batched(
            guarded,
            |commit| must(runtime.block_on(store.commit(&key, commit))),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("commit ttl", |bencher| {
        bencher.iter(|| must(runtime.block_on(store.commit(&key, Commit::new(SECRET).ttl(HOUR)))));
    });
    let signed_in = runtime.block_on(created(&store, record().principal(user.clone())));
    group.bench_function("commit rotation", |bencher| {
        let rotation = Rotation { secret: SECRET, generation: 1, grace: None };
        bencher.iter(|| {
            must(runtime.block_on(store.commit(&signed_in, Commit::new(SECRET).rotate(rotation))))
        });
    });
    group.bench_function("delete", |bencher| {
        let session_to_delete = || runtime.block_on(created(&store, record()));
        bencher.iter_batched(
            session_to_delete,
            |key| must(runtime.block_on(store.delete(&key, Claim::Any))),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("list of 10", |bencher| {
        bencher.iter(|| must(runtime.block_on(store.list(&user, None, 10))));
    });
    group.bench_function("64 loads at once", |bencher| {
        let load = async || drop(must(store.load(&key).await));
        bencher.iter(|| runtime.block_on(join_all((0..CONCURRENT_CALLS).map(|_| load()))));
    });
    group.bench_function("64 adds at once", |bencher| {
        let commit = async || drop(must(store.commit(&key, add()).await));
        bencher.iter(|| runtime.block_on(join_all((0..CONCURRENT_CALLS).map(|_| commit()))));
    });
    group.finish();
}

criterion_group!(benches, calls);
criterion_main!(benches);
