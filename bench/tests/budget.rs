//! The budget of a request: at most 20 allocations and 5 µs of the library's own.
//!
//! Allocations are counted exactly, in every build. Time is printed in every build and bounded in
//! release builds only, as the best of many rounds, so that a busy machine does not fail it. It
//! includes what the store in memory takes; the count does not.

#![expect(clippy::unwrap_used, reason = "a helper of a test that cannot go on fails the test")]

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
use bench::{Counting, Site, Uncounted, at_once, counted};
use session_actix::SessionMiddleware;
use session_core::{MemoryStore, SessionError, SessionStore, cookie::CookieConfig};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ALLOCATIONS: u64 = 20;
const TIME: Duration = Duration::from_micros(5);

type Request = fn(&Site) -> Result<Option<String>, SessionError>;

const REQUESTS: [(&str, Request); 4] = [
    ("read", Site::read),
    ("add", Site::add),
    ("read + insert", Site::read_insert),
    ("start", Site::start),
];

fn site(store: impl SessionStore + 'static) -> Site {
    Site::new(Arc::new(store), CookieConfig::default()).unwrap()
}

#[test]
fn a_request_makes_at_most_twenty_allocations() {
    let (own, all) = (site(Uncounted::default()), site(MemoryStore::new()));
    for (name, request) in REQUESTS {
        let [own, all] = [&own, &all].map(|site| {
            // The first request of a kind may fill caches.
            request(site).unwrap();
            let (answered, allocations) = counted(|| request(site));
            answered.unwrap();
            allocations
        });
        println!("{name}: {own} allocations, {all} with those of the store in memory");
        assert!(0 < own && own <= ALLOCATIONS, "{name} makes {own} allocations");
    }
}

#[test]
fn a_request_takes_at_most_five_microseconds() {
    let site = site(MemoryStore::new());
    for (name, request) in REQUESTS {
        let round = || {
            let start = Instant::now();
            for _ in 0..100 {
                black_box(request(&site)).unwrap();
            }
            start.elapsed() / 100
        };
        let best = (0..100).map(|_| round()).min().unwrap();
        println!("{name}: {best:?}");
        assert!(cfg!(debug_assertions) || best < TIME, "{name} takes {best:?}");
    }
}

#[actix_web::test]
async fn an_untouched_route_costs_two_allocations() {
    let site = site(MemoryStore::new());
    let route = || web::get().to(async || "hello");
    let bare = init_service(App::new().route("/", route())).await;
    let sessions =
        SessionMiddleware::builder(Arc::clone(site.store()), site.key().clone()).build().unwrap();
    let with_sessions = init_service(App::new().wrap(sessions).route("/", route())).await;
    for cookie in ["", site.header()] {
        let request =
            || TestRequest::get().uri("/").insert_header((header::COOKIE, cookie)).to_request();
        let least = |counts: [u64; 10]| counts.into_iter().min().unwrap();
        let bare = least([(); 10].map(|()| {
            let request = request();
            counted(|| drop(at_once(bare.call(request)))).1
        }));
        let with_sessions = least([(); 10].map(|()| {
            let request = request();
            counted(|| drop(at_once(with_sessions.call(request)))).1
        }));
        println!("untouched: {bare} allocations bare, {with_sessions} with sessions");
        assert!(with_sessions <= bare + 2);
    }
}
