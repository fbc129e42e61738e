//! S02 and S03: cookies that nobody was given, by what a demo has counted and by what its store then holds.

use std::collections::BTreeMap;

use tests::{Browser, Demo, KEY, Page, Setup, client::Request};

use crate::{
    cookies::{forged, random_id, seen, signed},
    counted::odd_cookies,
    wire::attack,
};

on_every_shared_setup!(s02_ten_thousand_made_up_cookies_make_no_record, s03_odd_cookies_cost_no_store_call);

/// What stores are asked for by requests, and not by what purges or looks after a site.
const BY_REQUESTS: [&str; 8] = ["create", "load", "commit", "touch", "delete", "list", "delete_all", "scan"];
/// A store that a busy machine delays is not what these checks are about.
const COUNTING: &[&str] = &["--metrics", "127.0.0.1:0", "--deadline", "10s"];

/// How often the store was asked for what by the requests so far.
async fn asked(demo: &Demo) -> BTreeMap<&'static str, u64> {
    let numbers = demo.numbers().await;
    BY_REQUESTS.map(|operation| (operation, numbers.ended(operation))).into()
}

/// The keys of all sessions in the store.
async fn held(setup: &Setup) -> Vec<String> {
    let mut keys = setup.stored().await.expect("a store outside the demo").sessions;
    keys.sort();
    keys
}

async fn s02_ten_thousand_made_up_cookies_make_no_record(setup: &Setup) {
    const FORGED: usize = 9_000;
    const SIGNED: usize = 1_000;
    let demo = setup.start_with(COUNTING).await;
    let mut bob = demo.signed_in("bob").await;
    let _ = demo.signed_in("eve").await;
    let (before, asked_before) = (held(setup).await, asked(&demo).await);
    assert_eq!((before.len(), asked_before["create"]), (2, 2), "both are seen");
    attack(&demo, FORGED, forged).await;
    assert_eq!(asked(&demo).await, asked_before, "what was not signed is not looked for");
    // With the key that signs, an attacker can make the server look, and no more.
    attack(&demo, SIGNED, || signed(KEY, &random_id())).await;
    let asked = asked(&demo).await;
    let looks = asked.values().sum::<u64>() - asked_before.values().sum::<u64>();
    assert!(usize::try_from(looks).expect("few") >= SIGNED, "the store is asked for well signed ids: {asked:?}");
    assert_eq!(asked["create"], asked_before["create"]);
    assert_eq!(held(setup).await, before);
    assert_eq!(bob.page().await.principal.as_deref(), Some("bob"));
    println!("s02: {FORGED} made-up cookies, 0 store calls; {SIGNED} signed ones, {looks} calls; 2 records before, the same 2 after");
}

async fn s03_odd_cookies_cost_no_store_call(setup: &Setup) {
    let demo = setup.start_with(&[COUNTING, &["--workers", "1"]].concat()).await;
    let good = demo.signed_in("bob").await.cookie().to_owned();
    let (before, asked_before) = (held(setup).await, asked(&demo).await);
    let count = odd_cookies(demo.address, &good).await;
    let long = "A".repeat(65_536);
    let more = ["   ", "../", "%", "\u{1f36a}", ";;;", "==", &long, &good[1..], &good.to_lowercase()];
    for value in more {
        assert!(seen(&demo, &[format!("id={value}").into_bytes()]).await.is_anonymous(), "{value:?}");
    }
    let control = tests::client::send(demo.address, &Request::get("/session").cookie("id=\u{1}")).await.expect("an answer");
    assert!(control.status == 400 || control.json::<Page>().is_anonymous());
    assert_eq!(asked(&demo).await, asked_before);
    assert_eq!(held(setup).await, before);
    assert_eq!(Browser::holding(demo.address, &good).page().await.principal.as_deref(), Some("bob"));
    assert_eq!(asked(&demo).await["load"], asked_before["load"] + 1, "a good one does cost a call");
    println!("s03: {} odd cookies, 0 store calls", count + more.len() + 1);
}
