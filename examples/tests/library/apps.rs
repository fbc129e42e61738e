//! Every example, run and driven over HTTP against a real server of its store.

use std::path::Path;

use tests::{Browser, Setup, client::Request, process::Process};

use crate::app::{App, front, word};

/// What sessions do when the application ends and is started again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Restart {
    Keeps,
    Loses,
}

/// What the README promises of an example: sessions go on over requests and restarts, a sign-in
/// changes the id, a sign-out is final.
async fn serves(program: &str, arguments: &[&str], restart: Restart) {
    let mut app = App::start(program, arguments).await;
    let mut browser = Browser::new(app.address);
    assert_eq!(front(&mut browser).await, "anonymous, visit 1");
    assert_eq!(front(&mut browser).await, "anonymous, visit 2");

    let mut before = browser.clone();
    let _ = browser.send(Request::post("/login").form("bob")).await.expect(200);
    assert_ne!(browser.cookie(), before.cookie(), "a sign-in gives a new id");
    assert_eq!(front(&mut browser).await, "bob, visit 3");
    let _ = before.get("/").await.expect(409);
    assert!(
        before.cookie() != browser.cookie(),
        "the id from before the sign-in changes nothing, and gets no cookie"
    );

    app.stop().await;
    app = App::start(program, arguments).await;
    browser = browser.at(app.address);
    match restart {
        Restart::Keeps => assert_eq!(front(&mut browser).await, "bob, visit 4"),
        Restart::Loses => assert_eq!(front(&mut browser).await, "anonymous, visit 1"),
    }

    let mut ended = browser.clone();
    let _ = browser.post("/logout").await.expect(200);
    assert!(!browser.has_cookie());
    assert_eq!(
        front(&mut ended).await,
        "anonymous, visit 1",
        "a session that was signed out stays so"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    serves(env!("CARGO_BIN_EXE_memory"), &[], Restart::Loses).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ipc() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("sessions.sock");
    let arguments = [path.to_str().expect("a path that is text")];
    let mut owner = Process::start(Path::new(env!("CARGO_BIN_EXE_ipc_owner")), &arguments, &[]);
    word(&mut owner, "owner listening on ").await;
    serves(env!("CARGO_BIN_EXE_ipc"), &arguments, Restart::Keeps).await;
}

/// Makes one test of each example that uses the store of a setup.
macro_rules! examples_serve {
    ($($store:ident),+ $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $store() {
            let Some(setup) = Setup::$store().await else { return };
            let program = env!(concat!("CARGO_BIN_EXE_", stringify!($store)));
            serves(program, &[setup.url()], Restart::Keeps).await;
        })+
    };
}

examples_serve!(redis, mongo, postgres, sqlite);
