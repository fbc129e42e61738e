//! H25: metrics and traces contain no id, key, handle, principal, name or value.

use std::{sync::Arc, time::Instant};

use session_core::{
    CookieDelivery, Policy, RecordedChanges, SessionContext, SessionDriver, SessionStore,
    cookie::{CookieCodec, CookieConfig, Key},
    observe::{self, observe},
};

use crate::{
    calls::{OPERATIONS, TestSession, call_with_every_outcome},
    recorder::TestRecorder,
    scripted::{Behavior, Scripted},
    trace_log::traced,
};

#[tokio::test]
async fn h25_metrics_and_traces_contain_no_secret() {
    let recorder = TestRecorder::default();
    let _counting = recorder.install();
    observe::describe();
    let scripted = Arc::new(Scripted::new("hunter2"));
    let observed = observe("scripted", Arc::clone(&scripted));
    let test_session = TestSession::new();
    call_with_every_outcome(&observed, &scripted, &test_session).await;
    observe::retried("scripted");

    let key = Key::from_bytes((0..32).map(|n: u8| n.wrapping_mul(7)).collect::<Vec<u8>>()).unwrap();
    let codec = CookieCodec::signed(CookieConfig::development(), &key.into()).unwrap();
    let cookie = codec.issue(&test_session.id, None).split(';').next().unwrap().to_owned();
    let other =
        CookieCodec::signed(CookieConfig::development(), &Key::random().unwrap().into()).unwrap();
    let forged = other.issue(&test_session.id, None).split(';').next().unwrap().to_owned();
    let store: Arc<dyn SessionStore> = Arc::new(observed);
    for behavior in [Behavior::Served, Behavior::Unavailable, Behavior::Corrupt] {
        scripted.behavior(behavior);
        for header in
            [cookie.clone(), forged.clone(), cookie.replace("id=2.", "id=0."), format!("{cookie}A")]
        {
            let cookies = codec.read([header.as_bytes()]);
            codec.count_as_refused([header.as_bytes()]);
            let context = Arc::new(SessionContext::new(Arc::clone(&store), Policy::default()));
            let driver =
                SessionDriver::open(context, cookies, CookieDelivery::Possible, Instant::now());
            let session = driver.session();
            drop(session.get::<String>(test_session.name.as_str()).await);
            session.insert(test_session.name.as_str(), &"swordfish-4711").unwrap();
            session.sign_in(test_session.principal.clone());
            drop(driver.finish(RecordedChanges::Commit).await);
        }
    }

    let traced = traced();
    let id = String::from_utf8(test_session.id.to_text().to_vec()).unwrap();
    let (stored, handle) = (test_session.key(), test_session.key().handle().to_string());
    let secrets =
        [&id, stored.as_str(), &handle, "rosebud-1941", "quince-77", "swordfish-4711", "hunter2"];
    let mac = cookie.rsplit('.').next().unwrap();
    for (what, text) in [("metrics", recorder.text()), ("traces", traced.clone())] {
        for secret in secrets.into_iter().chain([mac, &id[..12], &id[17..]]) {
            assert!(!text.contains(secret), "{what} contain {secret:?}:\n{text}");
        }
    }
    for operation in OPERATIONS {
        for outcome in
            ["done", "unavailable", "timeout", "corrupt", "rejected", "failed", "dropped"]
        {
            let wanted = format!("operation=\"{operation}\" outcome=\"{outcome}\"");
            assert!(
                traced.contains(&wanted),
                "no trace of {operation} with the outcome {outcome}:\n{traced}"
            );
        }
    }
    for wanted in [
        "session cookie refused cause=\"signature\"",
        "session store retry store=\"scripted\"",
        "outcome=\"conflict\"",
        "outcome=\"superseded\"",
    ] {
        assert!(traced.contains(wanted), "no trace contains {wanted}:\n{traced}");
    }
}
