//! The budget of a request: at most 20 allocations and 5 µs in the session layer.
//!
//! The tests count allocations exactly, in every build, without those of the store in memory. They
//! print the time in every build, and check it in release builds only. It includes the store. The
//! time is the best of 100 rounds, so the test passes on a busy machine too.

#![expect(clippy::unwrap_used, reason = "test helpers may panic")]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{
    App,
    dev::Service,
    http::header,
    test::{TestRequest, init_service},
    web,
};
use bench::{
    CountingAllocator, RequestBench, UncountedMemoryStore, count_allocations, expect_ready,
};
use session_actix::SessionMiddleware;
use session_core::{MemoryStore, SessionError, SessionStore, cookie::CookieConfig};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const ALLOCATIONS: u64 = 20;
const TIME: Duration = Duration::from_micros(5);

type Request = fn(&RequestBench) -> Result<Option<String>, SessionError>;

const REQUESTS: [(&str, Request); 4] = [
    ("read", RequestBench::read),
    ("add", RequestBench::add),
    ("read + insert", RequestBench::read_insert),
    ("start", RequestBench::start),
];

fn request_bench(store: impl SessionStore + 'static) -> RequestBench {
    RequestBench::new(Arc::new(store), CookieConfig::default()).unwrap()
}

#[test]
fn a_request_makes_at_most_twenty_allocations() {
    let (own, all) =
        (request_bench(UncountedMemoryStore::default()), request_bench(MemoryStore::new()));
    for (name, request) in REQUESTS {
        let [own, all] = [&own, &all].map(|bench| {
            // The first request may fill caches.
            request(bench).unwrap();
            let (answered, allocations) = count_allocations(|| request(bench));
            answered.unwrap();
            allocations
        });
        println!("{name}: {own} allocations, {all} with those of the store in memory");
        assert!(
            0 < own && own <= ALLOCATIONS,
            "{name}: {own} allocations, the budget is {ALLOCATIONS}"
        );
    }
}

#[test]
fn a_request_takes_at_most_five_microseconds() {
    let bench = request_bench(MemoryStore::new());
    for (name, request) in REQUESTS {
        let round = || {
            let start = Instant::now();
            for _ in 0..100 {
                black_box(request(&bench)).unwrap();
            }
            start.elapsed() / 100
        };
        let best = (0..100).map(|_| round()).min().unwrap();
        println!("{name}: {best:?}");
        assert!(
            cfg!(debug_assertions) || best < TIME,
            "{name} takes {best:?}, the budget is {TIME:?}"
        );
    }
}

#[actix_web::test]
async fn an_untouched_route_costs_two_allocations() {
    let bench = request_bench(MemoryStore::new());
    let route = || web::get().to(async || "hello");
    let bare = init_service(App::new().route("/", route())).await;
    let sessions =
        SessionMiddleware::builder(Arc::clone(bench.store()), bench.key().clone()).build().unwrap();
    let with_sessions = init_service(App::new().wrap(sessions).route("/", route())).await;
    for cookie in ["", bench.header()] {
        let request =
            || TestRequest::get().uri("/").insert_header((header::COOKIE, cookie)).to_request();
        let least = |counts: [u64; 10]| counts.into_iter().min().unwrap();
        let bare = least([(); 10].map(|()| {
            let request = request();
            count_allocations(|| drop(expect_ready(bare.call(request)))).1
        }));
        let with_sessions = least([(); 10].map(|()| {
            let request = request();
            count_allocations(|| drop(expect_ready(with_sessions.call(request)))).1
        }));
        println!("untouched: {bare} allocations bare, {with_sessions} with sessions");
        assert!(with_sessions <= bare + 2);
    }
}
