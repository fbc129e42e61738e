//! H27 and H28: a page that renews its session during other requests.

use serde::Deserialize;
use tests::chromium::{Chromium, Nginx};

use crate::rig::{Rig, page};

const ROUNDS: usize = 100;
const PARALLEL: usize = 20;

/// The number of rounds per call of the script. A call has a time limit.
const AT_ONCE: usize = 10;

/// The number of rounds that show that reads arrive with a superseded id.
const WITHOUT_GRACE: usize = 10;

/// Sends a renewal and 20 equal requests at the same time, in each round at another position. Then
/// checks whether the user is still signed in, and signs in again if not.
const ROUND: &str = r#"
const status = async (method, target) => (await fetch(target, { method, cache: "no-store" })).status;
const user = async () => (await (await fetch("/session", { cache: "no-store" })).json()).principal;
const ask = {
    add: () => status("POST", "/session/n/add"),
    read: user,
};
const rounds = [];
for (let round = input.from; round < input.to; round++) {
    const others = [];
    let renewal;
    for (let n = 0; n <= input.parallel; n++) {
        if (n === (input.first ? 0 : round % (input.parallel + 1))) renewal = status("POST", "/renew");
        if (n < input.parallel) others.push(ask[input.request]());
    }
    const answers = await Promise.all(others);
    const renewed = await renewal;
    const signed_in = await user() === "bob";
    if (!signed_in) await fetch("/login", { method: "POST", body: '{"user":"bob"}' });
    rounds.push({ renewed, answers, signed_in });
}
return rounds;
"#;

#[derive(Debug, Deserialize)]
struct Round<A> {
    /// The status of the renewal.
    renewed: u16,
    /// The response to each other request.
    answers: Vec<A>,
    /// Whether the user was still signed in afterwards.
    signed_in: bool,
}

async fn rounds<A: serde::de::DeserializeOwned>(
    browser: &Chromium,
    request: &str,
    rounds: usize,
    first: bool,
) -> Vec<Round<A>> {
    let mut done: Vec<Round<A>> = Vec::new();
    while done.len() < rounds {
        let (from, to) = (done.len(), done.len() + AT_ONCE);
        let input = serde_json::json!({ "request": request, "from": from, "to": to, "parallel": PARALLEL, "first": first });
        done.extend(browser.run::<Vec<_>>(ROUND, input).await);
        assert_eq!(done.len(), to);
    }
    assert!(done.len() == rounds && done.iter().all(|round| round.answers.len() == PARALLEL));
    done
}

/// Checks that the requests of the page were parallel HTTP/2 streams.
fn used_http_2(nginx: &Nginx) {
    let accesses = nginx.accesses();
    let connections: std::collections::HashSet<_> =
        accesses.iter().map(|access| &access.connection).collect();
    assert!(accesses.iter().all(|access| access.protocol == "HTTP/2.0"));
    println!("{} requests over HTTP/2 on {} connections", accesses.len(), connections.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h27_h28_renewal_during_parallel_adds_never_signs_out() {
    let Some(rig) = Rig::start(&[]).await else { return };
    let browser = rig.signed_in("bob").await;
    let rounds: Vec<Round<u16>> = rounds(&browser, "add", ROUNDS, false).await;
    let count = |status: u16| {
        rounds.iter().flat_map(|round| &round.answers).filter(|&&answer| answer == status).count()
    };
    let (added, conflicts) = (count(200), count(409));
    let renewed = rounds.iter().filter(|round| round.renewed == 204).count();
    let sign_outs = rounds.iter().filter(|round| !round.signed_in).count();
    let n = page(&browser).await.value("n").cloned();
    println!(
        "h27: {renewed} of {ROUNDS} renewals during {PARALLEL} adds each: {sign_outs} sign-outs; {added} adds got 200 and {conflicts} got 409; the sum is {n:?}"
    );
    used_http_2(&rig.nginx);
    assert_eq!(sign_outs, 0, "of {ROUNDS}");
    assert_eq!(renewed, ROUNDS);
    assert_eq!(added + conflicts, ROUNDS * PARALLEL, "{rounds:?}");
    assert_eq!(n, Some(added.into()));
    assert!(conflicts > 0, "no add arrived with a superseded id, so the test proves nothing");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h28_reads_during_a_renewal_are_signed_in() {
    let Some(rig) = Rig::start(&[]).await else { return };
    let browser = rig.signed_in("bob").await;
    let anonymous = |rounds: &[Round<Option<String>>]| {
        assert!(rounds.iter().all(|round| round.signed_in && round.renewed == 204), "{rounds:?}");
        rounds
            .iter()
            .flat_map(|round| &round.answers)
            .filter(|user| user.as_deref() != Some("bob"))
            .count()
    };
    let with = anonymous(&rounds(&browser, "read", ROUNDS, false).await);
    println!("h28: {ROUNDS} renewals during {PARALLEL} reads each: {with} reads were anonymous");
    used_http_2(&rig.nginx);
    browser.close().await;
    drop(rig);
    // The same test without a grace shows the number of reads that arrive with the superseded id.
    let Some(rig) = Rig::start(&["--rotation-grace", "0s"]).await else { return };
    let browser = rig.signed_in("bob").await;
    let without = anonymous(&rounds(&browser, "read", WITHOUT_GRACE, true).await);
    println!(
        "h28: without a grace, {without} of {} reads were anonymous",
        WITHOUT_GRACE * PARALLEL
    );
    assert_eq!(with, 0, "of {}", ROUNDS * PARALLEL);
    assert!(without > 0, "no read arrived with a superseded id, so the test proves nothing");
    browser.close().await;
}
