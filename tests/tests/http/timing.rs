//! S14: the duration of a refusal does not reveal how wrong the cookie was.
//!
//! Welch's t over interleaved samples, as in test vector leakage assessment. Chance causes |t| >
//! 4.5 once in 150,000 tries. Other work on the machine delays some samples, so the slowest tenth
//! of each side is ignored. A difference counts as a leak only if all three runs show it in the
//! same direction.
//!
//! The same code compares the signature over every store, so one test measures it without a store.
//! Counted calls show that the comparison comes before the first store call. The duration of a
//! lookup depends on the store, so it is measured over each store.

use std::{hint::black_box, time::Instant};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use session_core::{
    SessionId,
    cookie::{CookieCodec, CookieConfig, Key},
};
use tests::{
    Calls, Counting, Demo, KEY, Setup,
    client::{Connection, Request},
    cookie::{SetCookie, id_of},
};

const SUSPICIOUS: f64 = 4.5;
const RUNS: usize = 3;

/// Welch's t of two sets of samples without the slowest tenth of each.
fn welch(left: Vec<f64>, right: Vec<f64>) -> f64 {
    let moments = |mut samples: Vec<f64>| {
        samples.sort_by(f64::total_cmp);
        samples.truncate(samples.len() * 9 / 10);
        let count = f64::from(u32::try_from(samples.len()).expect("few"));
        let mean = samples.iter().sum::<f64>() / count;
        let variance =
            samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    };
    let ((left, of_left), (right, of_right)) = (moments(left), moments(right));
    (left - right) / (of_left + of_right).sqrt()
}

/// Whether all runs show a difference in the same direction.
fn leaks(runs: &[f64]) -> bool {
    runs.iter().all(|t| *t > SUSPICIOUS) || runs.iter().all(|t| *t < -SUSPICIOUS)
}

/// One run: 2 × `count` samples in random order.
fn sample(count: usize, mut time: impl FnMut(bool) -> f64) -> f64 {
    let (mut left, mut right) = (Vec::with_capacity(count), Vec::with_capacity(count));
    while left.len() < count || right.len() < count {
        let is_left =
            if left.len() == count { false } else { right.len() == count || fastrand::bool() };
        let took = time(is_left);
        if is_left { left.push(took) } else { right.push(took) }
    }
    welch(left, right)
}

fn codec() -> CookieCodec {
    CookieCodec::signed(CookieConfig::development(), &Key::parse(KEY).expect("a strong key").into())
        .expect("a cookie")
}

fn nanoseconds(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64() * 1e9
}

#[test]
fn s14_signature_check_time_does_not_depend_on_the_wrong_byte() {
    let codec = codec();
    let good =
        SetCookie::parse(&codec.issue(&SessionId::random().expect("random bytes"), None)).value;
    let mac = URL_SAFE_NO_PAD.decode(&good[48..]).expect("base64url");
    let wrong = |at: usize| {
        let mut mac = mac.clone();
        mac[at] ^= 1;
        format!("id={}{}", &good[..48], URL_SAFE_NO_PAD.encode(mac))
    };
    let (early, late) = (wrong(0), wrong(31));
    // Both cookies are read from the same memory, because the alignment changes the duration.
    let mut header = early.clone().into_bytes();
    let mut read = |cookie: &str| {
        header.copy_from_slice(cookie.as_bytes());
        nanoseconds(|| {
            // Ten per sample, because one check takes little longer than a step of the clock.
            for _ in 0..10 {
                assert!(black_box(codec.read([black_box(&header[..])])).iter().next().is_none());
            }
        })
    };
    let runs: Vec<_> = (0..RUNS)
        .map(|_| sample(10_000, |is_early| read(if is_early { &early } else { &late })))
        .collect();
    // The reference: a comparison that stops at the first difference must be detected.
    let naive = |mac: &[u8]| {
        nanoseconds(|| {
            for _ in 0..10 {
                for _ in 0..20 {
                    let stops_early = black_box(mac)
                        .iter()
                        .zip(&black_box([0_u8; 32]))
                        .all(|(left, right)| black_box(left == right));
                    black_box(stops_early);
                }
            }
        })
    };
    let mut differs_early = [0_u8; 32];
    differs_early[0] = 1;
    let mut differs_late = [0_u8; 32];
    differs_late[31] = 1;
    let reference = (0..RUNS)
        .map(|_| {
            sample(10_000, |is_early| naive(if is_early { &differs_early } else { &differs_late }))
        })
        .collect::<Vec<_>>();
    println!(
        "s14: signature wrong in its first or last byte, t = {runs:.1?}; a naive comparison, t = {reference:.1?}"
    );
    assert!(leaks(&reference), "the measurement does not detect the reference");
    assert!(!leaks(&runs), "the duration of the check depends on the wrong byte");
}

