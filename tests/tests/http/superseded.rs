//! H27 to H36, S26, S28 and S31: superseded ids, sign-ins, devices and several cookies.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use session_core::{Claim, NewRecord, SessionId};
use tests::{
    Browser, Setup,
    client::{Connection, Request, Response},
    cookie::{id_of, key_of},
    wait,
};

on_every_setup!(
    h27_superseded_id_reads_anonymous_and_its_writes_conflict,
    h27_superseded_id_is_ignored_after_the_rotation_settles,
    h27_each_rotation_settles_separately,
    h27_superseded_id_ends_only_its_own_session,
    h27_sign_in_with_a_superseded_id_gets_a_new_key,
    h28_reads_during_a_renewal_are_signed_in_and_set_no_cookie,
    h29_stream_ends_with_its_session,
    h30_sign_in_ends_the_oldest_sessions_of_the_user,
    h30_credential_change_does_not_restore_an_ended_session,
    h31_authentication_ages_and_can_be_repeated,
    h32_audit_log_names_events_and_contains_no_id,
    h33_current_cookie_is_used_and_sign_out_ends_all_presented,
    h34_sign_in_with_a_lost_response_can_be_repeated,
    h36_id_from_before_the_sign_in_ends_no_session,
    h36_sign_in_of_another_user_gets_a_new_key,
    s28_remember_me_does_not_pass_to_another_user,
    s31_superseded_id_is_reported_and_optionally_ends_the_session,
);

/// The test undoes a rotation, so the store must be outside the demo.
mod lost_rotation {
    use super::h35_lost_rotation_does_not_lock_out_the_user;

    on_setup!(redis, h35_lost_rotation_does_not_lock_out_the_user);
    on_setup!(mongo, h35_lost_rotation_does_not_lock_out_the_user);
}

/// A flood of anonymous clients on a bounded store.
mod flood {
    use super::s26_sign_ins_work_during_a_flood_of_anonymous_sessions;

    on_setup!(ipc, s26_sign_ins_work_during_a_flood_of_anonymous_sessions);
    on_setup!(memory, s26_sign_ins_work_during_a_flood_of_anonymous_sessions);
}

/// The number of concurrent clients.
const AT_ONCE: usize = 50;

/// Long enough for a store on a busy machine.
const PATIENT: &[&str] = &["--deadline", "10s"];

fn no_cookie(response: &Response) {
    assert!(response.set_cookie().is_none(), "a superseded id gets no cookie: {}", response.status);
}

async fn h27_superseded_id_reads_anonymous_and_its_writes_conflict(setup: &Setup) {
    const ROUNDS: usize = 20;
    let demo = setup
        .start_with(&[PATIENT, &["--rotation-grace", "0s", "--rotation-settles", "60s"]].concat())
        .await;
    let mut browser = demo.signed_in("bob").await;
    for _ in 0..ROUNDS {
        let before = browser.clone();
        let _ = browser.post("/renew").await.expect(204);
        let late = (0..AT_ONCE).map(|n| {
            let mut late = before.clone();
            async move {
                let read = late.get("/session").await.expect(200);
                no_cookie(&read);
                assert!(read.json::<tests::Page>().is_anonymous());
                let write = match n % 4 {
                    0 => late.insert("n", "1").await,
                    1 => late.post("/session/n/add?by=1").await,
                    2 => late.post("/session/n/update").await,
                    _ => late.post("/renew").await,
                };
                no_cookie(&write);
                assert_eq!(write.status, 409, "{n}");
            }
        });
        join_all(late).await;
    }
    let page = browser.page().await;
    assert_eq!((page.principal.as_deref(), page.value("n")), (Some("bob"), None));
    println!(
        "h27: {0} of {0} writes with a superseded id got 409 without a cookie",
        ROUNDS * AT_ONCE
    );
}

