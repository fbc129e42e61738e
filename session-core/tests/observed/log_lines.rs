//! The log lines about failed store calls contain the sources of the error.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use session_core::{
    CookieChange, CookieDelivery, ManualClock, OnSupersededId, Policy, Principal, RecordedChanges,
    SessionContext, SessionDriver, SessionId, SessionStore, SignIn, StreamEnd,
    cookie::{SignedBy, VerifiedCookie},
};

use crate::{
    scripted::Scripted,
    trace_log::{trace, traced},
};

struct Site {
    store: Arc<Scripted>,
    context: Arc<SessionContext>,
}

impl Site {
    /// A site whose store fails with this text as the source.
    fn new(cause: &'static str, clock: ManualClock) -> Self {
        let store = Arc::new(Scripted::with_clock(cause, clock));
        let policy = Policy::default().on_superseded_id(OnSupersededId::EndSession);
        let shared = Arc::clone(&store) as Arc<dyn SessionStore>;
        Self { store, context: Arc::new(SessionContext::new(shared, policy)) }
    }

    fn open(&self, id: Option<&SessionId>) -> SessionDriver {
        let cookies = id
            .map(|id| VerifiedCookie { id: id.clone(), signed_by: SignedBy::Current }.into())
            .unwrap_or_default();
        let context = Arc::clone(&self.context);
        SessionDriver::open(context, cookies, CookieDelivery::Possible, Instant::now())
    }
}

async fn finish(driver: &SessionDriver) -> SessionId {
    driver.finish(RecordedChanges::Commit).await.unwrap();
    match driver.cookie() {
        CookieChange::Issue { id, .. } => id,
        other => panic!("expected an id, got {other:?}"),
    }
}

fn assert_logged(line: &str, cause: &str) {
    let traced = traced();
    let mut lines = traced.lines().filter(|logged| logged.contains(line));
    assert!(lines.any(|logged| logged.contains(cause)), "no line {line:?} contains {cause:?}");
}

#[tokio::test(start_paused = true)]
async fn log_lines_contain_the_sources_of_errors() {
    trace();
    let bob = || SignIn::new(Principal::new("bob").unwrap());
    let site = Site::new("cause-of-the-trim", ManualClock::new());
    let driver = site.open(None);
    driver.session().sign_in(bob().max_sessions(1));
    site.store.unavailable("list");
    finish(&driver).await;
    assert_logged("oldest sessions could not be ended", "cause-of-the-trim");

    let clock = ManualClock::new();
    let site = Site::new("cause-of-the-end", clock.clone());
    let driver = site.open(None);
    driver.session().sign_in(bob());
    let id = finish(&driver).await;
    let driver = site.open(Some(&id));
    driver.session().renew();
    finish(&driver).await;
    clock.advance(Duration::from_secs(60));
    site.store.unavailable("delete");
    assert_eq!(site.open(Some(&id)).session().principal().await.unwrap(), None);
    assert_logged("superseded id was used could not be ended", "cause-of-the-end");

    let site = Site::new("cause-of-the-outage", ManualClock::new());
    let driver = site.open(None);
    driver.session().sign_in(bob());
    finish(&driver).await;
    site.store.unavailable("load");
    assert_eq!(driver.session().ended().await, StreamEnd::Outage);
    assert_logged("liveness check of a stream failed", "cause-of-the-outage");
}
