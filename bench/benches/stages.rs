//! The time of each stage of a request, and of whole requests, with a store in memory.

use std::{hint::black_box, sync::Arc};

use actix_web::{
    App,
    dev::Service,
    http::header,
    rt::System,
    test::{TestRequest, init_service},
    web,
};
use bench::{RequestBench, expect_ready};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use session_actix::SessionMiddleware;
use session_core::{Change, Commit, MemoryStore, Name, SessionError, cookie::CookieConfig};

type Request = fn(&RequestBench) -> Result<Option<String>, SessionError>;

fn request_bench() -> RequestBench {
    RequestBench::new(Arc::new(MemoryStore::new()), CookieConfig::default())
        .unwrap_or_else(|error| panic!("{error}"))
}

fn stages(criterion: &mut Criterion) {
    let bench = request_bench();
    let id = bench.id().unwrap_or_else(|| panic!("the cookie of the bench does not verify"));
    let (key, secret) = (id.key(), id.secret_hash());
    let name = Name::new("n").unwrap_or_else(|error| panic!("{error}"));

    let mut stage = criterion.benchmark_group("stage");
    stage.bench_function("cookie read", |bencher| {
        bencher.iter(|| bench.codec().read([black_box(bench.header().as_bytes())]));
    });
    stage.bench_function("cookie absent", |bencher| {
        bencher.iter(|| bench.codec().read([black_box(b"a=b; c=d".as_slice())]));
    });
    stage.bench_function("key and hash of an id", |bencher| {
        bencher.iter(|| (black_box(&id).key(), id.secret_hash()));
    });
    stage.bench_function("plan of a read", |bencher| {
        let loaded = || {
            let driver = bench.open();
            drop(expect_ready(driver.session().get::<i64>("n")));
            driver
        };
        bencher.iter_batched_ref(loaded, |driver| bench.finish(driver), BatchSize::SmallInput);
    });
    stage.bench_function("cookie issue", |bencher| {
        bencher.iter(|| bench.codec().issue(black_box(&id), None));
    });
    stage.bench_function("memory load", |bencher| {
        bencher.iter(|| expect_ready(bench.store().load(black_box(&key))));
    });
    stage.bench_function("memory add", |bencher| {
        bencher.iter(|| {
            expect_ready(
                bench.store().commit(
                    black_box(&key),
                    Commit::new(secret).change(name.clone(), Change::Add(1)),
                ),
            )
        });
    });
    stage.finish();
}

fn requests(criterion: &mut Criterion) {
    let bench = request_bench();
    let requests: [(&str, Request); 4] = [
        ("read", RequestBench::read),
        ("add", RequestBench::add),
        ("read + insert", RequestBench::read_insert),
        ("start", RequestBench::start),
    ];
    let mut group = criterion.benchmark_group("request");
    for (name, request) in requests {
        group.bench_function(name, |bencher| bencher.iter(|| request(black_box(&bench))));
    }
    group.finish();
}

/// A route that does not use the session, without a network. It shows what the middleware adds to
/// every request of an application.
#[expect(clippy::expect_used, reason = "the benchmark cannot run without the middleware")]
fn untouched(criterion: &mut Criterion) {
    let bench = request_bench();
    let sessions = SessionMiddleware::builder(Arc::clone(bench.store()), bench.key().clone())
        .build()
        .expect("the default cookie is valid");
    let route = || web::get().to(async || "hello, world");
    let request =
        || TestRequest::get().uri("/").insert_header((header::COOKIE, bench.header())).to_request();
    let mut group = criterion.benchmark_group("untouched");
    // All three include the construction of the request. The application's pool of requests has to
    // be warm, as it is under load.
    group.bench_function("request alone", |bencher| bencher.iter(request));
    System::new().block_on(async {
        let bare = init_service(App::new().route("/", route())).await;
        group.bench_function("bare", |bencher| bencher.iter(|| expect_ready(bare.call(request()))));
        let with_sessions = init_service(App::new().wrap(sessions).route("/", route())).await;
        group.bench_function("with sessions", |bencher| {
            bencher.iter(|| expect_ready(with_sessions.call(request())));
        });
    });
    group.finish();
}

criterion_group!(benches, stages, requests, untouched);
criterion_main!(benches);
