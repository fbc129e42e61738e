//! S13: randomness of the ids of new workers.

use std::collections::HashSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tests::{
    Setup,
    client::{Connection, Request},
    cookie::key_of,
};

/// The random bytes of an id: 12 of its key, then 17 of its secret. The generation stands between
/// them.
fn bytes(id: &str) -> Vec<u8> {
    let (key, secret) = id.split_once('.').expect("key and secret");
    let [key, secret] = [key, secret].map(|text| URL_SAFE_NO_PAD.decode(text).expect("base64url"));
    assert_eq!((key.len(), secret.len()), (12, 21));
    [&key, &secret[4..]].concat()
}

/// The largest deviation of a bit position after `skipped` bytes from an even distribution, in
/// standard deviations.
fn most_uneven(ids: &HashSet<Vec<u8>>, skipped: usize) -> f64 {
    let count = f64::from(u32::try_from(ids.len()).expect("few"));
    (skipped * 8..232)
        .map(|bit| {
            let ones = ids.iter().filter(|id| id[bit / 8] >> (bit % 8) & 1 == 1).count();
            let ones = f64::from(u32::try_from(ones).expect("few"));
            (ones - count / 2.0).abs() / (count / 4.0).sqrt()
        })
        .fold(0.0, f64::max)
}

/// Long enough for a store on a busy machine.
const PATIENT: &[&str] = &["--deadline", "10s"];

on_every_setup!(s13_ids_do_not_repeat_and_rotations_draw_136_bits);

async fn s13_ids_do_not_repeat_and_rotations_draw_136_bits(setup: &Setup) {
    new_workers_repeat_no_id(setup).await;
    rotation_changes_only_the_secret(setup).await;
}

async fn new_workers_repeat_no_id(setup: &Setup) {
    const STARTS: usize = 2;
    const EACH: usize = 100;
    let (mut ids, mut keys, mut workers) = (HashSet::new(), HashSet::new(), 0);
    for _ in 0..STARTS {
        let demo = setup.start_with(PATIENT).await;
        let mut connections = demo.connections(setup.workers).await;
        workers += connections.len();
        // The connections take turns, so that the server closes none as idle.
        for _ in 0..EACH {
            for connection in &mut connections {
                let response = connection
                    .send(&Request::put("/session/n", "1"))
                    .await
                    .expect("an answer")
                    .expect(204);
                let id = bytes(response.set_cookie().expect("a cookie").id());
                keys.insert(id[..12].to_vec());
                ids.insert(id);
            }
        }
    }
    assert_eq!(ids.len(), workers * EACH, "an id occurred twice");
    assert_eq!(keys.len(), ids.len(), "a key occurred twice");
    let uneven = most_uneven(&ids, 0);
    println!(
        "s13: {} ids of {workers} new workers, no duplicate, the largest deviation of a bit is {uneven:.1}",
        ids.len()
    );
    // With 232 even bits, one deviates by 6 standard deviations once in 2.2 million runs.
    assert!(uneven < 6.0, "a bit deviates by {uneven:.1} standard deviations");
}

async fn rotation_changes_only_the_secret(setup: &Setup) {
    const ROTATIONS: usize = 300;
    let demo = setup.start_with(PATIENT).await;
    let mut browser = demo.signed_in("bob").await;
    let key = key_of(browser.cookie()).to_owned();
    let mut connection = Connection::open(demo.address).await.expect("the demo accepts");
    let mut ids = HashSet::new();
    for _ in 0..ROTATIONS {
        let response = connection
            .send(&browser.dress(Request::post("/renew")))
            .await
            .expect("an answer")
            .expect(204);
        let cookie = response.set_cookie().expect("a new id");
        assert_eq!(key_of(&cookie.value), key);
        ids.insert(bytes(cookie.id()));
        browser.insert_cookie(&cookie);
    }
    assert_eq!(ids.len(), ROTATIONS);
    let uneven = most_uneven(&ids, 12);
    println!("s13: {ROTATIONS} rotations, the largest deviation of 136 bits is {uneven:.1}");
    assert!(uneven < 6.0, "a bit deviates by {uneven:.1} standard deviations");
}