async fn h27_each_rotation_settles_separately(setup: &Setup) {
    let demo = setup.start_with(&[PATIENT, &["--rotation-settles", "60s"]].concat()).await;
    let mut browser = demo.browser();
    let _ = browser.insert("basket", "1").await.expect(204);
    let mut late = vec![browser.clone()];
    let _ = browser.login("bob").await.expect(200);
    for route in ["/reauthenticate", "/renew", "/renew"] {
        late.push(browser.clone());
        let _ = browser.post(route).await.expect(204);
    }
    for (behind, late) in late.iter_mut().rev().enumerate() {
        let visit = late.get("/").await;
        no_cookie(&visit);
        assert_eq!(visit.status, 409, "{} rotations behind", behind + 1);
    }
    assert_eq!(browser.page().await.principal.as_deref(), Some("bob"));
}

async fn h27_superseded_id_is_ignored_after_the_rotation_settles(setup: &Setup) {
    let demo = setup
        .start_with(&[PATIENT, &["--rotation-grace", "0s", "--rotation-settles", "300ms"]].concat())
        .await;
    let mut browser = demo.signed_in("bob").await;
    let mut lost = browser.clone();
    let _ = browser.post("/renew").await.expect(204);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let read = lost.get("/session").await.expect(200);
    no_cookie(&read);
    let _ = lost.insert("n", "1").await.expect(204);
    assert_ne!(
        key_of(lost.cookie()),
        key_of(browser.cookie()),
        "the first write starts a new session"
    );
    assert_eq!(lost.page().await.principal, None);
    assert_eq!(browser.page().await.principal.as_deref(), Some("bob"), "the session still exists");
}

async fn h27_superseded_id_ends_only_its_own_session(setup: &Setup) {
    let demo = setup.start_with(PATIENT).await;
    for everywhere in [false, true] {
        let mut other = demo.signed_in("bob").await;
        let mut browser = demo.signed_in("bob").await;
        let mut late = browser.clone();
        let _ = browser.post("/renew").await.expect(204);
        let _ = late.get("/devices").await.expect(409);
        let _ = late.post("/logout-others").await.expect(409);
        let handle = other.page().await.handle.expect("a handle");
        let _ = late.send(Request::delete(format!("/devices/{handle}"))).await.expect(409);
        if everywhere {
            let response = late.post("/logout-everywhere").await;
            assert_eq!(
                response.status, 409,
                "it ends its own session and reports that others remain"
            );
        } else {
            let removal = late.post("/logout").await.expect(204);
            assert!(removal.set_cookie().is_some_and(|cookie| cookie.removes()));
        }
        assert!(
            browser.page().await.is_anonymous(),
            "the session has ended, everywhere = {everywhere}"
        );
        assert_eq!(other.page().await.principal.as_deref(), Some("bob"));
        let _ = other.post("/logout").await.expect(204);
    }
    renewals_during_sign_outs_leave_no_session(&demo).await;
}

/// A sign-out with an id that another request just rotated must end the session. The status 204
/// alone does not suffice.
async fn renewals_during_sign_outs_leave_no_session(demo: &tests::Demo) {
    const TRIES: usize = 1_000;
    let tries = async |first: usize| {
        for n in (first..TRIES).step_by(10) {
            let browser = demo.signed_in(&format!("user{n}")).await;
            let (mut renewing, mut leaving) = (browser.clone(), browser.clone());
            let (renewed, left) = tokio::join!(renewing.post("/renew"), leaving.post("/logout"));
            assert!(matches!(renewed.status, 204 | 409), "{}", renewed.status);
            assert_eq!(left.status, 204);
            assert!(browser.clone().page().await.is_anonymous());
            assert!(
                !renewing.has_cookie() || renewing.page().await.is_anonymous(),
                "try {n}: the session still exists"
            );
        }
    };
    join_all((0..10).map(tries)).await;
    println!("h27: {TRIES} renewals during sign-outs, 0 live sessions");
}

