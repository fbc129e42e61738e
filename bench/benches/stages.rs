//! What each stage of a request costs, and the requests that they add up to, over a store in
//! memory.

use std::{hint::black_box, sync::Arc};

use actix_web::{
    App,
    dev::Service,
    http::header,
    rt::System,
    test::{TestRequest, init_service},
    web,
};
use bench::{Site, at_once};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use session_actix::SessionMiddleware;
use session_core::{Change, Commit, MemoryStore, Name, SessionError, cookie::CookieConfig};

type Request = fn(&Site) -> Result<Option<String>, SessionError>;

fn site() -> Site {
    Site::new(Arc::new(MemoryStore::new()), CookieConfig::default())
        .unwrap_or_else(|error| panic!("{error}"))
}

fn stages(criterion: &mut Criterion) {
    let site = site();
    let id = site.id().unwrap_or_else(|| panic!("the site's own cookie verifies"));
    let (key, secret) = (id.key(), id.secret_hash());
    let name = Name::new("n").unwrap_or_else(|error| panic!("{error}"));

    let mut stage = criterion.benchmark_group("stage");
    stage.bench_function("cookie read", |bencher| {
        bencher.iter(|| site.codec().read([black_box(site.header().as_bytes())]));
    });
    stage.bench_function("cookie absent", |bencher| {
        bencher.iter(|| site.codec().read([black_box(b"a=b; c=d".as_slice())]));
    });
    stage.bench_function("key and hash of an id", |bencher| {
        bencher.iter(|| (black_box(&id).key(), id.secret_hash()));
    });
    stage.bench_function("plan of a read", |bencher| {
        let loaded = || {
            let driver = site.open();
            drop(at_once(driver.session().get::<i64>("n")));
            driver
        };
        bencher.iter_batched_ref(loaded, |driver| site.finish(driver), BatchSize::SmallInput);
    });
    stage.bench_function("cookie issue", |bencher| {
        bencher.iter(|| site.codec().issue(black_box(&id), None));
    });
    stage.bench_function("memory load", |bencher| {
        bencher.iter(|| at_once(site.store().load(black_box(&key))));
    });
    stage.bench_function("memory add", |bencher| {
        bencher.iter(|| {
            at_once(
                site.store().commit(
                    black_box(&key),
                    Commit::new(secret).change(name.clone(), Change::Add(1)),
                ),
            )
        });
    });
    stage.finish();
}

fn requests(criterion: &mut Criterion) {
    let site = site();
    let requests: [(&str, Request); 4] = [
        ("read", Site::read),
        ("add", Site::add),
        ("read + insert", Site::read_insert),
        ("start", Site::start),
    ];
    let mut group = criterion.benchmark_group("request");
    for (name, request) in requests {
        group.bench_function(name, |bencher| bencher.iter(|| request(black_box(&site))));
    }
    group.finish();
}

/// A route that asks for no session, without a network: what the middleware adds to every request
/// of an application.
#[expect(clippy::expect_used, reason = "a bench that cannot start has nothing to measure")]
fn untouched(criterion: &mut Criterion) {
    let site = site();
    let sessions = SessionMiddleware::builder(Arc::clone(site.store()), site.key().clone())
        .build()
        .expect("a valid cookie");
    let route = || web::get().to(async || "hello, world");
    let request =
        || TestRequest::get().uri("/").insert_header((header::COOKIE, site.header())).to_request();
    let mut group = criterion.benchmark_group("untouched");
    // Making the request counts in all three, because the application's pool of requests has to be
    // warm, as it is under load.
    group.bench_function("request alone", |bencher| bencher.iter(request));
    System::new().block_on(async {
        let bare = init_service(App::new().route("/", route())).await;
        group.bench_function("bare", |bencher| bencher.iter(|| at_once(bare.call(request()))));
        let with_sessions = init_service(App::new().wrap(sessions).route("/", route())).await;
        group.bench_function("with sessions", |bencher| {
            bencher.iter(|| at_once(with_sessions.call(request())));
        });
    });
    group.finish();
}

criterion_group!(benches, stages, requests, untouched);
criterion_main!(benches);