on_every_shared_setup!(s14_response_time_does_not_reveal_signature_or_lookup);

async fn s14_response_time_does_not_reveal_signature_or_lookup(setup: &Setup) {
    let site =
        Counting::start(setup, &["--workers", "1", "--threads", "1", "--deadline", "10s"]).await;
    let demo = &site.demo;
    let real = demo.signed_in("bob").await.cookie().to_owned();
    let codec = codec();
    let signed = |id: &SessionId| SetCookie::parse(&codec.issue(id, None)).value;
    // The key of a near miss differs from a live key in its last three characters, that of a far
    // miss in all. In a Redis Cluster the key selects the server, so both lie in one slot.
    let text = id_of(&real);
    let far = std::iter::repeat_with(|| SessionId::random().expect("random bytes"))
        .find(|id| slot_of(id) == slot_of_key(&text[..16]))
        .expect("one of 16,384");
    let near = near_miss(text);
    let wrong = |at: usize| {
        let mut mac = URL_SAFE_NO_PAD.decode(&real[48..]).expect("base64url");
        mac[at] ^= 1;
        format!("{}{}", &real[..48], URL_SAFE_NO_PAD.encode(mac))
    };
    site.calls().await;
    let signature = over_http(demo, 500, &wrong(0), &wrong(31)).await;
    assert_eq!(site.calls().await, Calls::default(), "a wrong signature makes no store call");
    let near = signed(&near);
    let lookup = over_http(demo, 1_000, &near, &signed(&far)).await;
    assert!(site.calls().await.loads >= 2_000, "a correct signature makes a store call");
    // The reference: a request with a lookup and one without must be distinguishable.
    let mut reference = Vec::new();
    for count in [500, 1_500, 5_000] {
        if !leaks(&reference) {
            reference = over_http(demo, count, &near, &wrong(0)).await;
        }
    }
    println!(
        "s14: over HTTP, t = {signature:.1?} for the signature, {lookup:.1?} for the lookup; with and without one, t = {reference:.1?}"
    );
    assert!(leaks(&reference), "the measurement does not detect the reference");
    assert!(
        !leaks(&signature) && !leaks(&lookup),
        "the response time depends on the similarity to a valid cookie"
    );
}

/// Requests the session with either cookie, at least `count` times and in random order. A
/// difference counts only if all runs show it, so the measurement ends with the first run without
/// one.
async fn over_http(demo: &Demo, count: usize, left: &str, right: &str) -> Vec<f64> {
    let mut connection = Connection::open(demo.address).await.expect("the demo accepts");
    let mut runs = Vec::new();
    while runs.len() < RUNS && (runs.is_empty() || leaks(&runs)) {
        // Every second run swaps the cookies, so that a delay in this process does not count as a
        // difference.
        let is_turned = runs.len() % 2 == 1;
        let cookies = if is_turned { [right, left] } else { [left, right] };
        let requests = cookies.map(|value| Request::get("/session").cookie(format!("id={value}")));
        let mut samples = [Vec::new(), Vec::new()];
        while samples.iter().any(|side| side.len() < count) {
            let side = usize::from(fastrand::bool());
            let started = Instant::now();
            let _ = connection.send(&requests[side]).await.expect("an answer").expect(200);
            samples[side].push(started.elapsed().as_secs_f64());
        }
        let [one, other] = samples;
        runs.push(if is_turned { welch(other, one) } else { welch(one, other) });
    }
    runs
}

/// The slot of the session in a Redis Cluster: CRC16 (XMODEM) of its hash tag, as in the Redis
/// Cluster specification.
fn slot_of_key(key: &str) -> u16 {
    let step = |crc: u16| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
    key.bytes().fold(0_u16, |crc, byte| (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| step(crc)))
        % 16_384
}

fn slot_of(id: &SessionId) -> u16 {
    slot_of_key(id.key().as_str())
}

/// An id of a session that does not exist. Its key lies in the same slot and differs from a live
/// key only in its last three characters.
fn near_miss(text: &str) -> SessionId {
    let alphabet = (b'a'..=b'z').chain(b'A'..=b'Z').chain(b'0'..=b'9').chain([b'-', b'_']);
    let pairs =
        alphabet.clone().flat_map(|last| alphabet.clone().map(move |before| [before, last]));
    let triples =
        pairs.flat_map(|pair| alphabet.clone().map(move |first| [first, pair[0], pair[1]]));
    let keys = triples.map(|end| format!("{}{}", &text[..13], String::from_utf8_lossy(&end)));
    let other = |key: &String| key != &text[..16] && slot_of_key(key) == slot_of_key(&text[..16]);
    let key = keys.into_iter().find(other).expect("262,144 keys lie in 16,384 slots");
    SessionId::parse(format!("{key}{}", &text[16..]).as_bytes()).expect("an id")
}