async fn h27_sign_in_with_a_superseded_id_gets_a_new_key(setup: &Setup) {
    let demo = setup.start_with(&[PATIENT, &["--rotation-settles", "60s"]].concat()).await;
    let mut browser = demo.signed_in("bob").await;
    let late = browser.clone();
    let _ = browser.post("/renew").await.expect(204);
    let sign_ins = (0..AT_ONCE).map(|n| {
        let mut late = late.clone();
        async move {
            let _ = late.login(&format!("user{n}")).await.expect(200);
            (key_of(late.cookie()).to_owned(), late.page().await.principal)
        }
    });
    let signed_in = join_all(sign_ins).await;
    assert_eq!(signed_in.iter().map(|(key, _)| key).collect::<HashSet<_>>().len(), AT_ONCE);
    assert!(signed_in.iter().enumerate().all(|(n, (_, user))| *user == Some(format!("user{n}"))));
    assert_eq!(browser.page().await.principal.as_deref(), Some("bob"));
}

async fn h28_reads_during_a_renewal_are_signed_in_and_set_no_cookie(setup: &Setup) {
    let demo = setup
        .start_with(&[PATIENT, &["--rotation-grace", "2s", "--persistence", "persistent"]].concat())
        .await;
    let mut browser = demo.signed_in("bob").await;
    for _ in 0..5 {
        let before = browser.clone();
        let renewal = async { browser.post("/renew").await.expect(204) };
        let reads = (0..20).map(|_| {
            let mut reader = before.clone();
            async move { reader.get("/session").await.expect(200) }
        });
        let (_, reads) = tokio::join!(renewal, join_all(reads));
        for read in reads {
            no_cookie(&read);
            assert_eq!(read.json::<tests::Page>().principal.as_deref(), Some("bob"));
        }
        let conflict = before.clone().insert("n", "1").await;
        no_cookie(&conflict.expect(409));
    }
    // An authentication and a sign-in have no grace, and end the grace of a renewal.
    for request in
        [Request::post("/reauthenticate"), Request::post("/login").json(r#"{"user":"bob"}"#)]
    {
        let oldest = browser.clone();
        let _ = browser.post("/renew").await.expect(204);
        let before = browser.clone();
        assert!(browser.send(request).await.status < 300);
        assert!(
            oldest.clone().page().await.is_anonymous()
                && before.clone().page().await.is_anonymous()
        );
    }
    let before = browser.clone();
    let _ = browser.post("/renew").await.expect(204);
    let over = async || before.clone().page().await.is_anonymous().then_some(());
    let started = Instant::now();
    wait::until("the grace to end", Duration::from_secs(10), over).await;
    assert!(started.elapsed() > Duration::from_secs(1), "the grace was {:?}", started.elapsed());
}

async fn h29_stream_ends_with_its_session(setup: &Setup) {
    let demo = setup.start_with(PATIENT).await;
    let mut browser = demo.signed_in("bob").await;
    let mut stream = Connection::open(demo.address).await.expect("the demo accepts");
    stream.write(&browser.dress(Request::get("/watch")).to_bytes()).await.expect("the demo reads");
    let _ = stream.until("data: signed in", tests::PATIENCE).await.expect("the first event");
    // A renewal by the same user does not end the stream.
    let _ = browser.post("/renew").await.expect(204);
    assert!(
        stream.until("data: ended", Duration::from_secs(5)).await.is_err(),
        "a renewal does not end the stream"
    );
    assert_eq!(
        demo.signed_in("bob")
            .await
            .post("/logout-others")
            .await
            .expect(200)
            .json::<serde_json::Value>()["ended"],
        1
    );
    let ended = Instant::now();
    let _ = stream.until("data: ended", Duration::from_secs(10)).await.expect("the last event");
    println!("h29: the stream ended {:?} after the revocation", ended.elapsed());
}

async fn h30_sign_in_ends_the_oldest_sessions_of_the_user(setup: &Setup) {
    let demo = setup.start_with(PATIENT).await;
    let login = |label: &str| {
        Request::post("/login")
            .json(format!(r#"{{"user":"bob","max_sessions":3,"label":"{label}"}}"#))
    };
    let mut browsers = Vec::new();
    for n in 0..5 {
        let mut browser = demo.browser();
        let _ = browser.send(login(&format!("device {n}"))).await.expect(200);
        browsers.push(browser);
        // The clock of the store orders the sessions. Its resolution may be 1 ms.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut alive = Vec::new();
    for browser in &mut browsers {
        alive.push(browser.page().await.principal.is_some());
    }
    assert_eq!(alive, [false, false, true, true, true]);
    let devices: Vec<serde_json::Value> = browsers[4].get("/devices").await.expect(200).json();
    let mut labels: Vec<_> = devices.iter().filter_map(|device| device["label"].as_str()).collect();
    labels.sort_unstable();
    assert_eq!(labels, ["device 2", "device 3"], "the list of other devices omits the current one");
    // The handle still ends a session whose id was renewed.
    let handle = browsers[3].page().await.handle.expect("a handle");
    let _ = browsers[3].post("/renew").await.expect(204);
    let _ = browsers[4].send(Request::delete(format!("/devices/{handle}"))).await.expect(204);
    assert!(browsers[3].page().await.is_anonymous());
}

async fn h30_credential_change_does_not_restore_an_ended_session(setup: &Setup) {
    const ROUNDS: usize = 30;
    let demo = setup.start_with(PATIENT).await;
    let mut met = 0;
    for round in 0..ROUNDS {
        let user = format!("user{round}");
        let (mut owner, mut thief) = (demo.signed_in(&user).await, demo.signed_in(&user).await);
        let path = if round % 2 == 0 { "/logout-everywhere" } else { "/credentials-changed" };
        let (ended, changed) = tokio::join!(owner.post(path), thief.post("/credentials-changed"));
        let sessions = |response: &Response| {
            response.json::<serde_json::Value>()["ended"].as_u64().expect("a number")
        };
        // 401 and 409 mean that the session had already ended.
        let ended_thief = ended.status == 200 && sessions(&ended) > 0;
        assert!(
            matches!(ended.status, 200 | 401 | 409) && matches!(changed.status, 200 | 401 | 409)
        );
        met += usize::from(ended_thief && changed.status == 200);
        let alive = [owner.page().await.is_anonymous(), thief.page().await.is_anonymous()]
            .iter()
            .filter(|anonymous| !**anonymous)
            .count();
        assert!(
            alive <= 1,
            "round {round}: {alive} of 2 live after {} and {}",
            ended.status,
            changed.status
        );
        if ended_thief {
            assert!(
                thief.page().await.is_anonymous(),
                "round {round}: the ended session exists again"
            );
        }
    }
    println!(
        "h30: {ROUNDS} credential changes during an end; both succeeded {met} times; no session exists again"
    );
}

async fn h31_authentication_ages_and_can_be_repeated(setup: &Setup) {
    let demo = setup.start_with(PATIENT).await;
    let mut browser = demo.browser();
    let _ = browser.insert("n", "1").await.expect(204);
    let within = async |browser: &mut Browser, seconds: u64| {
        let answer: serde_json::Value =
            browser.get(&format!("/authenticated?seconds={seconds}")).await.expect(200).json();
        (answer["within"] == true, answer["acr"].as_str().map(str::to_owned))
    };
    assert_eq!(
        within(&mut browser, 60).await,
        (false, None),
        "an anonymous session has no authentication"
    );
    let _ = browser
        .send(Request::post("/login").json(r#"{"user":"bob","acr":"password"}"#))
        .await
        .expect(200);
    assert_eq!(within(&mut browser, 60).await, (true, Some("password".to_owned())));
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    assert!(!within(&mut browser, 1).await.0);
    let _ = browser.post("/renew").await.expect(204);
    assert!(!within(&mut browser, 1).await.0, "a renewal is not an authentication");
    let before = browser.clone();
    let _ =
        browser.send(Request::post("/reauthenticate").json(r#"{"acr":"mfa"}"#)).await.expect(204);
    assert_eq!(within(&mut browser, 1).await, (true, Some("mfa".to_owned())));
    assert_eq!(
        within(&mut before.clone(), 60).await,
        (false, None),
        "the former id does not have the new authentication"
    );
}

async fn h32_audit_log_names_events_and_contains_no_id(setup: &Setup) {
    let demo = setup
        .start_with(&[PATIENT, &["--rotation-settles", "200ms", "--rotation-grace", "0s"]].concat())
        .await;
    let mut browser = demo.signed_in("bob").await;
    let handle = browser.page().await.handle.expect("a handle");
    let mut former = browser.clone();
    let cookies = [browser.cookie().to_owned()];
    let _ = browser.post("/renew").await.expect(204);
    tokio::time::sleep(Duration::from_millis(1_400)).await;
    assert!(former.page().await.is_anonymous());
    let _ = browser.post("/logout").await.expect(204);
    let logged = |what: &str| {
        demo.output().lines().any(|line| line.contains(what) && line.contains(&handle))
    };
    for what in ["signed in", "a superseded session id was used", "session ended"] {
        wait::until(what, tests::PATIENCE, async || logged(what).then_some(())).await;
    }
    for cookie in cookies.iter().map(|cookie| id_of(cookie)) {
        assert!(
            !demo.output().contains(&cookie[..16]) && !demo.output().contains(&cookie[17..]),
            "the log contains an id"
        );
    }
}

async fn h33_current_cookie_is_used_and_sign_out_ends_all_presented(setup: &Setup) {
    let demo = setup.start_with(&[PATIENT, &["--rotation-grace", "0s"]].concat()).await;
    let mut ended = demo.signed_in("eve").await;
    let dead = ended.cookie_header();
    let _ = ended.post("/logout").await.expect(204);
    let mut renewed = demo.signed_in("bob").await;
    let superseded = renewed.cookie_header();
    let _ = renewed.post("/renew").await.expect(204);
    let mut other = demo.signed_in("carol").await;
    let (current, second) = (renewed.cookie_header(), other.cookie_header());
    for header in [
        format!("{dead}; {current}"),
        format!("{superseded}; {current}"),
        format!("{dead}; {superseded}; {dead}; {current}"),
        format!("{current}; {second}"),
    ] {
        let request = Request::get("/session").cookie(header.clone());
        let page: tests::Page = tests::client::send(demo.address, &request)
            .await
            .expect("an answer")
            .expect(200)
            .json();
        assert_eq!(page.principal.as_deref(), Some("bob"), "{}", header.matches("id=").count());
        let write = Request::post("/session/n/add?by=1").cookie(header);
        let _ = tests::client::send(demo.address, &write).await.expect("an answer").expect(200);
    }
    assert_eq!(
        renewed.page().await.value("n"),
        Some(&serde_json::json!(4)),
        "a blind write reaches the same session as a read"
    );
    let leave = Request::post("/logout").cookie(format!("{dead}; {second}; {current}"));
    let _ = tests::client::send(demo.address, &leave).await.expect("an answer").expect(204);
    assert!(
        renewed.page().await.is_anonymous() && other.page().await.is_anonymous(),
        "both sessions have ended"
    );
}

/// The browser does not receive the response to its sign-in. It sends the form again with its old
/// cookie.
async fn h34_sign_in_with_a_lost_response_can_be_repeated(setup: &Setup) {
    let demo = setup.start_with(PATIENT).await;
    for user in ["bob", "carol"] {
        let mut browser = demo.browser();
        let _ = browser.insert("basket", "1").await.expect(204);
        let mut lost = browser.clone();
        let _ = lost.login(user).await.expect(200);
        let _ = browser.login(user).await.expect(200);
        assert_eq!(browser.page().await.principal.as_deref(), Some(user));
        let _ = browser.insert("n", "1").await.expect(204);
        assert_ne!(key_of(browser.cookie()), key_of(lost.cookie()));
    }
}

/// After a failover or a restored backup the record is as it was before the rotation.
async fn h35_lost_rotation_does_not_lock_out_the_user(setup: &Setup) {
    let demo = setup.start_with(PATIENT).await;
    let store = setup.open().await;
    let put_back = async |before: &Browser| {
        let id = SessionId::parse(id_of(before.cookie()).as_bytes()).expect("an id");
        let record = store
            .load(&id.key())
            .await
            .expect("the store answers")
            .expect("a session")
            .into_record();
        let _ = store.delete(&id.key(), Claim::Any).await.expect("the store answers");
        let older = NewRecord {
            secret: id.secret_hash(),
            generation: id.generation(),
            since: id.generation(),
            ..record.into_new()
        };
        let _ = store.create(&id.key(), older).await.expect("the store answers");
    };
    let mut browser = demo.signed_in("bob").await;
    let before = browser.clone();
    let _ = browser.post("/renew").await.expect(204);
    put_back(&before).await;
    assert!(browser.page().await.is_anonymous(), "the user is signed out");
    let mut again = browser.clone();
    let _ = again.insert("n", "1").await.expect(204);
    let mut again = browser.clone();
    let _ = again.login("bob").await.expect(200);
    assert_eq!(again.page().await.principal.as_deref(), Some("bob"), "the user can sign in again");
    assert!(before.clone().page().await.is_anonymous(), "the sign-in ended the restored session");

    let mut browser = demo.signed_in("bob").await;
    let before = browser.clone();
    let _ = browser.post("/renew").await.expect(204);
    put_back(&before).await;
    let _ = browser.post("/logout").await.expect(204);
    assert!(before.clone().page().await.is_anonymous(), "a sign-out ends the restored session");
}

/// Session fixation: an attacker plants an id, and the victim signs in with it.
async fn h36_id_from_before_the_sign_in_ends_no_session(setup: &Setup) {
    let demo = setup.start_with(&[PATIENT, &["--rotation-settles", "200ms"]].concat()).await;
    let mut attacker = demo.browser();
    let _ = attacker.insert("basket", "1").await.expect(204);
    let mut victim = attacker.clone();
    let _ = victim.login("bob").await.expect(200);
    let mut other = demo.signed_in("bob").await;
    tokio::time::sleep(Duration::from_millis(1_400)).await;
    assert!(attacker.page().await.is_anonymous());
    for request in [
        Request::post("/logout"),
        Request::post("/logout-everywhere"),
        Request::post("/logout-others"),
        Request::get("/devices"),
    ] {
        let response = attacker.clone().send(request).await;
        assert!(matches!(response.status, 204 | 401 | 409), "{}", response.status);
    }
    let handle = other.page().await.handle.expect("a handle");
    assert!(matches!(
        attacker.clone().send(Request::delete(format!("/devices/{handle}"))).await.status,
        401 | 409
    ));
    assert_eq!(victim.page().await.principal.as_deref(), Some("bob"));
    assert_eq!(other.page().await.principal.as_deref(), Some("bob"));
    assert!(
        !demo.output().contains("a superseded session id was used"),
        "an id from before the sign-in is not reported as theft"
    );
}

async fn h36_sign_in_of_another_user_gets_a_new_key(setup: &Setup) {
    let demo = setup.start_with(PATIENT).await;
    let mut phone = demo.signed_in("bob").await;
    let mut kiosk = demo.signed_in("bob").await;
    let bobs = kiosk.clone();
    let _ = kiosk.insert("n", "1").await.expect(204);
    let handle = kiosk.page().await.handle.expect("a handle");
    let _ = kiosk.login("alice").await.expect(200);
    assert_ne!(key_of(kiosk.cookie()), key_of(bobs.cookie()));
    let _ = phone.send(Request::delete(format!("/devices/{handle}"))).await.expect(404);
    let _ = phone.post("/logout-everywhere").await.expect(200);
    let page = kiosk.page().await;
    assert_eq!((page.principal.as_deref(), page.value("n")), (Some("alice"), None));
    assert!(bobs.clone().page().await.is_anonymous());
}

async fn s28_remember_me_does_not_pass_to_another_user(setup: &Setup) {
    let demo = setup.start_with(PATIENT).await;
    let mut browser = demo.browser();
    let remembered = browser
        .send(Request::post("/login").json(r#"{"user":"bob","remember":2592000}"#))
        .await
        .expect(200);
    assert!(
        remembered.set_cookie().expect("a cookie").max_age().is_some_and(|age| age > 2_500_000)
    );
    assert!(browser.page().await.ttl.is_some_and(|ttl| ttl > 2_500_000.0));
    for user in ["carol", "carol", "bob"] {
        let cookie = browser.login(user).await.expect(200).set_cookie().expect("a cookie");
        assert_eq!(cookie.max_age(), None, "{user} did not ask to be remembered");
        assert!(browser.page().await.ttl.is_some_and(|ttl| ttl <= 1_800.0));
    }
    let _ = browser
        .send(Request::post("/login").json(r#"{"user":"bob","remember":2592000}"#))
        .await
        .expect(200);
    let renewed = browser.post("/renew").await.expect(204).set_cookie().expect("a cookie");
    assert!(renewed.max_age().is_some(), "a renewal keeps the Max-Age");
}

async fn s31_superseded_id_is_reported_and_optionally_ends_the_session(setup: &Setup) {
    for (mode, ends) in [("report", false), ("end", true)] {
        let demo = setup
            .start_with(
                &[
                    PATIENT,
                    &[
                        "--on-superseded-id",
                        mode,
                        "--rotation-settles",
                        "200ms",
                        "--rotation-grace",
                        "0s",
                    ],
                ]
                .concat(),
            )
            .await;
        let mut owner = demo.signed_in("bob").await;
        let mut thief = owner.clone();
        let _ = owner.post("/renew").await.expect(204);
        assert!(thief.page().await.is_anonymous());
        assert_eq!(
            owner.page().await.principal.as_deref(),
            Some("bob"),
            "a parallel request is not reported as theft"
        );
        tokio::time::sleep(Duration::from_millis(1_400)).await;
        assert!(thief.page().await.is_anonymous());
        wait::until("the report", tests::PATIENCE, async || {
            demo.output().contains("a superseded session id was used").then_some(())
        })
        .await;
        assert_eq!(owner.page().await.is_anonymous(), ends, "--on-superseded-id {mode}");
    }
}

async fn s26_sign_ins_work_during_a_flood_of_anonymous_sessions(setup: &Setup) {
    let demo = setup.start_with(&[PATIENT, &["--max-sessions", "1000"]].concat()).await;
    let mut clients = Vec::new();
    let refused = loop {
        let batch = join_all((0..AT_ONCE).map(|_| async {
            let mut client = demo.browser();
            (client.insert("n", "1").await.status, client)
        }));
        let (full, batch): (Vec<_>, Vec<_>) =
            batch.await.into_iter().partition(|(status, _)| *status == 503);
        clients.extend(batch.into_iter().map(|(status, client)| {
            assert_eq!(status, 204);
            client
        }));
        if !full.is_empty() {
            break full.len();
        }
        assert!(clients.len() <= 1_000, "the store is bounded");
    };
    let held = clients.len();
    let users = join_all((0..AT_ONCE).map(|n| {
        let demo = &demo;
        async move { demo.signed_in(&format!("user{n}")).await.page().await.principal }
    }));
    assert!(
        users.await.iter().all(Option::is_some),
        "users sign in while the store is full of anonymous sessions"
    );
    // A client with an anonymous session can also sign in.
    let mut client = clients.pop().expect("a client");
    let _ = client.login("carol").await.expect(200);
    println!(
        "s26: {held} anonymous sessions fill a store of 1,000, {refused} more are refused, {} users sign in",
        AT_ONCE + 1
    );
}
